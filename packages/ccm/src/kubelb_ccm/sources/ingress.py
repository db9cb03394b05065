"""Ingress (networking.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_ccm.sources.route_answer import source_status
from kubelb_common import names
from kubelb_common.objects.view import Object


@dataclass(frozen=True, slots=True)
class IngressAdapter:
    """Answers for Ingresses.

    Attributes:
        use_class: only Ingresses whose `spec.ingressClassName` is `kubelb` are ours; False: all are. The
            annotation that came before that field counts for nothing.
    """

    use_class: bool = True
    kind: str = "Ingress"
    group: str = "networking.k8s.io"

    def in_scope(self, source: Object) -> bool:
        """Tell whether the Ingress is ours to serve."""
        return not self.use_class or (source.get("spec") or {}).get("ingressClassName") == names.CLASS

    def services(self, source: Object) -> frozenset[ServiceRef]:
        """Return the Services of all paths and of the default backend, in the Ingress's own namespace."""
        namespace = source["metadata"].get("namespace", "")
        found = (_service_name(backend) for backend in _backends(source.get("spec") or {}))
        return frozenset(ServiceRef(namespace, name) for name in found if name)

    def answer(self, exported: Object) -> Object | None:
        """Return the status that the Route gives to its Ingress, or None while it says nothing of it."""
        status = source_status(exported)
        return None if status is None else _answer((status.get("loadBalancer") or {}).get("ingress"))

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that makes the Ingress's status say `answer`; None if it does."""
        current = _answer(((source.get("status") or {}).get("loadBalancer") or {}).get("ingress"))
        if current == answer:
            return None
        # null removes the list: an empty one would be stored as a difference that no reader sees
        return {"status": {"loadBalancer": {"ingress": answer["loadBalancer"].get("ingress")}}}


def _answer(ingress: list[Object] | None) -> Object:
    return {"loadBalancer": {"ingress": ingress} if ingress else {}}


def _backends(spec: Object) -> Iterator[Object]:
    yield spec.get("defaultBackend") or {}
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            yield path.get("backend") or {}


def _service_name(backend: Object) -> str | None:
    """Return the Service's name; None for a resource backend, or none at all."""
    name: str | None = (backend.get("service") or {}).get("name")
    return name
