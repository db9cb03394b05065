"""What a fleet is served: named resources by type, as bytes with a version that is a hash of them.

A version is a function of the content alone. So two replicas, and a manager before and after its
restart, give the same version to the same content, and an Envoy that reports its versions after a
reconnect is sent nothing that it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

_PREFIX = "type.googleapis.com/"
CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
#: Numbers that take effect at once and touch no connection (RTDS).
RUNTIME: Final = _PREFIX + "envoy.service.runtime.v3.Runtime"
#: What stands inside a listener and may change while its connections live (ECDS).
EXTENSIONS: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"

#: The order in which a change is sent: nothing is named before it was sent.
TYPES: Final = (CLUSTER, ENDPOINTS, RUNTIME, EXTENSIONS, LISTENER, ROUTES)


class Resource(NamedTuple):
    """One resource.

    Attributes:
        name: unique within its type.
        version: hexadecimal hash of `body`.
        body: the serialised message, not wrapped in an `Any`.
    """

    name: str
    version: str
    body: bytes


#: Type URL -> name -> resource. Read-only once made; a type without a change may be the same object as before.
ResourceTable = Mapping[str, Mapping[str, Resource]]


def resource(name: str, body: bytes) -> Resource:
    """Return the resource `name` with its version."""
    return Resource(name, hashlib.blake2b(body, digest_size=8).hexdigest(), body)
