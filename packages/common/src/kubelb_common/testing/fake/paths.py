"""From a request's URL path to the kind, object and subresource that it means."""

from __future__ import annotations

from typing import NamedTuple

from kubelb_common.kube import resources
from kubelb_common.kube.port import Resource
from kubelb_common.testing.fake import errors
from kubelb_common.testing.fake.store import Store

_REVIEWS = (
    Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False),
    Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False),
)
_KNOWN = tuple(value for value in vars(resources).values() if isinstance(value, Resource)) + _REVIEWS


class Target(NamedTuple):
    """What a request is about; an empty name means the collection."""

    resource: Resource
    namespace: str | None
    name: str
    subresource: str | None


def parse(store: Store, path: str) -> Target:
    """Return what the path means; raises NotFound for a kind that is not served."""
    match [part for part in path.split("/") if part]:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise errors.no_such_kind()
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces" and not (len(rest) == 3 and rest[2] in {"status", "finalize"}):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 and rest[2] == "proxy":
        rest = [*rest[:2], "/".join(rest[2:])]
    if not 1 <= len(rest) <= 3:
        raise errors.no_such_kind()
    plural, name, subresource = (*rest, "", "")[:3]
    return Target(_resource(store, group, version, plural), namespace, name, subresource or None)


def _resource(store: Store, group: str, version: str, plural: str) -> Resource:
    custom = tuple(kind.resource for kind in store.custom.get((group, plural), ()))
    for resource in (*custom, *_KNOWN, *store.resources()):
        if (resource.group, resource.version, resource.plural) == (group, version, plural):
            return resource
    raise errors.no_such_kind()
