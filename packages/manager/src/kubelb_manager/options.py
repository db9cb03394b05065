"""What the manager can be told on its command line, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from kubelb_common import names


class OptionError(ValueError):
    """An option's value cannot be used; the text says which and why."""


class Bind(NamedTuple):
    """A host (empty: all addresses) and a port (0: none chosen yet)."""

    host: str
    port: int

    @classmethod
    def parse(cls, option: str, text: str) -> Bind:
        """Read `:8001`, `127.0.0.1:8001` or `[::1]:8001`; raises OptionError."""
        host, separator, port = text.rpartition(":")
        if not separator or not port.isdigit() or int(port) > 65535:
            raise OptionError(f"{option}: '{text}' is not HOST:PORT or :PORT")
        return cls(host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the composition root needs to know.

    Attributes:
        kubeconfig: path for the management cluster; None means the pod's own credential.
        namespace: where the manager, its Config and its certificate authority live.
        xds: where Envoys reach the control plane.
        health: liveness, readiness.
        metrics: Prometheus.
        envoy_image: image of the data plane's pods, unless Config says otherwise.
        agent_image: image of the agent beside each Envoy, this program's own.
        xds_host: name under which Envoys find the control plane.
        xds_port: port of that name.
        advertise_address: IP address at which other managers reach this one; empty: they cannot report here.
        leader_election: only the holder of a Lease writes; False: this process writes, whoever else does.
        leader_election_namespace: of that Lease; empty: `namespace`.
        log_level: debug, info, warning or error.
        log_format: json, text, or auto (text on a terminal).
    """

    kubeconfig: str | None = None
    namespace: str = names.MANAGER_NAMESPACE
    xds: Bind = field(default=Bind("", names.XDS_PORT))
    health: Bind = field(default=Bind("", 8081))
    metrics: Bind = field(default=Bind("", 9443))
    envoy_image: str = "kubelb/envoy:1.40.0"
    agent_image: str = "kubelb/manager:0.1.0"
    xds_host: str = f"{names.XDS_SERVICE}.{names.MANAGER_NAMESPACE}.svc"
    xds_port: int = names.XDS_PORT
    advertise_address: str = ""
    leader_election: bool = True
    leader_election_namespace: str = ""
    log_level: str = "info"
    log_format: str = "auto"


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What the agent beside an Envoy needs to know.

    Attributes:
        listen: where the kubelet asks.
        admin: Envoy's admin interface.
        own_ports: Envoy's listeners that carry no traffic of tenants.
        drain_timeout: longest wait for connections to end, in seconds.
        min_drain: shortest wait, in seconds.
        drain_token: whoever has it may drain.
    """

    listen: Bind = field(default=Bind("", names.AGENT_PORT))
    admin: Bind = field(default=Bind("127.0.0.1", names.ENVOY_ADMIN_PORT))
    own_ports: tuple[int, ...] = (names.ENVOY_STATS_PORT, names.ENVOY_READY_PORT)
    drain_timeout: float = 60.0
    min_drain: float = 5.0
    drain_token: str = ""
