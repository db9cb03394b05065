"""A folder that says what a lab was like: objects, events, logs, audit, Envoy's configuration.

    status.txt                         parts of the lab
    lab.log                            of the provider
    <cluster>/objects/<resource>.yaml  every kind that can be listed; Secrets without their data
    <cluster>/events.txt               in the order of time
    <cluster>/logs/...                 pods, and what the provider has of control plane, nodes, audit log
    <cluster>/envoy/<namespace>_<pod>/config_dump.json, clusters.txt, listeners.txt, stats.txt

A part that cannot be read is named in `missing.txt`; the rest is there.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from kubelb_common import names
from kubelb_e2e import tables
from kubelb_e2e.clusters.base import MANAGEMENT, Lab, PodPlace
from kubelb_e2e.errors import LabError

_ADMIN_PORT = 9001
_PAGES = {
    "/config_dump?include_eds": "config_dump.json",
    "/clusters": "clusters.txt",
    "/listeners": "listeners.txt",
    "/stats?usedonly": "stats.txt",
    "/server_info": "server_info.json",
}
_EVENT_COLUMNS = (
    "TIME:.metadata.creationTimestamp,NAMESPACE:.metadata.namespace,TYPE:.type,REASON:.reason,"
    "KIND:.involvedObject.kind,OBJECT:.involvedObject.name,MESSAGE:.message"
)


def dump(lab: Lab, folder: Path) -> None:
    """Write everything about `lab` into `folder`, which is created or added to.

    Raises LabError if the folder cannot be written; what cannot be read is only noted.
    """
    missing: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max_workers=4) as pool:
            parts: dict[str, Future[None]] = {}
            parts["status"] = pool.submit(_status, lab, folder)
            parts["logs"] = pool.submit(lab.export, folder)
            for cluster in lab.cluster_names:
                (folder / cluster).mkdir(exist_ok=True)
                parts[f"{cluster}: objects"] = pool.submit(_objects, lab, cluster, folder)
                parts[f"{cluster}: events"] = pool.submit(_events, lab, cluster, folder)
            parts["envoys"] = pool.submit(_envoys, lab, folder, missing)
        # Whatever it was: a dump is made when something is wrong already, and the other parts are worth having.
        missing += [f"{what}: {_words(error)}" for what, part in parts.items() if (error := part.exception())]
        if missing:
            (folder / "missing.txt").write_text("\n".join(missing) + "\n")
    except OSError as error:
        raise LabError(f"cannot write the dump to {folder}: {error}") from error


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, LabError | OSError) else repr(error)


def _status(lab: Lab, folder: Path) -> None:
    (folder / "status.txt").write_text(tables.status(lab.status()) + "\n")


def _objects(lab: Lab, cluster: str, folder: Path) -> None:
    listed = lab.call(cluster, "api-resources", "--verbs=list", "--output=name").split()
    target = folder / cluster / "objects"
    target.mkdir(exist_ok=True)
    wanted = [name for name in listed if name not in ("events", "events.events.k8s.io")]
    # One call for all kinds: a process each would take minutes.
    text = lab.call(cluster, "get", ",".join(wanted), "--all-namespaces", "--output=json")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for item in json.loads(text)["items"]:
        item["metadata"].pop("managedFields", None)
        by_kind.setdefault(item["kind"], []).append(_without_secrets(item))
    for kind, items in by_kind.items():
        with (target / f"{kind.lower()}.yaml").open("w") as handle:
            yaml.dump_all(items, handle, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def _without_secrets(item: dict[str, Any]) -> dict[str, Any]:
    if item["kind"] != "Secret":
        return item
    # kubectl apply keeps a copy of the data in an annotation.
    item["metadata"].get("annotations", {}).pop(names.ANNOTATION_LAST_APPLIED, None)
    return {**item, "data": {key: f"({len(value)} characters)" for key, value in (item.get("data") or {}).items()}}


def _events(lab: Lab, cluster: str, folder: Path) -> None:
    arguments = ("--all-namespaces", "--sort-by=.metadata.creationTimestamp")
    text = lab.call(cluster, "get", "events", *arguments, f"--output=custom-columns={_EVENT_COLUMNS}")
    (folder / cluster / "events.txt").write_text(text)


def _envoys(lab: Lab, folder: Path, missing: list[str]) -> None:
    selected = ("--all-namespaces", f"--selector={names.LABEL_FLEET}", "--output=json")
    for pod in json.loads(lab.call(MANAGEMENT, "get", "pods", *selected))["items"]:
        metadata = pod["metadata"]
        target = folder / MANAGEMENT / "envoy" / f"{metadata['namespace']}_{metadata['name']}"
        target.mkdir(parents=True, exist_ok=True)
        place = PodPlace(MANAGEMENT, metadata["namespace"], metadata["name"], metadata["uid"])
        try:
            found = lab.pages(place, _ADMIN_PORT, tuple(_PAGES))
        except LabError as error:
            missing.append(f"{target.name}: {error}")
            continue
        for path, text in found.items():
            (target / _PAGES[path]).write_text(text)
