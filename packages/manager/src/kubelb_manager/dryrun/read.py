"""Files of YAML or JSON into objects, each with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kubelb_common import names
from kubelb_common.api import KINDS, MalformedObject
from kubelb_common.faults import Fault
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager import untrusted

_OURS = {kind.info.kind: kind for kind in KINDS}


class Unreadable(Fault):
    """A file holds something that is no object; the text says where (file, document, field) and what was expected."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and where it stands: `FILE, document 2 (Route web)`."""

    obj: Object
    where: str


def documents(name: str, text: str) -> Iterator[Found]:
    """Yield the objects in a file; documents count from 1, and a List counts by its items.

    Raises:
        Unreadable: it is no YAML, or an object of ours is malformed.
    """
    try:
        loaded = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise Unreadable(f"{name}{line}: {getattr(error, 'problem', None) or error}") from error
    for number, document in enumerate(loaded, 1):
        if document is not None:
            yield from _objects(document, f"{name}, document {number}")


def _objects(document: Any, where: str) -> Iterator[Found]:
    kind = untrusted.string(untrusted.at(document, "kind"))
    if kind.endswith("List") and isinstance(untrusted.at(document, "items"), list):
        for number, item in enumerate(document["items"]):
            yield from _objects(item, f"{where}, items[{number}]")
        return
    if not kind:
        raise Unreadable(f"{where}: found no object with a kind")
    name = untrusted.string(untrusted.at(document, "metadata", "name"))
    where = f"{where} ({kind}{f' {name}' if name else ''})"
    if not name:
        raise Unreadable(f"{where}: metadata.name: found nothing, expected a string")
    if view.api_group(document) == names.GROUP:
        _check(document, where)
    yield Found(document, where)


def _check(document: Object, where: str) -> None:
    kind = _OURS.get(document["kind"])
    if kind is None:
        raise Unreadable(f"{where}: kind: found '{document['kind']}', expected one of {', '.join(sorted(_OURS))}")
    try:
        kind.from_dict(document)
    except MalformedObject as error:
        raise Unreadable(f"{where}: {error}") from error
