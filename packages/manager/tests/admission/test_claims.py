"""Host claims under any history: one owner at a time, kept over restarts and restores, freed only by time or an admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_manager.admission import record
from kubelb_manager.admission.claims import Book, Standing, Wish
from kubelb_manager.admission.hosts import overlap
from kubelb_manager.admission.record import SHARDS, Claim
from kubelb_manager.ir.model import Host, Origin

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOLD = timedelta(hours=24)


def origin(tenant: str, name: str) -> Origin:
    return Origin("Route", f"tenant-{tenant}", name)


def wish(tenant: str, *hosts: str, created: str = "2026-01-01T00:00:00Z") -> Wish:
    return Wish(tenant, created, frozenset(Host(host) for host in hosts))


class Hub:
    """The record as the API server has it, and a leader over it."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str]] = {}
        self.now = START
        self.book = Book()
        self.wishes: dict[Origin, Wish] = {}

    def want(self, item: Origin, wanted: Wish | None) -> None:
        if wanted is None:
            self.wishes.pop(item, None)
        else:
            self.wishes[item] = wanted
        self.book.wish(item, wanted)

    def lead(self) -> int:
        """Let the leader work until it has nothing to write; return how many entries it wrote."""
        count = 0
        while changes := self.book.decide(self.now, HOLD).changes:
            count += len(changes)
            for name, patch in record.written(changes).items():
                data = self.objects.setdefault(name, {})
                for key, text in patch.items():
                    if text is None:
                        del data[key]
                    else:
                        data[key] = text
            for host, claim in changes.items():
                self.book.put(host, claim)
        return count

    def restart(self) -> None:
        self.book = Book()
        for data in self.objects.values():
            for host, claim in record.read(data):
                self.book.put(host, claim)
        for item, wanted in self.wishes.items():
            self.book.wish(item, wanted)

    def served(self) -> dict[Origin, Wish]:
        return {item: wanted for item, wanted in self.wishes.items() if self.book.standing(item) is Standing.HELD}


def test_first_come_is_by_the_hubs_clock_then_name() -> None:
    hub = Hub()
    hub.want(origin("late", "r"), wish("late", "a.example.com", created="2026-01-02T00:00:00Z"))
    hub.want(origin("early", "r"), wish("early", "a.example.com"))
    hub.lead()
    assert list(hub.served()) == [origin("early", "r")]
    assert hub.book.standing(origin("late", "r")) is Standing.TAKEN


def test_a_claim_stands_above_age() -> None:
    """A restore makes every object younger, and a tenant may write any age into its source."""
    hub = Hub()
    hub.want(origin("a", "r"), wish("a", "a.example.com", created="2026-01-05T00:00:00Z"))
    hub.lead()
    hub.want(origin("b", "r"), wish("b", "a.example.com", created="2020-01-01T00:00:00Z"))
    hub.lead()
    hub.want(origin("a", "r"), wish("a", "a.example.com", created="2026-09-09T00:00:00Z"))
    hub.lead()
    assert list(hub.served()) == [origin("a", "r")]


def test_a_released_host_waits_for_its_hold_down() -> None:
    hub = Hub()
    hub.want(origin("a", "r"), wish("a", "*.example.com"))
    hub.lead()
    hub.want(origin("b", "r"), wish("b", "a.example.com"))
    hub.want(origin("a", "r"), None)
    assert hub.lead() == 1
    decision = hub.book.decide(hub.now, HOLD)
    assert decision.look_again == START + HOLD
    hub.now = START + HOLD - timedelta(seconds=1)
    hub.lead()
    assert hub.served() == {}
    hub.now = START + HOLD
    hub.lead()
    assert list(hub.served()) == [origin("b", "r")]


def test_an_object_gets_all_of_its_hosts_or_claims_none() -> None:
    hub = Hub()
    hub.want(origin("a", "r"), wish("a", "a.example.com"))
    hub.lead()
    hub.want(origin("b", "r"), wish("b", "a.example.com", "b.example.com"))
    hub.lead()
    assert Host("b.example.com") not in hub.book.claims()
    assert hub.book.taken(origin("b", "r")) == "a.example.com"


def test_nothing_of_a_tenant_that_is_not_known_yet_is_released() -> None:
    hub = Hub()
    hub.want(origin("a", "r"), wish("a", "a.example.com"))
    hub.lead()
    hub.wishes.clear()
    hub.restart()
    assert hub.book.decide(hub.now, HOLD, unknown=["a"]).changes == {}
    assert hub.book.decide(hub.now, HOLD).changes == {Host("a.example.com"): Claim("a", START)}


