"""Kubeconfigs as texts."""

from __future__ import annotations

import yaml


def with_server(kubeconfig: str, server: str) -> str:
    """Return the text of a kubeconfig whose clusters are all reached at `server` (another way to the same)."""
    document = yaml.safe_load(kubeconfig)
    for cluster in document["clusters"]:
        cluster["cluster"]["server"] = server
    return yaml.safe_dump(document, sort_keys=False)


def server_of(kubeconfig: str) -> str:
    """Return the address of the API server of a kubeconfig's first cluster."""
    return str(yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["server"])
