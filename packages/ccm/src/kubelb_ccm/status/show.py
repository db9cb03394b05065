"""The summary as text for a terminal."""

from __future__ import annotations

from typing import Any

from kubelb_common import console

_MESSAGE_MAX = 200
_COLUMNS = ("kind", "object", "state", "address", "reason", "message")


def text(told: dict[str, Any]) -> str:
    """Return the summary's head, the table of objects, and what is wrong."""
    nodes = told["nodes"]
    head = [
        ("Tenant", f"{told['tenant']} ({told['namespace']})"),
        *((f"{item['name'].capitalize()} cluster", _cluster(item)) for item in told["clusters"]),
        ("Manager", f"{told['manager']['version']}, edition {told['manager']['edition']}"),
        ("Phase", told["phase"]),
        ("Nodes", f"{nodes['ready']} of {nodes['total']} ready, {len(nodes['exported'])} addresses exported"),
    ]
    parts = [console.fields(head)]
    if told["objects"]:
        parts.append(console.table(_COLUMNS, [_row(item) for item in told["objects"]]))
    if told["problems"]:
        parts.append("\n".join(["Wrong:", *(f"  * {console.printable(item)}" for item in told["problems"])]))
    return "\n\n".join(parts)


def _cluster(item: dict[str, Any]) -> str:
    answer = f"Kubernetes {item['version']}" if item["reachable"] else "not reachable"
    return f"{item['server']} ({answer})" if item["server"] else answer


def _row(item: dict[str, Any]) -> list[str]:
    reasons = ",".join(problem["reason"] for problem in item["problems"])
    message = " ".join(problem["message"] for problem in item["problems"])
    cut = message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"
    return [item["kind"], item["object"], item["state"], item["address"], reasons, cut]
