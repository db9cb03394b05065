"""A tenant's share of one Envoy, in Envoy's words; both kinds change under connections and requests.

Connections: one number for each listener, in the runtime layer that Envoy's bootstrap subscribes to (RTDS). What is
beyond is accepted and closed at once; a lower number closes nothing (measured). Envoy counts by listener, so a tenant
with several has the number on each.

Requests: a token bucket in a filter that every HTTP listener has, by ECDS, so that the buckets outlive changes of
routes. It holds one second's requests; what is beyond gets 429.
"""

from __future__ import annotations

from typing import Any

from kubelb_common import names
from kubelb_manager.ir.model import Fleet, HttpListener, Share
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.filters import over_ads

LAYER = names.RUNTIME_LAYER
_STATUS = "requests"


def runtime(fleet: Fleet) -> bytes:
    """Return the serialised runtime layer of a fleet; one without limits is empty, and there all the same."""
    layer = pb.Struct()
    limits = {each.name: fleet.share(owner(each.name)).connections for each in fleet.l4}
    limits |= {each.name: _share(fleet, each).connections for each in fleet.http}
    for name, limit in sorted(limits.items()):
        if limit is not None:
            layer.update({f"envoy.resource_limits.listener.{name}.connection_limit": limit})
    data: bytes = pb.Runtime(name=LAYER, layer=layer).SerializeToString(deterministic=True)
    return data


def owner(listener: str) -> str:
    """Return the tenant namespace of a listener that is one tenant's, whose name begins with it."""
    return listener.partition("/")[0]


def requests(fleet: Fleet, listener: HttpListener) -> tuple[str, Share]:
    """Return name and content of the extension that limits requests on `listener`."""
    return extension_name(listener.name), _share(fleet, listener)


def extension_name(listener: str) -> str:
    """Return the name of the extension that limits requests on an HTTP listener."""
    return f"{listener}/{_STATUS}"


def extension(name: str, share: Share) -> bytes:
    """Return the serialised extension `name`."""
    message = pb.TypedExtensionConfig(name=name, typed_config=pb.any_of(_bucket(share.requests)))
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def http_filter(listener: str) -> Any:
    """Return the filter of an HTTP listener; until its configuration comes, nothing is limited."""
    source = over_ads()
    source.initial_fetch_timeout.CopyFrom(pb.duration(1))
    unlimited = pb.any_of(_bucket(None))
    discovery = pb.ExtensionConfigSource(
        config_source=source,
        default_config=unlimited,
        apply_default_config_without_warming=True,
        type_urls=[unlimited.type_url],
    )
    return pb.HttpFilter(name=extension_name(listener), config_discovery=discovery)


def _bucket(limit: int | None) -> Any:
    percent = pb.RuntimeFractionalPercent(default_value=pb.FractionalPercent(numerator=0 if limit is None else 100))
    return pb.LocalRateLimit(
        stat_prefix=_STATUS,
        token_bucket=pb.TokenBucket(
            max_tokens=limit or 1,
            tokens_per_fill=pb.UInt32Value(value=limit or 1),
            fill_interval=pb.duration(1),
        ),
        filter_enabled=percent,
        filter_enforced=percent,
    )


def _share(fleet: Fleet, listener: HttpListener) -> Share:
    """Return the share for a listener: that of its own tenant, or of the one that the fleet belongs to.

    The listener that all tenants of a fleet share is nobody's.
    """
    return fleet.share(owner(listener.name if "/" in listener.name else fleet.key))
