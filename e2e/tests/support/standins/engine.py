"""Docker's objects, and answers to exactly the calls that the harness makes; any other call is an error.

Texts and shapes are those of Docker 20.10 to 28, cut to what is looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from standins import says

CLUSTER_LABEL = "io.x-k8s.kind.cluster"
_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program prints, and its exit code."""

    code: int = 0
    out: str = ""
    err: str = ""


@dataclass
class Network:
    """A Docker network."""

    name: str
    subnet: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Container:
    """A Docker container. `addresses` are those put on its interface, `images` those loaded into it."""

    name: str
    image: str
    network: str
    address: str
    labels: dict[str, str] = field(default_factory=dict)
    running: bool = True
    addresses: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    journal: str = ""

    @property
    def id(self) -> str:
        return identity(self.name)


class Engine:
    """One Docker engine.

    Attributes:
        calls: every call of `docker` and `kind`, in order.
        dies_at: number of the call from which on there is no engine; None: it lives.
        subnet_bits: how large the ranges are that it gives to networks.
        pullable: images that a registry has.
        refused: beginning of a docker command -> what Docker says to it instead of doing it.
        on_removal: is told the names of removed containers.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.dies_at: int | None = None
        self.no_docker = says.NO_DOCKER
        self.networks: dict[str, Network] = {}
        self.containers: dict[str, Container] = {}
        self.images: dict[str, str] = {}
        self.subnet_bits = 16
        self.pullable: set[str] = set()
        self.refused: dict[tuple[str, ...], str] = {}
        self.on_removal: Callable[[str], Awaitable[None]] | None = None

    @property
    def is_down(self) -> bool:
        """Whether the engine does not answer now."""
        return self.dies_at is not None and len(self.calls) >= self.dies_at

    def die(self) -> None:
        """End now."""
        self.dies_at = 0

    def revive(self) -> None:
        """Answer again."""
        self.dies_at = None

    def made(self, *beginning: str) -> list[tuple[str, ...]]:
        """Return the calls that begin with these words."""
        return [call for call in self.calls if call[: len(beginning)] == beginning]

    def add_image(self, *names: str) -> None:
        """Have images."""
        self.images.update((name, "sha256:" + identity(name)) for name in names)

    def add_network(self, name: str, labels: dict[str, str] | None = None, subnet: str = "") -> Network:
        """Have a network."""
        network = Network(name, subnet or f"172.{30 + len(self.networks)}.0.0/{self.subnet_bits}", labels or {})
        self.networks[name] = network
        return network

    def add_container(self, name: str, network: str, *, image: str = "", cluster: str = "") -> Container:
        """Have a running container, of a kind cluster if so said."""
        number = 2 + sum(item.network == network for item in self.containers.values())
        prefix = self.networks[network].subnet.rpartition(".0/")[0]
        labels = {CLUSTER_LABEL: cluster} if cluster else {}
        container = Container(name, image, network, f"{prefix}.{number}", labels)
        self.containers[name] = container
        return container

    async def docker(self, *words: str) -> Answer:
        """Answer one call of `docker`."""
        if self.is_down:
            # `version` prints an empty line for what it does not know, `inspect` an empty list.
            return Answer(1, "[]" if "inspect" in words else "", self.no_docker)
        for beginning, said in self.refused.items():
            if words[: len(beginning)] == beginning:
                return Answer(1, "", said)
        match words:
            case ["version", "--format", "{{.Server.Version}}"]:
                return Answer(out="28.5.2")
            case ["ps", "--all", *options]:
                return self._ps(options)
            case ["stats", "--no-stream", "--format={{json .}}", *names]:
                return self._stats(names)
            case ["image" | "container" | "network" as kind, "inspect", *names] if names:
                return self._inspect(kind, names)
            case ["network", *rest]:
                return self._network(rest)
            case ["rm", "--force", "--volumes", *names] if names:
                return await self._rm(names)
            case ["pull", "--quiet", image]:
                return self._pull(image)
            case ["exec", node, *command]:
                return self._exec(node, command)
            case ["run", "--rm", network, *_] if network.startswith("--network=container:"):
                return self._run(network.removeprefix("--network=container:"))
        return _unknown(words)

    def _network(self, words: list[str]) -> Answer:
        match words:
            case ["create", "--driver=bridge", *labels, name] if all(word.startswith("--label=") for word in labels):
                return self._network_create(name, [word.removeprefix("--label=") for word in labels])
            case ["disconnect", "--force", network, container]:
                return self._disconnect(network, container)
            case ["rm", name]:
                return self._network_rm(name)
        return _unknown(["network", *words])

    def _ps(self, options: list[str]) -> Answer:
        found: Iterable[Container] = self.containers.values()
        shown = ""
        for option in options:
            if network := _value(option, "--filter=network="):
                found = [item for item in found if item.network == network]
            elif label := _value(option, "--filter=label="):
                found = [item for item in found if label in item.labels]
            elif template := _value(option, "--format="):
                shown = template
            else:
                return _unknown(["ps", option])
        return Answer(out="\n".join(_filled(shown, item) for item in found))

    def _inspect(self, kind: str, names: list[str]) -> Answer:
        absent = {
            "image": "no such image: {0}: No such image: {0}",
            "container": "No such container: {0}",
            "network": "network {0} not found",
        }
        show = {"image": self._show_image, "container": self._show_container, "network": self._show_network}[kind]
        shown = [item for name in names if (item := show(name)) is not None]
        missing = [name for name in names if show(name) is None]
        err = "\n".join(f"Error response from daemon: {absent[kind].format(name)}" for name in missing)
        return Answer(1 if missing else 0, json.dumps(shown, indent=4), err)

    def _show_image(self, name: str) -> dict[str, Any] | None:
        return {"Id": self.images[name], "RepoTags": [name]} if name in self.images else None

    def _show_container(self, name: str) -> dict[str, Any] | None:
        if (item := self.containers.get(name)) is None:
            return None
        place = {"NetworkID": identity(item.network), "IPAddress": item.address if item.running else ""}
        return {
            "Id": item.id,
            "Name": f"/{item.name}",
            "State": {"Status": "running" if item.running else "exited", "Running": item.running, "OOMKilled": False},
            "Config": {"Image": item.image, "Labels": item.labels},
            "NetworkSettings": {"Networks": {item.network: place} if item.network else {}},
        }

    def _show_network(self, name: str) -> dict[str, Any] | None:
        if (item := self.networks.get(name)) is None:
            return None
        here = {
            other.id: {"Name": other.name, "IPv4Address": f"{other.address}/16", "IPv6Address": ""}
            for other in self._attached(name)
        }
        return {
            "Name": item.name,
            "Id": identity(item.name),
            "Driver": "bridge",
            "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": item.subnet}]},
            "Containers": here,
            "Labels": item.labels,
        }

    def _attached(self, network: str) -> list[Container]:
        return [item for item in self.containers.values() if item.network == network and item.running]

    def _network_create(self, name: str, labels: list[str]) -> Answer:
        if name in self.networks:
            return Answer(1, "", f"Error response from daemon: network with name {name} already exists")
        self.add_network(name, dict(label.split("=", 1) for label in labels))
        return Answer(out=identity(name))

    def _disconnect(self, network: str, container: str) -> Answer:
        for item in self._attached(network):
            if container in (item.id, item.name):
                item.network = ""
                return Answer()
        return Answer(1, "", f"Error response from daemon: container {container} is not connected to network {network}")

    def _network_rm(self, name: str) -> Answer:
        if name not in self.networks:
            return Answer(1, "", f"Error response from daemon: network {name} not found\nexit status 1")
        if self._attached(name):
            text = f"error while removing network: network {name} id {identity(name)} has active endpoints"
            return Answer(1, "", f"Error response from daemon: {text}\nexit status 1")
        del self.networks[name]
        return Answer(out=name)

    async def _rm(self, names: list[str]) -> Answer:
        gone = [name for name in names if self.containers.pop(name, None)]
        for name in gone:
            if self.on_removal is not None:
                await self.on_removal(name)
        err = "\n".join(f"Error response from daemon: No such container: {name}" for name in names if name not in gone)
        return Answer(0, "\n".join(gone), err)  # `--force` makes an absent one no failure

    def _pull(self, image: str) -> Answer:
        if image not in self.pullable:
            host = 'Get "https://registry.example.com/v2/": dial tcp: lookup registry.example.com: no such host'
            return Answer(1, "", f"Error response from daemon: {host}")
        self.add_image(image)
        return Answer(out=image)

    def _exec(self, node: str, command: list[str]) -> Answer:
        item = self.containers.get(node)
        if item is None:
            return Answer(1, "", f"Error response from daemon: No such container: {node}")
        if not item.running:
            return Answer(1, "", f"Error response from daemon: container {item.id} is not running")
        match command:
            case ["ip", "-json", "address", "show", "dev", "eth0"]:
                shown = [{"family": "inet", "local": item.address, "prefixlen": 16, "scope": "global"}]
                shown += [{"family": "inet", "local": own, "prefixlen": 32} for own in item.addresses]
                return Answer(out=json.dumps([{"ifname": _INTERFACE, "operstate": "UP", "addr_info": shown}]))
            case ["ip", "address", "replace", address, "dev", "eth0"]:
                plain = address.removesuffix("/32")
                item.addresses = [*(own for own in item.addresses if own != plain), plain]
                return Answer()
            case ["ip", "address", "del", address, "dev", "eth0"]:
                if (plain := address.removesuffix("/32")) not in item.addresses:
                    return Answer(2, "", "Error: ipv4: Address not found.")
                item.addresses.remove(plain)
                return Answer()
            case ["journalctl", "--no-pager", "--lines=2000"]:
                return Answer(out=item.journal)
        return _unknown(["exec", node, *command])

    def _run(self, node: str) -> Answer:
        if node not in self.containers:
            said = f"docker: Error response from daemon: No such container: {node}"
            return Answer(125, "", f"{said}\n\nRun 'docker run --help' for more information")
        return Answer()

    def _stats(self, names: list[str]) -> Answer:
        missing = [name for name in names if name not in self.containers]
        if missing:
            return Answer(1, "", f"Error response from daemon: No such container: {missing[0]}")
        shown = [{"Name": name, "MemUsage": "512.5MiB / 15.6GiB", "MemPerc": "3.2%", "PIDs": "301"} for name in names]
        return Answer(out="\n".join(json.dumps(item) for item in shown))


def identity(name: str) -> str:
    """Return an id as Docker's for a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def _unknown(words: Iterable[str]) -> Answer:
    return Answer(64, "", f"the stand-in for docker does not know: docker {' '.join(words)}")


def _value(option: str, flag: str) -> str | None:
    return option.removeprefix(flag) if option.startswith(flag) else None


def _filled(template: str, item: Container) -> str:
    shown = template.replace("{{.Names}}", item.name)
    return re.sub(r'\{\{\.Label "([^"]+)"\}\}', lambda found: item.labels.get(found[1], ""), shown)
