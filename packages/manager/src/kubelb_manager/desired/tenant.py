"""What a tenant gets in the management cluster: a namespace, an account with few rights, a kubeconfig."""

from __future__ import annotations

import base64
import json
from datetime import datetime

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import ADDRESSES, LOAD_BALANCERS, ROUTES, SYNC_SECRETS, TENANT_STATES
from kubelb_common.objects import view
from kubelb_manager.desired import meta
from kubelb_manager.desired.credential import TOKEN_TYPE
from kubelb_manager.settings.limits import spoken
from kubelb_manager.settings.merged import Settings

#: Kinds whose spec the tenant's agent writes.
WRITTEN_BY_TENANT = (LOAD_BALANCERS, ROUTES, ADDRESSES, SYNC_SECRETS)
_RBAC = "rbac.authorization.k8s.io"


def tenant_namespace(tenant: Object) -> str:
    """Return the namespace of this Tenant object."""
    return names.tenant_namespace(tenant["metadata"]["name"])


def namespace(tenant: Object) -> Object:
    """Return the tenant's Namespace."""
    return _owned(tenant, "v1", "Namespace", tenant_namespace(tenant), None)


def service_account(tenant: Object) -> Object:
    """Return the account of the tenant's agent."""
    return _owned(tenant, "v1", "ServiceAccount", names.CCM_ACCOUNT, tenant_namespace(tenant))


def role(tenant: Object, *, legacy_agent: bool = False, terminating: bool = False) -> Object:
    """Return the rights of the tenant's agent in its namespace.

    Args:
        tenant: the Tenant object.
        legacy_agent: an agent of the original also writes status (ruling 32), until the end.
        terminating: the tenant is being removed: the agent may read, and release its finalizers by
            updating what exists, but create nothing (ruling 22).
    """
    written = [resource.plural for resource in WRITTEN_BY_TENANT]
    status = [f"{plural}/status" for plural in written]
    changing = ["patch", "update"] if terminating else ["create", "delete", "patch", "update"]
    rules = [
        _rule(written, ["get", "list", "watch", *changing]),
        _rule(status, ["get", "patch", "update"] if legacy_agent and not terminating else ["get"]),
        _rule([TENANT_STATES.plural], ["get", "list", "watch"]),
        _rule([f"{TENANT_STATES.plural}/status"], ["get"]),
    ]
    out = _owned(tenant, f"{_RBAC}/v1", "Role", names.CCM_ACCOUNT, tenant_namespace(tenant))
    return {**out, "rules": rules}


def _rule(resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [names.GROUP], "resources": resources, "verbs": sorted(verbs)}


def role_binding(tenant: Object) -> Object:
    """Return the binding of the Role to the account."""
    home = tenant_namespace(tenant)
    out = _owned(tenant, f"{_RBAC}/v1", "RoleBinding", names.CCM_ACCOUNT, home)
    return {
        **out,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": names.CCM_ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": names.CCM_ACCOUNT, "namespace": home}],
    }


def token_secret(tenant: Object, generation: int = 1, *, ends: datetime | None = None) -> Object:
    """Return the Secret that the token controller fills with `token` and `ca.crt` for the account.

    Args:
        tenant: the Tenant object.
        generation: see `desired.credential`.
        ends: when the token is to be revoked, because another took its place.
    """
    out = _owned(tenant, "v1", "Secret", names.token_secret(generation), tenant_namespace(tenant))
    end = {names.ANNOTATION_REVOKE_AT: view.format_time(ends)} if ends is not None else {}
    out["metadata"]["annotations"] = {"kubernetes.io/service-account.name": names.CCM_ACCOUNT, **end}
    return {**out, "type": TOKEN_TYPE}


def kubeconfig_secret(tenant: Object, *, server: str, ca: bytes, token: str) -> Object:
    """Return the Secret with the kubeconfig that the tenant's admin carries into the tenant cluster.

    Args:
        tenant: the Tenant object.
        server: URL of the management cluster's API server as tenants reach it.
        ca: its certificate authority, PEM.
        token: of the tenant's account.
    """
    text = kubeconfig(server=server, ca=ca, token=token, namespace=tenant_namespace(tenant))
    out = _owned(tenant, "v1", "Secret", names.CCM_KUBECONFIG_SECRET, tenant_namespace(tenant))
    return {**out, "type": "Opaque", "data": {names.CCM_KUBECONFIG_KEY: base64.b64encode(text.encode()).decode()}}


def kubeconfig(*, server: str, ca: bytes, token: str, namespace: str) -> str:
    """Return a kubeconfig in JSON, which every reader of YAML reads too."""
    cluster, user, context = "kubelb-cluster", "default-user", "default-context"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user, "namespace": namespace}}],
        "current-context": context,
    }
    return json.dumps(config, indent=2) + "\n"


def tenant_state(tenant: Object) -> Object:
    """Return the TenantState `default`; what it says is its status."""
    return {
        **_owned(tenant, names.API_VERSION, "TenantState", names.TENANT_STATE_NAME, tenant_namespace(tenant)),
        "spec": {},
    }


def tenant_state_status(settings: Settings, version: Object, *, terminating: bool = False) -> Object:
    """Return the TenantState's status but for `lastUpdated`, which the writer adds when the rest changes."""
    return {
        "version": version,
        "phase": "Terminating" if terminating else "Ready",
        "loadBalancer": {"disable": settings.load_balancer_disabled},
        "limits": dict(spoken(settings.limits)),
    }


def _owned(tenant: Object, api_version: str, kind: str, name: str, home: str | None) -> Object:
    owner = [meta.owner_reference(tenant)]
    return meta.obj(api_version, kind, name, home, labels=meta.managed_labels(), ownerReferences=owner)
