"""Which of two objects is older (ruling 7)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z", re.ASCII)
#: The first release of Kubernetes; nothing was created before.
_EARLIEST = datetime(2014, 6, 1, tzinfo=UTC).timestamp()


def seconds(timestamp: Any) -> float | None:
    """Return an API timestamp as seconds since the epoch, None for anything else."""
    text = untrusted.string(timestamp)
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def age(obj: Object, source: Any, source_name: str) -> tuple[float, str]:
    """Return the sort key of an object of our contract, smaller = older.

    Its source's creation time, where that is believable: not after the object itself was created on
    this side, by our API server's clock. Else the object's own time; without any it is the youngest.
    """
    own = seconds(untrusted.at(obj, "metadata", "creationTimestamp"))
    claimed = seconds(untrusted.at(source, "metadata", "creationTimestamp"))
    if claimed is None or claimed < _EARLIEST or (own is not None and claimed > own):
        claimed = own
    return (math.inf if claimed is None else claimed, source_name)
