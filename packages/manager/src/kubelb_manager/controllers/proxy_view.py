"""What this manager knows of every Envoy: for people, as JSON at `/proxies`.

An Envoy is known by its stream, by an EndpointSlice of its fleet, or both: one that is ready and has no stream is
as worth seeing as one that has a stream and refuses something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Store
from kubelb_manager.controllers.proxy_text import printable
from kubelb_manager.delivery.cache import FleetProgress, StreamProgress

Progress = Callable[[str], FleetProgress]


class _Pod(NamedTuple):
    """An Envoy as the EndpointSlices of its fleet's Services show it."""

    ready: bool
    node: str


def proxies(progress: Progress, fleets: Iterable[str], slices: Store) -> list[Object]:
    """Return every Envoy, sorted by fleet and pod.

    Args:
        progress: how far a fleet's Envoys are, by its key.
        fleets: keys of the fleets that are published or connected.
        slices: EndpointSlices of fleets.
    """
    pods = _pods(slices)
    keys = {names.fleet_label(*key.split("/", 1)): key for key in fleets}
    out: list[Object] = []
    for label in sorted(keys.keys() | pods.keys()):
        key = keys.get(label, "")
        found = progress(key) if key else FleetProgress(0, ())
        streams = {stream.pod: stream for stream in found.streams}
        for pod in sorted(streams.keys() | pods.get(label, {}).keys()):
            entry = _entry(pod, streams.get(pod), pods.get(label, {}).get(pod), found.generation)
            out.append({"fleet": key or label, **entry})
    return out


def _entry(pod: str, stream: StreamProgress | None, place: _Pod | None, generation: int) -> Object:
    acknowledged = min(stream.acknowledged.values(), default=0) if stream is not None else 0
    return {
        "pod": pod,
        "node": place.node if place is not None else "",
        "ready": place is not None and place.ready,
        "connected": stream is not None,
        "generation": {"current": generation, "acknowledged": acknowledged},
        "refusals": []
        if stream is None
        else [_refusal(nack.type_url, nack.names, nack.message) for nack in stream.nacks],
    }


def _refusal(type_url: str, resources: Iterable[str], message: str) -> Object:
    return {"type": type_url.rpartition(".")[2], "names": list(resources), "message": printable(message)}


def _pods(slices: Store) -> Mapping[str, Mapping[str, _Pod]]:
    """Return the pods of each fleet by its label; a pod behind several Services is ready if one says so."""
    found: dict[str, dict[str, _Pod]] = {}
    for piece in slices.list():
        fleet = view.labels(piece).get(names.LABEL_FLEET, "")
        for endpoint in view.objects(piece, "endpoints"):
            if not fleet or view.text(endpoint, "targetRef", "kind") != "Pod":
                continue
            name = view.text(endpoint, "targetRef", "name")
            before = found.setdefault(fleet, {}).get(name)
            ready = view.get(endpoint, "conditions", "ready") is True or (before is not None and before.ready)
            found[fleet][name] = _Pod(ready, view.text(endpoint, "nodeName"))
    return found
