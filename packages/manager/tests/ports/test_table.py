"""Ports stay, never repeat, and come back after a restart, whatever happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb_common.kube.port import Object
from kubelb_manager.ports import declared
from kubelb_manager.ports.table import PORT_RANGE, RESERVED, PortKey, allocate, from_status, joined, losers


def load_balancer(name: str, ports: list[int], status: list[Object] | None = None) -> Object:
    return {
        "metadata": {"namespace": "tenant-a", "name": name},
        "spec": {
            "ports": [{"name": f"p{port}", "port": port} for port in ports],
            "endpoints": [{"ports": [{"name": f"p{port}", "port": 30000 + port} for port in ports]}],
        },
        "status": {"service": {"ports": status or []}},
    }


steps = st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(1, 9), unique=True, max_size=4), max_size=5)


@given(st.lists(steps, max_size=8))
def test_unique_stable_and_restored_under_any_history(history: list[dict[str, list[int]]]) -> None:
    stored: dict[str, Object] = {}
    for wish in history:
        stored = {
            name: load_balancer(name, ports, (stored.get(name) or {}).get("status", {}).get("service", {}).get("ports"))
            for name, ports in wish.items()
        }
        before = from_status(stored.values())
        wanted = [key for lb in stored.values() for key in declared.wanted(lb)]
        ports = allocate(before, wanted).ports
        assert sorted(ports) == sorted(wanted)
        assert len(set(ports.values())) == len(ports)
        assert all(port in PORT_RANGE and port not in RESERVED for port in ports.values())
        assert all(ports[key] == port for key, port in before.items() if key in ports)
        for lb in stored.values():
            lb["status"]["service"]["ports"] = declared.status_ports(lb, ports)
        assert from_status(stored.values()) == dict(ports)
        assert allocate(from_status(list(stored.values())[::-1]), wanted[::-1]).ports == ports


def test_a_full_range_is_a_result() -> None:
    keys = [PortKey("ns", "lb", number, "TCP") for number in range(len(PORT_RANGE))]
    result = allocate({}, keys)
    assert len(result.unserved) == len(set(PORT_RANGE) & RESERVED)
    assert set(result.ports.values()) == set(PORT_RANGE) - RESERVED


def test_a_port_in_use_by_an_object_that_goes_is_not_given_out() -> None:
    key = PortKey("ns", "new", 80, "TCP")
    port = allocate({}, [key]).ports[key]
    leaving = {PortKey("ns", "leaving", 80, "TCP"): port}
    assert allocate(leaving, [key]).ports[key] != port


def test_reserved_ports_are_neither_given_nor_believed() -> None:
    assert {8080, 8443, 9001, 19000, 19003, 19099} <= RESERVED
    damaged = [load_balancer("a", [80], [{"port": 80, "targetPort": port}]) for port in (19003, 9001, 40000, 0, "http")]
    assert from_status(damaged) == {}


def test_a_duplicate_stays_with_the_first_key() -> None:
    entry = {"port": 80, "protocol": "TCP", "targetPort": 12345}
    table = from_status([load_balancer("b", [80], [entry]), load_balancer("a", [80], [entry])])
    assert table == {PortKey("tenant-a", "a", 80, "TCP"): 12345}


def test_renaming_a_port_keeps_it() -> None:
    lb = load_balancer("a", [80], [{"name": "old-name", "port": 80, "protocol": "TCP", "targetPort": 12345}])
    assert allocate(from_status([lb]), declared.wanted(lb)).ports == {PortKey("tenant-a", "a", 80, "TCP"): 12345}


def test_status_says_what_the_service_has() -> None:
    lb = load_balancer("a", [80])
    service = {"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 31000}]}}
    assert declared.status_ports(lb, {PortKey("tenant-a", "a", 80, "TCP"): 12345}, service) == [
        {
            "name": "p80",
            "port": 80,
            "protocol": "TCP",
            "targetPort": 12345,
            "nodePort": 31000,
            "upstreamTargetPort": 30080,
        }
    ]


def test_another_fleets_port_is_taken_last() -> None:
    key = PortKey("tenant-a", "lb", 80, "TCP")
    [first] = allocate({}, [key]).ports.values()
    [second] = allocate({}, [key], avoid={first}.__contains__).ports.values()
    assert second != first
    [only] = allocate({}, [key], avoid=lambda _port: True).ports.values()
    assert only in PORT_RANGE
    assert allocate({key: first}, [key], avoid={first}.__contains__).ports == {key: first}, "what is given stays"


turns = st.lists(
    st.tuples(st.sampled_from(["reconcile", "look", "new-leader"]), st.integers(0, 1), st.sampled_from("abcd")),
    max_size=40,
)


@given(turns)
def test_leaders_that_overtake_each_other_leave_one_port_to_one_key(history: list[tuple[str, int, str]]) -> None:
    """A leader that was frozen writes with an old view; each object's status takes a write of its own version only."""
    few = frozenset(range(10003, 32768)) | RESERVED  # so that leaders choose the same
    statuses: dict[str, list[Object]] = {name: [] for name in "abcd"}
    versions = dict.fromkeys("abcd", 0)

    def now() -> list[Object]:
        return [load_balancer(name, [80], status) for name, status in statuses.items()]

    class Leader:
        def __init__(self) -> None:
            self.given: dict[PortKey, int] = {}
            self.look()

        def look(self) -> None:
            self.seen, self.versions = now(), dict(versions)

        def reconcile(self, name: str) -> set[tuple[str, str, str]]:
            lb = next(each for each in self.seen if each["metadata"]["name"] == name)
            table = from_status(self.seen, few)
            lost = losers(self.seen, table)
            result = allocate(joined(table, self.given), declared.wanted(lb), few).ports
            self.given |= result
            written = declared.status_ports(lb, result)
            if written != statuses[name] and self.versions[name] == versions[name]:
                statuses[name], versions[name] = written, versions[name] + 1
            return lost

    leaders = [Leader(), Leader()]
    for what, index, name in history:
        match what:
            case "reconcile":
                leaders[index].reconcile(name)
            case "look":
                leaders[index].look()
            case "new-leader":
                leaders[index] = Leader()
        published = from_status(now(), few)
        assert len(set(published.values())) == len(published)
    last = Leader()
    due = set("abcd")
    for _ in range(20):
        for name in sorted(due):
            last.look()
            due = (due - {name}) | {other for _, _, other in last.reconcile(name)}
    final = from_status(now(), few)
    assert len(set(final.values())) == len(final) == 3, "four want one of three ports"
    assert losers(now(), final) == set()
