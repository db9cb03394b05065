"""Services of type LoadBalancer become LoadBalancers (layer 4)."""

from __future__ import annotations

from dataclasses import dataclass

from kubelb_ccm.controllers.local_nodes import LocalNodes
from kubelb_ccm.controllers.twins import Backends
from kubelb_ccm.export.loadbalancer import load_balancer, not_served
from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.twins import needs_twin
from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_common import names
from kubelb_common.kube.port import Object, Resource
from kubelb_common.kube.resources import SERVICES
from kubelb_common.objects import view


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """Services, in the words of `lifecycle.Kind`.

    Attributes:
        use_class: only Services whose `spec.loadBalancerClass` is `kubelb` are ours. False: those without a class
            too; one of another class asks for another implementation and is never ours.
        cloud_provider: False: another implementation in the tenant gives Services their addresses; these are
            exported, and the Service's status is never written (defect 70).
        local_nodes: keeps the nodes of Services whose traffic policy is Local; None: nothing is to be served.
    """

    use_class: bool = False
    cloud_provider: bool = True
    resource: Resource = SERVICES
    subject: str = "loadBalancer"
    local_nodes: LocalNodes | None = None

    def in_scope(self, source: Object) -> bool:
        """Tell whether the Service is ours to serve."""
        if view.text(source, "spec", "type") != "LoadBalancer":
            return False
        wanted = view.text(source, "spec", "loadBalancerClass")
        return wanted == names.CLASS or not (self.use_class or wanted)

    def services(self, source: Object) -> frozenset[ServiceRef]:
        """Return the Service itself if it has no node ports of its own, else nothing."""
        if not self.cloud_provider or not needs_twin(source):
            return frozenset()
        return frozenset((ServiceRef(view.namespace(source), view.name(source)),))

    async def prepare(self, source: Object, backends: Backends) -> None:
        """Tell the nodes that serve the Service, and what of it cannot be served."""
        backends.problems.extend(not_served(source))
        if self.cloud_provider and self.local_nodes is not None:
            backends.addresses = await self.local_nodes.ensure(source)

    def export(self, source: Object, backends: Backends, destination: Destination) -> Object | None:
        """Return the LoadBalancer, or None while the Service has no node ports or addresses."""
        twins = [twin for _, twin in backends.services.values() if twin is not None]
        return load_balancer(
            source,
            destination,
            cloud_provider=self.cloud_provider,
            twin=twins[0] if twins else None,
            addresses=backends.addresses,
        )

    async def settle(self, source: Object, exported: Object) -> None:
        """Bind the nodes that were told to the export, or drop them."""
        if self.cloud_provider and self.local_nodes is not None:
            await self.local_nodes.settle(source, exported)

    def answer(self, exported: Object) -> Object | None:
        """Return the status that the LoadBalancer gives to its Service."""
        if not self.cloud_provider or not exported.get("status"):
            return None
        ingress = view.objects(exported, "status", "loadBalancer", "ingress")
        return {"loadBalancer": {"ingress": ingress} if ingress else {}}

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that makes the Service's status say `answer`; None if it does."""
        wanted = answer["loadBalancer"].get("ingress")
        if (view.objects(source, "status", "loadBalancer", "ingress") or None) == wanted:
            return None
        return {"status": {"loadBalancer": {"ingress": wanted}}}
