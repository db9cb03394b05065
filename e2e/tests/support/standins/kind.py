"""kind v0.33 on the engine: clusters of containers, each with an API server of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from standins import says
from standins.apis import Api
from standins.engine import CLUSTER_LABEL, Answer, Engine
from standins.says import Occasion

#: What a start fails with, and how many of its nodes are there then.
Trouble = Callable[[Occasion], str]


class Kind:
    """Answers the calls of `kind` that the harness makes.

    Attributes:
        apis: cluster -> its API server, from the moment that it is made until its first node is removed.
        given: cluster -> the configuration that its start was given.
        troubles: cluster -> what its start ends with.
        refused: beginning of a kind command -> what kind says to it instead of doing it.
        unready: clusters whose nodes do not become Ready.
        held: clusters whose start stops half-way, when the nodes are there, until they are taken out of here.
        reached: set for a held cluster when it gets there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        engine.on_removal = self._removed
        self.apis: dict[str, Api] = {}
        self.given: dict[str, str] = {}
        self.troubles: dict[str, Trouble] = {}
        self.refused: dict[tuple[str, ...], str] = {}
        self.unready: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}

    async def close(self) -> None:
        """End all API servers."""
        for api in self.apis.values():
            await api.stop()

    def hold(self, cluster: str) -> None:
        """Stop the start of this cluster half-way."""
        self.held[cluster], self.reached[cluster] = asyncio.Event(), asyncio.Event()

    async def kind(self, network: str, text: str, *words: str) -> Answer:
        """Answer one call of `kind`; `network` is what its environment names, `text` its input."""
        for beginning, said in self.refused.items():
            if words[: len(beginning)] == beginning:
                return Answer(1, "", said)
        match words:
            case ["version", "--quiet"]:
                return Answer(out="0.33.0")
            case ["get", "clusters"]:
                return self._get()
            case ["create", "cluster", name, kubeconfig, "--retain", image, "--config=-"]:
                occasion = Occasion(_after(name, "--name="), _after(image, "--image="))
                return await self._create(occasion, Path(_after(kubeconfig, "--kubeconfig=")), network, text)
            case ["delete", "cluster", name, kubeconfig]:
                return await self._delete(_after(name, "--name="), Path(_after(kubeconfig, "--kubeconfig=")))
            case ["load", "docker-image", name, image]:
                return self._load(_after(name, "--name="), image)
            case ["export", "logs", name, folder]:
                return self._export(_after(name, "--name="), Path(folder))
        return Answer(64, "", f"the stand-in for kind does not know: kind {' '.join(words)}")

    def _nodes(self, cluster: str) -> list[str]:
        return [item.name for item in self._engine.containers.values() if item.labels.get(CLUSTER_LABEL) == cluster]

    def _unlisted(self, cluster: str) -> str:
        ps = f"docker ps -a --filter label={CLUSTER_LABEL}={cluster} --format '{{{{.Names}}}}'"
        return (
            f'failed to list nodes: command "{ps}" failed with error: exit status 1\n\n'
            f"Command Output: {self._engine.no_docker}"
        )

    def _get(self) -> Answer:
        if self._engine.is_down:
            ps = f"docker ps -a --filter label={CLUSTER_LABEL} --format '{{{{.Label \"{CLUSTER_LABEL}\"}}}}'"
            failed = f'failed to list clusters: command "{ps}" failed with error: exit status 1'
            return Answer(1, "", f"ERROR: {failed}\n\nCommand Output: {self._engine.no_docker}")
        names = sorted({item.labels.get(CLUSTER_LABEL, "") for item in self._engine.containers.values()} - {""})
        return Answer(out="\n".join(names), err="" if names else "No kind clusters found.")

    async def _create(self, occasion: Occasion, kubeconfig: Path, network: str, text: str) -> Answer:
        cluster = occasion.cluster
        if self._engine.is_down:
            return Answer(1, "", says.no_docker(occasion, self._engine.no_docker))
        if self._nodes(cluster):
            return Answer(1, "", says.exists(occasion))
        if occasion.image not in self._engine.images:
            return Answer(1, "", says.no_image(occasion))
        self.given[cluster] = text
        nodes = self._boot(cluster, network, text.count("role: worker"), occasion.image)
        if cluster in self.held:
            self.reached[cluster].set()
            await self.held[cluster].wait()
        if self._engine.is_down:
            return Answer(1, "", says.docker_ended(occasion))
        if trouble := self.troubles.get(cluster):
            return Answer(1, "", trouble(occasion))
        await self._removed(f"{cluster}-control-plane")  # of nodes that went without a word
        api = self.apis[cluster] = Api(cluster)
        await api.start()
        for node in nodes:
            await api.join(node, self._engine.containers[node].address, ready=cluster not in self.unready)
        _write(kubeconfig, api.kubeconfig())
        return Answer(0, "", f'{says.creating(occasion)}Set kubectl context to "kind-{cluster}"')

    def _boot(self, cluster: str, network: str, workers: int, image: str) -> list[str]:
        if network not in self._engine.networks:
            self._engine.add_network(network)
        names = [f"{cluster}-worker{'' if number == 1 else number}" for number in range(1, workers + 1)]
        nodes = [f"{cluster}-control-plane", *names]
        for node in nodes:
            container = self._engine.add_container(node, network, image=image, cluster=cluster)
            container.journal = says.STARVED_JOURNAL if cluster in self.unready else ""
        return nodes

    async def _delete(self, cluster: str, kubeconfig: Path) -> Answer:
        begins = f'Deleting cluster "{cluster}" ...\n'
        if self._engine.is_down:
            error = f'failed to delete cluster "{cluster}": error listing nodes: {self._unlisted(cluster)}'
            return Answer(1, "", f"{begins}ERROR: {error}")
        nodes = self._nodes(cluster)
        for node in nodes:
            del self._engine.containers[node]
            await self._removed(node)
        _write(kubeconfig, None)
        return Answer(0, "", begins + (f"Deleted nodes: {json.dumps(nodes)}" if nodes else ""))

    async def _removed(self, container: str) -> None:
        if (api := self.apis.pop(container.removesuffix("-control-plane"), None)) is not None:
            await api.stop()

    def _load(self, cluster: str, image: str) -> Answer:
        if self._engine.is_down or image not in self._engine.images:
            # Why the image cannot be looked at, kind does not say.
            return Answer(1, "", f'ERROR: image: "{image}" not present locally')
        nodes = self._nodes(cluster)
        if not nodes:
            return Answer(1, "", f'ERROR: no nodes found for cluster "{cluster}"')
        for node in nodes:
            loaded = self._engine.containers[node].images
            loaded += [] if image in loaded else [image]
        return Answer()

    def _export(self, cluster: str, folder: Path) -> Answer:
        if self._engine.is_down:
            return Answer(1, "", f"ERROR: {self._unlisted(cluster)}")
        nodes = self._nodes(cluster)
        if not nodes:
            return Answer(1, "", f'ERROR: unknown cluster "{cluster}"')
        for node in nodes:
            (folder / node).mkdir(parents=True, exist_ok=True)
            (folder / node / "journal.log").write_text(self._engine.containers[node].journal)
        return Answer(0, str(folder), f'Exporting logs for cluster "{cluster}" to:')


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)


def _after(word: str, flag: str) -> str:
    if not word.startswith(flag):
        raise ValueError(f"{word}: expected {flag}...")
    return word.removeprefix(flag)
