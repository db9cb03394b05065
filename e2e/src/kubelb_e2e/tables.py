"""How a lab is shown to people."""

from __future__ import annotations

from tabulate import tabulate

from kubelb_e2e.clusters.base import Status


def status(now: Status) -> str:
    """Return the text of `status`: headline, parts, addresses, notes."""
    parts = [now.headline, tabulate(now.rows, headers=now.columns, disable_numparse=True)]
    if now.addresses:
        parts += ["", tabulate(now.addresses.items(), headers=("address", "Service"))]
    if now.notes:
        parts += ["", *now.notes]
    return "\n".join(parts)
