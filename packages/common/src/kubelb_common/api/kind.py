"""A kind of the group `kubelb.k8c.io`: a record with metadata, and what its CRD says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from kubelb_common import names
from kubelb_common.api.errors import MalformedObject, found
from kubelb_common.api.meta import ObjectMeta
from kubelb_common.api.record import Record, field, record


@dataclass(frozen=True, slots=True)
class Column:
    """A column that `kubectl get` prints; `path` is a JSONPath from the object."""

    name: str
    path: str
    type: str = "string"
    description: str = ""


@dataclass(frozen=True, slots=True)
class KindInfo:
    """How the API server serves a kind."""

    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{names.GROUP}"


@record
class Kind(Record):
    """Root of the seven kinds."""

    info: ClassVar[KindInfo]

    api_version: str = field(default=names.API_VERSION)
    metadata: ObjectMeta = field(default_factory=ObjectMeta)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: str = "") -> Self:
        """Return the object; raises MalformedObject, also if `raw` is of another kind or version."""
        # Named explicitly: a slotted dataclass is a new class, which super() without arguments cannot see.
        obj = super(Kind, cls).from_dict(raw, path)  # noqa: UP008
        if obj.api_version != names.API_VERSION:
            raise MalformedObject("apiVersion", found(obj.api_version), names.API_VERSION)
        kind = getattr(obj, "kind", cls.info.kind)
        if kind != cls.info.kind:
            raise MalformedObject("kind", found(kind), cls.info.kind)
        return obj


def label_column(name: str, label: str) -> Column:
    """Return a column that shows a label."""
    return Column(name, ".metadata.labels." + label.replace(".", r"\."))


AGE = Column("Age", ".metadata.creationTimestamp", "date")
