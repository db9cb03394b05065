"""SyncSecret: a tenant's Secret on its way to the management cluster. It has no spec, like the core Secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kubelb_common.api.kind import AGE, Column, Kind, KindInfo
from kubelb_common.api.meta import CONDITION_LIST, Condition
from kubelb_common.api.record import Record, field, record


@record
class SyncSecretStatus(Record):
    """How far the copy is."""

    observed_generation: int | None = field("Generation last handled.", default=None, schema={"format": "int64"})
    phase: str = field("State in a word.", default="", schema={"enum": ["Pending", "Synced", "Failed", "Terminating"]})
    conditions: tuple[Condition, ...] = field(
        "Synced, with the reason Synced, SyncFailed or Terminating.", default=(), schema=CONDITION_LIST
    )


@record
class SyncSecret(Kind):
    """A Secret that is copied between the clusters."""

    info: ClassVar[KindInfo] = KindInfo(
        "SyncSecret",
        "syncsecrets",
        "syncsecret",
        columns=(Column("Type", ".type"), Column("Phase", ".status.phase"), AGE),
    )

    kind: str = field(default="SyncSecret")
    data: Mapping[str, str] = field(
        "Values in base64.", default_factory=dict, schema={"additionalProperties": {"format": "byte"}}
    )
    string_data: Mapping[str, str] = field("Values as text; they win over `data`.", default_factory=dict)
    type: str = field("Type of the Secret.", default="")
    immutable: bool | None = field("Whether the Secret may change.", default=None)
    status: SyncSecretStatus = field(default_factory=SyncSecretStatus)
