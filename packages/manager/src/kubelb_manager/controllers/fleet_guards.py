"""Key: a namespace with fleets. What stands around their pods: disruption budgets, NetworkPolicy, PodMonitor.

It follows the workloads that exist, whoever asked for them, so it knows nothing of topologies: a namespace of a
tenant holds that tenant's fleets, the manager's own the one that serves all tenants.
"""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_manager.controllers import apply
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import monitoring, network_policy
from kubelb_manager.gather.bundle import Gatherer
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import EnvoySettings, envoy

#: A kind that is not installed is tried again this often.
_MISSING_KIND_PERIOD = 60.0
#: How long a workload has to be gone before its guards go too.
_GONE_HOLD = 2.0


class FleetGuardController:
    """Keeps what stands around the pods of fleets."""

    def __init__(self, hub: Hub, gatherer: Gatherer, *, namespace: str, clock: Clock) -> None:
        self._hub = hub
        self._informers = informers = hub.informers
        self._gatherer = gatherer
        self._namespace = namespace
        self.controller = Controller("fleet-guards", self.reconcile, workers=2, clock=clock)
        for informer in (informers.deployments, informers.daemon_sets):
            self.controller.watch(informer, _home, when=_comes_or_goes)
            informer.on_change(self._on_gone)
        for informer in (informers.disruption_budgets, informers.network_policies, informers.pod_monitors):
            self.controller.watch(informer, _home)
        for informer in (informers.addresses, informers.nodes, informers.service_cidrs):
            self.controller.watch(informer, lambda _obj: self._everybody(), when=_content_changed)
        for informer in (informers.configs, informers.tenants):
            self.controller.watch(informer, lambda _obj: self._everybody(), when=_settings_changed)

    def _on_gone(self, change: Change) -> None:
        """Look later: a workload that somebody deleted, or took our labels off, is put back at once."""
        if change.old is not None and change.new is None:
            for key in _home(change.old):
                self.controller.enqueue(key, after=_GONE_HOLD)

    def everybody_again(self) -> None:
        """Have every namespace with fleets looked at."""
        for key in self._everybody():
            self.controller.enqueue(key)

    def _everybody(self) -> list[ObjectKey]:
        stores = (self._informers.deployments.store, self._informers.daemon_sets.store)
        return [ObjectKey("", name) for name in sorted({view.namespace(obj) for s in stores for obj in s.list()})]

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring a namespace's guards to what its fleets need."""
        namespace = key.name
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        own = namespace == self._namespace
        tenant = None if own else self._informers.tenants.store.get(None, names.tenant_of_namespace(namespace))
        if tenant is None and not own:
            return DONE  # its namespace goes, or stays as it is
        if in_force.undecided(config, tenant):
            return DONE
        settings = envoy(config, tenant)
        workloads = self._fleets(self._informers.deployments, namespace)
        await self._budgets(namespace, workloads)
        any_pods = bool(workloads or self._fleets(self._informers.daemon_sets, namespace))
        await self._policy(namespace, tenant, wanted=any_pods and settings.network_policy)
        return await self._monitor(namespace, tenant, settings, any_pods=any_pods)

    @staticmethod
    def _fleets(informer: Informer, namespace: str) -> list[Object]:
        return [obj for obj in informer.store.list(namespace) if not view.deleting(obj)]

    async def _budgets(self, namespace: str, deployments: list[Object]) -> None:
        """A DaemonSet has none: what drains a node leaves its pods alone."""
        wanted = {view.name(item): monitoring.disruption_budget(item) for item in deployments}
        for name, goal in wanted.items():
            live = self._hub.live(resources.DISRUPTION_BUDGETS, namespace, name)
            await apply.ensure(self._hub, resources.DISRUPTION_BUDGETS, goal, live)
        for live in self._informers.disruption_budgets.store.list(namespace):
            if view.name(live) not in wanted:
                await apply.remove(self._hub, resources.DISRUPTION_BUDGETS, live)

    async def _policy(self, namespace: str, tenant: Object | None, *, wanted: bool) -> None:
        live = self._hub.live(resources.NETWORK_POLICIES, namespace, network_policy.NAME)
        if not wanted:
            await apply.remove(self._hub, resources.NETWORK_POLICIES, live)
            return
        served = [namespace] if tenant is not None else self._gatherer.tenant_namespaces()
        goal = network_policy.fleet_policy(
            namespace, self._gatherer.egress(served), manager_namespace=self._namespace, owner=tenant
        )
        await apply.ensure(self._hub, resources.NETWORK_POLICIES, goal, live)

    async def _monitor(
        self, namespace: str, tenant: Object | None, settings: EnvoySettings, *, any_pods: bool
    ) -> Result:
        """The Prometheus operator need not be installed (edge case 43)."""
        kind: Resource = resources.POD_MONITORS
        live = self._hub.live(kind, namespace, monitoring.POD_MONITOR_NAME)
        if not (any_pods and settings.pod_monitor):
            await apply.remove(self._hub, kind, live)
            return DONE
        try:
            await apply.ensure(self._hub, kind, monitoring.pod_monitor(namespace, tenant), live)
        except NotFound:
            return Again(_MISSING_KIND_PERIOD)
        return DONE


def _home(obj: Object) -> list[ObjectKey]:
    return [ObjectKey("", view.namespace(obj))]


def _comes_or_goes(change: Change) -> bool:
    old, new = change
    if new is None:
        return False  # see `_on_gone`
    if old is None or view.deleting(old) != view.deleting(new):
        return True
    return bool(view.get(old, "spec", "selector") != view.get(new, "spec", "selector"))


def _settings_changed(change: Change) -> bool:
    old, new = change
    return old is None or new is None or in_force.version(old) != in_force.version(new)


def _content_changed(change: Change) -> bool:
    """A node's heartbeat is none."""
    old, new = change
    if old is None or new is None or old.get("spec") != new.get("spec"):
        return True
    return bool(view.get(old, "status", "addresses") != view.get(new, "status", "addresses"))
