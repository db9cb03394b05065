"""What the agent can be told on its command line, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, get_args

from kubelb_ccm.export.addresses import AddressType
from kubelb_common import names

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE_MAX = 63
#: Switches a server off, as in controller-runtime.
_OFF = ("", "0")

DEFAULT_KUBELB_KUBECONFIG = "~/.kube/kubelb"


class OptionError(ValueError):
    """An option's value cannot be used; the text says which and why."""


class Bind(NamedTuple):
    """Where a server listens: a host (empty: all addresses) and a port (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, option: str, text: str) -> Bind | None:
        """Read `:8081`, `127.0.0.1:8081` or `[::1]:8081`; None for `0`, which means no server.

        Raises:
            OptionError: it is none of these.
        """
        if text in _OFF:
            return None
        host, separator, port = text.rpartition(":")
        if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise OptionError(f"{option}: '{text}' is not HOST:PORT or :PORT (0 switches it off)")
        return cls(host.strip("[]"), int(port))


_METRICS = Bind("", 9445)
_HEALTH = Bind("", 8081)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the composition root needs to know.

    Attributes:
        cluster_name: the Tenant's name; its namespace in the management cluster is `tenant-<name>`.
        kubeconfig: path for the tenant cluster; None: $KUBECONFIG, else the pod's own credential.
        kubelb_kubeconfig: path for the management cluster.
        node_address_type: which of a Node's addresses the management cluster can reach.
        enable_cloud_provider: we give Services of type LoadBalancer their addresses.
        use_ingress_class: only Ingresses of class `kubelb` are ours.
        use_loadbalancer_class: only Services of class `kubelb` are ours.
        disable_ingress_controller: Ingresses are left alone altogether.
        enable_secret_synchronizer: Secrets that are labelled for it go to the management cluster.
        release_after: seconds without an answer of the management cluster after which objects of namespaces that are
            being deleted are released (ruling 22).
        metrics: Prometheus; None: off.
        health: liveness and readiness; None: off.
        leader_election: of several agents only the holder of a Lease works; False: there is only this one.
        leader_election_namespace: of that Lease, in the tenant cluster.
        log_level: debug, info, warning or error.
        log_json: JSON lines or text; None: text on a terminal.
    """

    cluster_name: str
    kubeconfig: str | None = None
    kubelb_kubeconfig: str = DEFAULT_KUBELB_KUBECONFIG
    node_address_type: AddressType = "ExternalIP"
    enable_cloud_provider: bool = True
    use_ingress_class: bool = True
    use_loadbalancer_class: bool = False
    disable_ingress_controller: bool = False
    enable_secret_synchronizer: bool = False
    release_after: float = 900.0
    metrics: Bind | None = _METRICS
    health: Bind | None = _HEALTH
    leader_election: bool = True
    leader_election_namespace: str = "kubelb"
    log_level: str = "info"
    log_json: bool | None = None

    def __post_init__(self) -> None:
        """Check what the command line's types cannot.

        Raises:
            OptionError: a value cannot be used.
        """
        if not self.cluster_name:
            raise OptionError("--cluster-name is missing: give the name of the Tenant in the management cluster")
        if len(self.tenant_namespace) > _NAMESPACE_MAX or not _LABEL.fullmatch(self.cluster_name):
            raise OptionError(
                f"--cluster-name: '{self.cluster_name}' is not a Tenant's name: lower-case letters, digits and '-', "
                f"at most {_NAMESPACE_MAX} characters together with '{names.TENANT_NAMESPACE_PREFIX}'"
            )
        if self.node_address_type not in get_args(AddressType):
            raise OptionError(f"--node-address-type: '{self.node_address_type}' is not a type of node address")
        if self.metrics is not None and self.metrics == self.health and self.metrics.port:
            raise OptionError("--metrics-addr and --health-probe-bind-address are the same; choose two ports")

    @property
    def tenant_namespace(self) -> str:
        """The tenant's namespace in the management cluster."""
        return names.tenant_namespace(self.cluster_name)
