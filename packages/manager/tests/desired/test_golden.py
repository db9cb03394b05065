"""Objects of the contract in, objects of the management cluster out: `testdata/desired`.

The outputs are by topic, and a case has those that its objects ask for: the tenant's account and
fleet (where it has nothing else), Services and copies.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb_common.kube.port import Object
from kubelb_common.testing import golden
from kubelb_manager.desired import envoy_fleet, monitoring, network_policy, service, tenant
from kubelb_manager.ir.model import FleetId
from kubelb_manager.ports import declared, table
from kubelb_manager.settings.merged import envoy, merged
from kubelb_manager.translate.addresses import address_policy
from kubelb_manager.translate.context import Context, nodes_from
from kubelb_manager.translate.egress import egress
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.route import translate_route

TESTDATA = Path(__file__).parent.parent / "testdata" / "desired"


def of_kind(documents: list[Object], kind: str) -> list[Object]:
    return [item for item in documents if item.get("kind") == kind]


def account(owner: Object) -> list[Object]:
    return [
        tenant.namespace(owner),
        tenant.service_account(owner),
        tenant.role(owner),
        tenant.role_binding(owner),
        tenant.token_secret(owner),
        tenant.tenant_state(owner),
    ]


def guards(documents: list[Object], owner: Object, fleet: Object) -> list[Object]:
    config = next(iter(of_kind(documents, "Config")), None)
    nodes = [ip for _, given in nodes_from(of_kind(documents, "Addresses")) for ip in given.ips]
    policy = address_policy(denied=["10.0.0.0/24"], granted=merged(config, owner).endpoints_allowed)
    namespace = tenant.tenant_namespace(owner)
    border = network_policy.fleet_policy(namespace, egress(nodes, [policy]), manager_namespace="kubelb", owner=owner)
    return [monitoring.disruption_budget(fleet), border, monitoring.pod_monitor(namespace, owner)]


def wanted(documents: list[Object]) -> dict[str, list[Object]]:
    config = next(iter(of_kind(documents, "Config")), None)
    [owner] = of_kind(documents, "Tenant")
    settings = merged(config, owner)
    namespace = tenant.tenant_namespace(owner)
    home = FleetId(namespace, "shared")
    routes, load_balancers = of_kind(documents, "Route"), of_kind(documents, "LoadBalancer")
    if not routes and not load_balancers:
        fleet = envoy_fleet.workload(
            owner,
            namespace,
            "shared",
            bootstrap="{}",
            image="envoy:default",
            agent=envoy_fleet.Agent("manager:default", "token"),
            settings=envoy(config, owner),
        )
        return {
            "account": account(owner),
            "fleet": [
                fleet,
                service.bound(service.ingress(owner, namespace, settings=settings), home),
                service.members(owner, home),
            ],
            **({"guards": guards(documents, owner, fleet)} if of_kind(documents, "Addresses") else {}),
        }
    context = Context(
        namespace, nodes=nodes_from(of_kind(documents, "Addresses")), settings=settings, addresses=address_policy()
    )
    keys = [key for item in load_balancers for key in declared.wanted(item)]
    keys += [key for item in routes for key in translate_route(item, context).wants]
    ports = table.allocate(table.from_status(load_balancers), keys).ports
    results = [translate_route(item, context, ports) for item in routes]
    results += [translate_load_balancer(item, context, ports) for item in load_balancers]
    made = [item for result in results for item in (*result.backends, result.copy) if item is not None]
    return {"copies": [service.bound(item, home) if item["kind"] == "Service" else item for item in made]}


@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_golden(case: golden.Case, update_golden: bool) -> None:
    case.check(wanted(case.documents()), update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(TESTDATA, update=update_golden)
