"""An address is shown when it takes connections, not when somebody assigned it (promise 1).

The management cluster's kube-proxies (or its load balancers) learn of a new address a moment after it
is in the Service's status. What cannot be asked from here (a host name, an address that does not
come back to its own cluster) is shown when the bound has passed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_manager.ir.model import Cluster, Endpoint, Layer, Protocol
from kubelb_manager.probes.nodeport import Connect, NodePortProber
from kubelb_manager.rollout.view import Reach


@dataclass(slots=True)
class AddressGate:
    """Asks addresses of our Services.

    Args:
        clock: time.
        connect: asks one endpoint.
        on_answer: called when `passes` may have another answer.
    """

    clock: Clock
    connect: Connect
    on_answer: Callable[[Endpoint], None]
    _prober: NodePortProber = field(init=False)
    _passed: set[Endpoint] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._prober = NodePortProber(self.clock, self.on_answer, self.connect)

    def passes(self, ingress: Iterable[Object], port: int, protocol: Protocol = Protocol.TCP) -> bool:
        """Whether all of `status.loadBalancer.ingress` take connections on `port`, or never told in time."""
        return all(self._passes(Endpoint(ip, port, protocol)) for entry in ingress if (ip := _ip(entry)))

    def _passes(self, endpoint: Endpoint) -> bool:
        if endpoint in self._passed:
            return True
        self._prober.ask([endpoint])
        if self._prober.reach(Cluster("address", Layer.L4, (endpoint,))) is Reach.ASKING:
            return False
        self._passed.add(endpoint)
        self._prober.forget([endpoint])
        return True

    def forget(self, ingress: Iterable[Object]) -> None:
        """Ask these addresses anew when they are given again."""
        ips = {_ip(entry) for entry in ingress}
        gone = {endpoint for endpoint in self._passed if endpoint.address in ips}
        self._passed -= gone
        self._prober.forget(gone)

    def close(self) -> None:
        """Stop asking."""
        self._prober.close()


def _ip(entry: Object) -> str:
    text = view.text(entry, "ip")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
