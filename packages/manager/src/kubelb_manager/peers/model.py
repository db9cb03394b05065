"""What passes from a replica to the leader; frozen: two versions of the manager talk during an upgrade.

A replica numbers its snapshots by itself, so numbers mean something beside others of the same replica only. What
all replicas agree on is the *content* of an object's part: its digest. A pod serves an object's content when the
replica that it is connected to has that content live since some generation, and the pod acknowledged that
generation. So nothing depends on the order in which replicas saw changes, and one object's trouble is not another's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kubelb_manager.ir.model import Origin, Part


@dataclass(frozen=True, slots=True)
class PodState:
    """An Envoy that is connected.

    Attributes:
        age: seconds since its stream was opened; of two streams of one pod the younger one tells the truth.
        acknowledged: type URL -> generation of the replica up to which it acknowledged everything of the type.
    """

    age: float
    acknowledged: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """Where a replica has an object.

    Attributes:
        uid: of the object.
        generation: of the object, as in its metadata.
        content: digest of the part that is live, and is the one wanted; empty while there is none.
        since: generation of the replica's snapshots that first carried it; 0 for none.
        clusters: those that an Envoy of this replica may still have because of the object, sorted.
        released: the object is being deleted, and no Envoy of this replica has anything of it any more.
        refusal: what an Envoy said that refuses it, reduced to what a tenant may read.
    """

    uid: str
    generation: int
    content: str = ""
    since: int = 0
    clusters: tuple[str, ...] = ()
    released: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """What changed in one fleet since the update before; None: it is gone."""

    fleet: str
    pods: Mapping[str, PodState | None] = field(default_factory=dict)
    objects: Mapping[Origin, ObjectState | None] = field(default_factory=dict)


def content(part: Part) -> str:
    """Return the digest of what an object asks for: the same on every replica of one version."""
    return hashlib.blake2b(repr(part).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def encode(update: Update) -> bytes:
    """Return an update as bytes."""
    objects = [[*origin, None if state is None else asdict(state)] for origin, state in update.objects.items()]
    pods = {pod: None if state is None else asdict(state) for pod, state in update.pods.items()}
    return json.dumps({"fleet": update.fleet, "pods": pods, "objects": objects}, separators=(",", ":")).encode()


def decode(data: bytes) -> Update:
    """Return an update; fields of a later version are passed over.

    Raises:
        ValueError: it is none.
    """
    try:
        raw: Any = json.loads(data)
        pods = {str(pod): None if state is None else _pod(state) for pod, state in raw["pods"].items()}
        objects = {
            Origin(str(kind), str(namespace), str(name)): None if state is None else _object(state)
            for kind, namespace, name, state in raw["objects"]
        }
        return Update(str(raw["fleet"]), pods, objects)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an update: {error!r}") from error


def _pod(raw: Any) -> PodState:
    return PodState(float(raw["age"]), {str(url): int(number) for url, number in raw["acknowledged"].items()})


def _object(raw: Any) -> ObjectState:
    return ObjectState(
        uid=str(raw["uid"]),
        generation=int(raw["generation"]),
        content=str(raw["content"]),
        since=int(raw["since"]),
        clusters=tuple(map(str, raw["clusters"])),
        released=raw["released"] is True,
        refusal=str(raw["refusal"]),
    )
