"""The little of kubectl that the harness calls most often, on the API servers of a test."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.resources import NAMESPACES, NODES
from standins.apis import Api
from standins.engine import Answer


async def answer(apis: Iterable[Api], kubeconfig: str, text: str, *words: str) -> Answer:
    """Answer one call; `kubeconfig` is what its environment names, `text` its input."""
    if words and words[0].startswith("--kubeconfig="):
        kubeconfig, words = words[0].removeprefix("--kubeconfig="), words[1:]
    api = next((item for item in apis if item.is_up and item.url in _read(kubeconfig)), None)
    if api is None:
        return Answer(1, "", "The connection to the server was refused - did you specify the right host or port?")
    match words:
        case ["apply", "--filename=-"]:
            await api.apply([json.loads(line) for line in text.splitlines()])
            return Answer()
        case ["get", "namespace", name, "--output=json"]:
            try:
                return Answer(out=json.dumps(await api.kube.get(NAMESPACES, name)))
            except NotFound:
                return Answer(1, "", f'Error from server (NotFound): namespaces "{name}" not found')
        case ["get", "nodes", "--output=json"]:
            return Answer(out=json.dumps({"items": (await api.kube.list(NODES)).items}))
        case ["get", "services", "--all-namespaces", "--output=json"]:
            return Answer(out=json.dumps({"items": []}))
    return Answer(1, "", f"error: the quick kubectl does not know: {' '.join(words)}")


def _read(path: str) -> str:
    return Path(path).read_text()