def test_what_could_not_be_written_is_decided_again() -> None:
    hub = Hub()
    hub.want(origin("a", "r"), wish("a", "a.example.com"))
    decision = hub.book.decide(hub.now, HOLD)
    assert hub.book.decide(hub.now, HOLD).changes == {}
    hub.book.undo(decision)
    assert hub.book.decide(hub.now, HOLD).changes == decision.changes


names = st.sampled_from(["a.x", "b.x", "c.a.x", "*.x", "*.a.x", "y", "*"])
tenants = st.sampled_from(["one", "two", "three"])
steps = st.one_of(
    st.tuples(st.just("want"), tenants, st.sampled_from("rst"), st.frozensets(names, min_size=1, max_size=3)),
    st.tuples(st.just("drop"), tenants, st.sampled_from("rst")),
    st.tuples(st.just("drop all"), tenants),
    st.tuples(st.just("restart")),
    st.tuples(st.just("restore")),
    st.tuples(st.just("pass"), st.integers(0, 30)),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=30), st.data())
def test_any_history(history: list[tuple[Any, ...]], data: st.DataObject) -> None:
    hub = Hub()
    owners: dict[Host, tuple[str, datetime]] = {}
    for number, step in enumerate(history):
        created = f"2026-01-{data.draw(st.integers(1, 28)):02}T00:00:{number:02}Z"
        match step:
            case ("want", tenant, name, hosts):
                hub.want(origin(tenant, name), Wish(tenant, created, frozenset(Host(host) for host in hosts)))
            case ("drop", tenant, name):
                hub.want(origin(tenant, name), None)
            case ("drop all", tenant):
                for item in [item for item in hub.wishes if item.namespace == f"tenant-{tenant}"]:
                    hub.want(item, None)
            case ("restart",):
                before = {item: hub.book.standing(item) for item in hub.wishes}
                hub.restart()
                assert {item: hub.book.standing(item) for item in hub.wishes} == before
                assert hub.lead() == 0, "a restart writes nothing"
            case ("restore",):
                for item, old in list(hub.wishes.items()):
                    hub.want(item, None)
                    hub.want(item, old._replace(created=created))
            case ("pass", hours):
                hub.now += timedelta(hours=hours)
        hub.lead()
        check(hub, owners)


def check(hub: Hub, owners: dict[Host, tuple[str, datetime]]) -> None:
    """Args: `owners`: who was served for a host last, and when; brought up to date."""
    served = hub.served()
    for item, wanted in served.items():
        for other, theirs in served.items():
            if wanted.tenant != theirs.tenant:
                clash = [(a, b) for a in wanted.hosts for b in theirs.hosts if overlap(a, b)]
                assert not clash, f"{item} and {other} are served for {clash}"
        for host in wanted.hosts:
            owner, since = owners.get(host, (wanted.tenant, hub.now))
            assert owner == wanted.tenant or hub.now - since >= HOLD, f"{host} changed hands too early"
            owners[host] = (wanted.tenant, hub.now)
    assert all(hub.book.standing(item) is not Standing.OPEN for item in hub.wishes), "the leader has decided"
    stored = {host: claim for data in hub.objects.values() for host, claim in record.read(data)}
    assert stored == hub.book.claims()


@given(st.dictionaries(names.map(Host), st.tuples(tenants, st.none() | st.integers(0, 10**6))))
def test_what_is_written_is_read(entries: dict[Host, tuple[str, int | None]]) -> None:
    claims = {
        host: Claim(tenant, None if age is None else START + timedelta(seconds=age))
        for host, (tenant, age) in entries.items()
    }
    patches = record.written(claims)
    assert dict(pair for data in patches.values() for pair in record.read(data)) == claims
    for name, data in patches.items():
        assert all(record.object_name(host) == name for host, _ in record.read(data))


def test_what_is_no_claim_is_left_out() -> None:
    texts = {"a.x": "", "b.x": "Not A Tenant", "c.x": "one released yesterday", "d.x": "one held", "e.x": " one "}
    assert dict(record.read({**texts, "f.x": 5})) == {Host("e.x"): Claim("one")}
    assert list(record.read(None)) == []


def test_twenty_thousand_hosts_are_small_objects() -> None:
    patches = record.written({Host(f"host-{n}.tenant-{n % 50}.example.com"): Claim("primary") for n in range(20_000)})
    assert len(patches) == SHARDS
    assert max(sum(len(key) + len(text or "") for key, text in data.items()) for data in patches.values()) < 32_000
    assert sum(map(len, patches.values())) == 20_000
