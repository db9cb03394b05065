"""How an object is named inside one cluster and one kind."""

from __future__ import annotations

from typing import NamedTuple

from kubelb_common.kube.port import Object


class ObjectKey(NamedTuple):
    """Namespace and name; the namespace is `""` for a cluster-scoped object. Sorts by namespace, then name."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Object) -> ObjectKey:
        """Return the key of a stored object (one whose metadata.name is set)."""
        metadata = obj["metadata"]
        return cls(metadata.get("namespace") or "", metadata["name"])

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """Read what `str()` wrote."""
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
