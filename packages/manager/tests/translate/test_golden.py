"""Objects in, fleet and verdicts out: one pair of files for each case in `testdata/translate`.

Documents that are no Kubernetes objects: `kind: Resolved` gives the addresses of host names.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kubelb_common.kube.port import Object
from kubelb_common.testing import golden
from kubelb_manager.ir import checks
from kubelb_manager.ir.model import Action, Cluster, Fleet, Forward, L4Listener, Part, Protocol
from kubelb_manager.ports import declared, table
from kubelb_manager.settings.merged import merged
from kubelb_manager.translate.addresses import address_policy
from kubelb_manager.translate.context import Context, nodes_from, resolved_from
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import Merged, merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route

TESTDATA = Path(__file__).parent.parent / "testdata" / "translate"
NAMESPACE = "tenant-primary"


def of_kind(documents: list[Object], kind: str) -> list[Object]:
    return [item for item in documents if item.get("kind") == kind]


def context_of(documents: list[Object]) -> Context:
    config = next(iter(of_kind(documents, "Config")), None)
    tenant = next(iter(of_kind(documents, "Tenant")), None)
    resolved = {name: ips for item in of_kind(documents, "Resolved") for name, ips in item["names"].items()}
    settings = merged(config, tenant)
    return Context(
        tenant_namespace=NAMESPACE,
        nodes=nodes_from(of_kind(documents, "Addresses")),
        settings=settings,
        addresses=address_policy(settings.denied_addresses, settings.endpoints_allowed),
        resolved=resolved_from(resolved),
        keeps_native=any(item["metadata"]["name"] == "envoy-ingress" for item in of_kind(documents, "Service")),
    )


def translate(documents: list[Object]) -> dict[str, Any]:
    context = context_of(documents)
    load_balancers = of_kind(documents, "LoadBalancer")
    routes = of_kind(documents, "Route")
    wanted = [key for item in load_balancers for key in declared.wanted(item)]
    held = table.from_status([*load_balancers, *routes])
    wanted += [
        *(key for key in held if key.service),
        *(k for item in routes for k in translate_route(item, context).wants),
    ]
    ports = table.allocate(held, wanted).ports
    results: dict[str, Translated] = {}
    for item in routes:
        own = {key: port for key, port in ports.items() if key.holder == ("Route", NAMESPACE, item["metadata"]["name"])}
        results[f"Route {item['metadata']['name']}"] = translate_route(item, context, own)
    for item in load_balancers:
        results[f"LoadBalancer {item['metadata']['name']}"] = translate_load_balancer(item, context, ports)
    parts = [result.part for result in results.values() if result.part is not None]
    outcome = merge(f"{NAMESPACE}/shared", parts)
    assert checks.problems(outcome.fleet) == ()
    assert all(named_clusters(part) <= {cluster.name for cluster in part.clusters} for part in parts)
    return spoken(results, outcome, ports)


def named_clusters(part: Part) -> set[str]:
    actions = [rule.action for host in part.hosts for rule in host.rules] + [part.default_backend]
    listed = {listener.cluster for listener in part.listeners}
    actions += [listener.unknown_host for listener in part.http_listeners]
    return listed | {action.cluster for action in actions if isinstance(action, Forward)}


def spoken(results: dict[str, Translated], outcome: Merged, ports: Any) -> dict[str, Any]:
    """Return the outcome in a form that reads well in a file."""
    objects = {}
    for name, result in sorted(results.items()):
        entry: dict[str, Any] = {
            verdict.type: f"{verdict.status} {verdict.reason}: {verdict.message}" for verdict in result.verdicts
        }
        if result.services:
            entry["services"] = list(result.services)
        if result.part is not None:
            entry["age"] = list(result.part.age)
            shadowed = outcome.shadowed.get(result.part.origin)
            if shadowed:
                entry["shadowed"] = list(shadowed)
        if result.copy is not None:
            entry["copy"] = spoken_copy(result.copy)
        if result.backends:
            entry["backends"] = [item["metadata"]["name"] for item in result.backends]
        objects[name] = entry
    out: dict[str, Any] = {"objects": objects, "fleet": spoken_fleet(outcome.fleet)}
    if ports:
        out["ports"] = {f"{key.owner} {key.port}/{key.protocol}": port for key, port in sorted(ports.items())}
    return out


def spoken_fleet(fleet: Fleet) -> dict[str, Any]:
    http = [
        {
            "listener": f"{listener.name} {listener.port}",
            "hosts": {
                str(table.host): [
                    *(f"{rule.match.kind} {rule.match.value} -> {spoken_action(rule.action)}" for rule in table.rules),
                    f"else -> {spoken_action(table.miss)}",
                ]
                for table in listener.tables
            },
            "unknown host": spoken_action(listener.unknown_host),
            **({"trusted hops": listener.client.trusted_hops} if listener.client.trusted_hops else {}),
        }
        for listener in fleet.http
    ]
    return {
        "key": fleet.key,
        "http": http,
        "l4": [spoken_listener(item) for item in fleet.l4],
        "clusters": {cluster.name: spoken_cluster(cluster) for cluster in fleet.clusters},
    }


def spoken_action(action: Action) -> str:
    return action.cluster if isinstance(action, Forward) else str(action.status)


def spoken_listener(listener: L4Listener) -> str:
    ranges = f" from {', '.join(listener.source_ranges)}" if listener.source_ranges else ""
    proxy = " behind a proxy" if listener.behind_proxy else ""
    return f"{listener.port}/{listener.protocol} {listener.name} -> {listener.cluster}{ranges}{proxy}"


def spoken_copy(copy: Any) -> Any:
    head = f"{copy['kind']} {copy['metadata']['name']}"
    if copy["kind"] != "Service":
        return head
    ports = [
        f"{p.get('name', '')} {p['port']}/{p['protocol']} -> {p['targetPort']}".strip() for p in copy["spec"]["ports"]
    ]
    address = copy["spec"].get("loadBalancerIP")
    return {head: [*ports, *([f"at {address}"] if address else [])]}


def spoken_cluster(cluster: Cluster) -> list[str]:
    flags = [name for name in ("local_only", "source_affinity", "proxy_protocol") if getattr(cluster, name)]
    flags += [str(cluster.protocol)] if cluster.protocol is Protocol.UDP else []
    ends = [
        f"[{end.address}]:{end.port}" if ":" in end.address else f"{end.address}:{end.port}"
        for end in cluster.endpoints
    ]
    return [str(cluster.layer), *flags, *ends]


@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_golden(case: golden.Case, update_golden: bool) -> None:
    case.check({"out": translate(case.documents())}, update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(TESTDATA, update=update_golden)


@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_order_of_input_has_no_influence(case: golden.Case) -> None:
    expected = translate(case.documents())
    for seed in range(3):
        shuffled = case.documents()
        random.Random(seed).shuffle(shuffled)
        assert translate(shuffled) == expected
