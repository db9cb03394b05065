"""What the files of a volume are: projection of ConfigMaps, Secrets, tokens and pod fields. Pure.

`project` answers for volumes whose content the agent writes; emptyDir and hostPath are plain folders, and other
kinds are not supported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubelb_common.objects import view
from kubelb_common.objects.view import Object
from kubelb_e2e.clusters.local.agent import fields
from kubelb_e2e.clusters.local.agent.atomic import File
from kubelb_e2e.clusters.local.agent.env import MissingReference, Sources, data_of, find

_DEFAULT_MODE = 0o644
_TOKEN_SECONDS = 3600
PLAIN = ("emptyDir", "hostPath")
WRITTEN = ("configMap", "secret", "downwardAPI", "projected")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A service-account token that a projected volume wants; `audience` empty means the API server."""

    audience: str
    seconds: int


@dataclass(frozen=True, slots=True)
class VolumeContext:
    """What volumes can refer to; `token` returns the text of a token that was fetched before."""

    pod: Object
    facts: fields.Facts
    sources: Sources
    token: Callable[[TokenRequest], str]


def kind_of(volume: Object) -> str:
    """Return which source a volume has, empty if it is unknown here."""
    return next((kind for kind in (*PLAIN, *WRITTEN) if kind in volume), "")


def token_requests(volume: Object) -> list[TokenRequest]:
    """Return the tokens that a volume wants."""
    return [
        _token_request(source["serviceAccountToken"])
        for source in view.objects(volume, "projected", "sources")
        if "serviceAccountToken" in source
    ]


def project(volume: Object, context: VolumeContext) -> dict[str, File]:
    """Return relative path -> file of a volume; raises MissingReference."""
    kind = kind_of(volume)
    source = volume[kind] or {}
    mode = source.get("defaultMode")
    mode = _DEFAULT_MODE if mode is None else mode
    if kind != "projected":
        name = source.get("secretName" if kind == "secret" else "name", "")
        return _project_one(kind, {**source, "name": name}, mode, context)
    files: dict[str, File] = {}
    for part in view.objects(source, "sources"):
        for part_kind, part_source in part.items():
            files.update(_project_one(part_kind, part_source, mode, context))
    return files


def _project_one(kind: str, source: Object, mode: int, context: VolumeContext) -> dict[str, File]:
    if kind == "serviceAccountToken":
        return {source["path"]: File(context.token(_token_request(source)).encode(), 0o600)}
    if kind == "downwardAPI":
        return {item["path"]: File(_downward(item, context), item.get("mode") or mode) for item in _items(source)}
    if kind in {"configMap", "secret"}:
        return _project_data("Secret" if kind == "secret" else "ConfigMap", source, mode, context.sources)
    raise MissingReference(f"a projected volume with {kind} is not supported by this testbed")


def _project_data(kind: str, source: Object, mode: int, sources: Sources) -> dict[str, File]:
    holder = find(kind, source["name"], sources)
    optional = bool(source.get("optional"))
    if holder is None:
        if optional:
            return {}
        raise MissingReference(f'{kind.lower()} "{source["name"]}" not found')
    values = data_of(kind, holder)
    if not source.get("items"):
        return {key: File(value, mode) for key, value in values.items()}
    files = {}
    for item in _items(source):
        if item["key"] in values:
            files[item["path"]] = File(values[item["key"]], item.get("mode") or mode)
        elif not optional:
            raise MissingReference(f"{kind} {source['name']} has no key {item['key']}")
    return files


def _downward(item: Object, context: VolumeContext) -> bytes:
    if "fieldRef" in item:
        path = item["fieldRef"]["fieldPath"]
        try:
            return fields.field(context.pod, path, context.facts).encode()
        except KeyError:
            raise MissingReference(f"field {path} is not supported by this testbed") from None
    containers = {each["name"]: each for each in view.objects(context.pod, "spec", "containers")}
    return fields.resource(containers, item["resourceFieldRef"], "").encode()


def _items(source: Mapping[str, Any]) -> list[Object]:
    return view.objects(source, "items")


def _token_request(source: Mapping[str, Any]) -> TokenRequest:
    return TokenRequest(source.get("audience") or "", int(source.get("expirationSeconds") or _TOKEN_SECONDS))
