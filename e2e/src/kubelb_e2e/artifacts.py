"""A folder that says what a lab was like: objects, events, logs, audit, Envoy's configuration.

    status.txt                         processes of the lab
    lab.log
    <cluster>/objects/<resource>.yaml  every kind that can be listed; Secrets without their data
    <cluster>/events.txt               in the order of time
    <cluster>/logs/...                 control plane, nodes, audit log
    <cluster>/logs/pods/<namespace>_<pod>_<uid>/<container>/<n>.log
    <cluster>/envoy/<namespace>_<pod>/config_dump.json, clusters.txt, listeners.txt, stats.txt

A part that cannot be read is named in `missing.txt`; the rest is there.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from kubelb_common import names
from kubelb_e2e.clusters.base import LabError
from kubelb_e2e.clusters.local import network
from kubelb_e2e.clusters.local.model import ClusterSpec
from kubelb_e2e.clusters.local.provider import LocalLab

_ADMIN = "http://127.0.0.1:9001"
_PAGES = {
    "config_dump.json": "/config_dump?include_eds",
    "clusters.txt": "/clusters",
    "listeners.txt": "/listeners",
    "stats.txt": "/stats?usedonly",
    "server_info.json": "/server_info",
}
#: Asks Envoy's admin page from inside the pod's network namespace.
_FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"
_EVENT_COLUMNS = (
    "TIME:.metadata.creationTimestamp,NAMESPACE:.metadata.namespace,TYPE:.type,REASON:.reason,"
    "KIND:.involvedObject.kind,OBJECT:.involvedObject.name,MESSAGE:.message"
)


def dump(lab: LocalLab, folder: Path) -> None:
    """Write everything about `lab` into `folder`, which is created or added to.

    Raises LabError if the folder cannot be written; what cannot be read is only noted.
    """
    missing: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(lab.spec.directory / "lab.log", folder / "lab.log")
        (folder / "status.txt").write_text(_status(lab, missing))
        with ThreadPoolExecutor(max_workers=4) as pool:
            for cluster in lab.spec.clusters:
                for part in (_objects, _events, _logs, _envoys):
                    pool.submit(_attempt, part, lab, cluster, folder=folder / cluster.name, missing=missing)
        if missing:
            (folder / "missing.txt").write_text("\n".join(missing) + "\n")
    except OSError as error:
        raise LabError(f"cannot write the dump to {folder}: {error}") from error


Part = Callable[[LocalLab, ClusterSpec, Path, list[str]], None]


def _attempt(part: Part, lab: LocalLab, cluster: ClusterSpec, *, folder: Path, missing: list[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part(lab, cluster, folder, missing)
    except (OSError, LabError, ValueError) as error:
        missing.append(f"{cluster.name}: {part.__name__.removeprefix('_')}: {error}")


def _status(lab: LocalLab, missing: list[str]) -> str:
    try:
        return json.dumps(lab.status(), indent=1)
    except LabError as error:
        missing.append(f"status: {error}")
        return ""


def _objects(lab: LocalLab, cluster: ClusterSpec, folder: Path, missing: list[str]) -> None:
    listed = _kubectl(lab, cluster, "api-resources", "--verbs=list", "--output=name").split()
    (folder / "objects").mkdir(exist_ok=True)
    wanted = [name for name in listed if name not in ("events", "events.events.k8s.io")]
    # One call for all kinds: a process each would take minutes.
    text = _kubectl(lab, cluster, "get", ",".join(wanted), "--all-namespaces", "--output=json")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for item in json.loads(text)["items"]:
        item["metadata"].pop("managedFields", None)
        by_kind.setdefault(item["kind"], []).append(_without_secrets(item))
    for kind, items in by_kind.items():
        with (folder / "objects" / f"{kind.lower()}.yaml").open("w") as handle:
            yaml.dump_all(items, handle, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    del missing


def _without_secrets(item: dict[str, Any]) -> dict[str, Any]:
    if item["kind"] != "Secret":
        return item
    # kubectl apply keeps a copy of the data in an annotation.
    item["metadata"].get("annotations", {}).pop(names.ANNOTATION_LAST_APPLIED, None)
    return {**item, "data": {key: f"({len(value)} characters)" for key, value in (item.get("data") or {}).items()}}


def _events(lab: LocalLab, cluster: ClusterSpec, folder: Path, missing: list[str]) -> None:
    arguments = ("--all-namespaces", "--sort-by=.metadata.creationTimestamp")
    text = _kubectl(lab, cluster, "get", "events", *arguments, f"--output=custom-columns={_EVENT_COLUMNS}")
    (folder / "events.txt").write_text(text)
    del missing


def _logs(lab: LocalLab, cluster: ClusterSpec, folder: Path, missing: list[str]) -> None:
    shutil.copytree(cluster.logs, folder / "logs", dirs_exist_ok=True)
    del lab, missing


def _envoys(lab: LocalLab, cluster: ClusterSpec, folder: Path, missing: list[str]) -> None:
    if not cluster.is_management:
        return
    text = _kubectl(lab, cluster, "get", "pods", "--all-namespaces", f"--selector={names.LABEL_FLEET}", "--output=json")
    for pod in json.loads(text)["items"]:
        metadata = pod["metadata"]
        target = folder / "envoy" / f"{metadata['namespace']}_{metadata['name']}"
        target.mkdir(parents=True, exist_ok=True)
        for file, page in _PAGES.items():
            inside = ["nsenter", f"--net=/run/netns/{network.pod_netns(metadata['uid'])}", "--"]
            done = lab.run([*inside, sys.executable, "-c", _FETCH, _ADMIN + page])
            if done.returncode:
                missing.append(f"{target.name}: {page}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
                break
            (target / file).write_text(done.stdout)


def _kubectl(lab: LocalLab, cluster: ClusterSpec, *arguments: str) -> str:
    done = lab.run(["kubectl", *arguments], cluster=cluster.name)
    if done.returncode:
        raise LabError(f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout
