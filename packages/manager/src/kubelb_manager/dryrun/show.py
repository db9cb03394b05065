"""The manager's answers as plain values, for a document."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.dryrun.hub import Judged
from kubelb_manager.xds.generate import Generator
from kubelb_manager.xds.readable import readable


def ir(judged: Judged) -> Object:
    """Return what each fleet shall do, in our own words (`ir.model`)."""
    return {"fleets": [_plain(fleet) for fleet in judged.fleets.values()]}


def xds(judged: Judged) -> Object:
    """Return what each fleet's Envoys are told, in Envoy's words, by type."""
    generator = Generator()
    return {
        "fleets": [{"key": key, **readable(generator.table(fleet))} for key, fleet in judged.fleets.items()],
    }


def kubernetes(judged: Judged) -> Object:
    """Return the objects that the manager would keep, for kubectl and diff."""
    items = sorted(judged.kubernetes, key=lambda obj: (view.namespace(obj), view.kind(obj), view.name(obj)))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def conditions(judged: Judged) -> Object:
    """Return what each object is told. Programmed is not among it: that is for Envoys to say."""
    items = []
    for origin, result in judged.results.items():
        entry: Object = {
            **origin._asdict(),
            "conditions": [_plain(verdict) for verdict in result.verdicts],
            "services": list(result.services),
        }
        if result.copy is not None:
            entry["copy"] = f"{view.kind(result.copy)} {view.name(result.copy)}"
        items.append(entry)
    return {"items": items}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {key: item for key, item in shown.items() if item not in (None, [], {})}
    if hasattr(value, "_asdict"):
        return {key: _plain(item) for key, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
