"""Authorisation by the Roles and bindings that are stored in the fake cluster, as RBAC decides it.

Rules only add rights. A RoleBinding gives its rules within its namespace, a ClusterRoleBinding
everywhere. Escalation is not checked: whoever may write a Role may write any Role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kubelb_common.kube.port import Object, Resource
from kubelb_common.kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from kubelb_common.testing.fake.store import Store

MASTERS = "system:masters"
Authorizer = Callable[[str, str, str | None, str], bool]


def authorizer(store: Store, user: str, groups: Sequence[str] = ()) -> Authorizer:
    """Return what decides requests of this user, always by what is stored at that moment."""
    all_groups = {*groups, "system:authenticated"}
    parts = user.split(":")
    if parts[:2] == ["system", "serviceaccount"]:
        all_groups |= {"system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"}

    def allowed(verb: str, resource: str, namespace: str | None, name: str) -> bool:
        return MASTERS in all_groups or any(
            _permits(rule, verb, resource, name) for rule in _rules(store, user, all_groups, namespace)
        )

    return allowed


def _rules(store: Store, user: str, groups: set[str], namespace: str | None) -> Iterator[Object]:
    for binding in store.stored(CLUSTER_ROLE_BINDINGS):
        if _names(binding, user, groups):
            yield from _role_rules(store, binding)
    for binding in store.stored(ROLE_BINDINGS) if namespace else ():
        if binding["metadata"]["namespace"] == namespace and _names(binding, user, groups):
            yield from _role_rules(store, binding)


def _names(binding: Object, user: str, groups: set[str]) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User" if subject["name"] == user:
                return True
            case "Group" if subject["name"] in groups:
                return True
            case "ServiceAccount" if user == f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}":
                return True
    return False


def _role_rules(store: Store, binding: Object) -> Sequence[Object]:
    kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
    resource: Resource = ROLES if kind == "Role" else CLUSTER_ROLES
    namespace = binding["metadata"].get("namespace") if kind == "Role" else None
    for role in store.stored(resource):
        if role["metadata"]["name"] == name and role["metadata"].get("namespace") == namespace:
            return role.get("rules") or ()
    return ()


def _permits(rule: Object, verb: str, resource: str, name: str) -> bool:
    path, _, subresource = resource.partition("/")
    plural, _, group = path.partition(".")
    wanted = f"{plural}/{subresource}" if subresource else plural
    names = rule.get("resourceNames") or ()
    return (
        not {verb, "*"}.isdisjoint(rule.get("verbs") or ())
        and not {group, "*"}.isdisjoint(rule.get("apiGroups") or ())
        and not {wanted, "*", f"*/{subresource}"}.isdisjoint(rule.get("resources") or ())
        and (not names or name in names)
    )
