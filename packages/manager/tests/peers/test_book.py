"""What the leader may say follows from what replicas said, in whatever order, and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_manager.ir.model import Origin
from kubelb_manager.peers import model
from kubelb_manager.peers.book import Book, Page
from kubelb_manager.peers.model import ObjectState, PodState, Update
from kubelb_manager.peers.report import Connected, Feed, Report
from kubelb_manager.xds.resources import LISTENER, ROUTES

FLEET = "tenant-a/shared"
ROUTE = Origin("Route", "tenant-a", "r1")
TYPES = (LISTENER, ROUTES)
LIVE = ObjectState("u", 1, content="c", since=7, clusters=("x",))


def acknowledged(generation: int) -> dict[str, int]:
    return dict.fromkeys(TYPES, generation)


def told(book: Book, page: Page, *, age: float = 0.0, ack: int = 7, state: ObjectState | None = LIVE) -> None:
    book.note(page, Update(FLEET, {"p": PodState(age, acknowledged(ack))}, {ROUTE: state}), 100.0)


@pytest.mark.parametrize(
    ("ack", "state", "serves"),
    [
        pytest.param(7, LIVE, True, id="acknowledged"),
        pytest.param(9, LIVE, True, id="acknowledged-a-later-one"),
        pytest.param(6, LIVE, False, id="not-yet"),
        pytest.param(7, ObjectState("u", 1, content="other", since=7), False, id="other-content"),
        pytest.param(7, ObjectState("other", 1, content="c", since=7), False, id="another-object-of-that-name"),
        pytest.param(7, ObjectState("u", 0, content="c", since=7), False, id="an-older-generation"),
        pytest.param(7, ObjectState("u", 1), False, id="waiting"),
        pytest.param(7, None, False, id="unknown-there"),
    ],
)
def test_a_pod_serves_what_its_replica_says_and_it_acknowledged(
    ack: int, state: ObjectState | None, serves: bool
) -> None:
    book = Book()
    told(book, book.open("r"), ack=ack, state=state)
    assert book.elsewhere(FLEET).serves("p", ROUTE, LIVE, TYPES) is serves


def test_the_younger_stream_of_a_pod_tells_the_truth() -> None:
    book = Book()
    told(book, book.open("old"), age=50.0)
    told(book, book.open("new"), age=5.0, state=None)
    found = book.elsewhere(FLEET)
    assert found.replicas() == {"new"}
    assert not found.serves("p", ROUTE, LIVE, TYPES)
    assert found.without({"p": 94.0}).replicas() == {"new"}
    assert found.without({"p": 96.0}).replicas() == set()


def test_a_replica_that_is_gone_is_unknown_and_says_nothing_late() -> None:
    book = Book()
    page = book.open("r")
    told(book, page)
    again = book.open("r")
    told(book, page)
    assert book.elsewhere(FLEET).pods == {}
    told(book, again)
    book.close(page)
    assert book.elsewhere(FLEET).pods
    book.close(again)
    assert book.elsewhere(FLEET).pods == {}


def test_released_needs_every_replica_with_pods_and_no_other() -> None:
    book = Book()
    gone = ObjectState("u", 1, released=True)
    one, two, idle = book.open("one"), book.open("two"), book.open("idle")
    book.note(one, Update(FLEET, {"p": PodState(1, {})}, {ROUTE: gone}), 0)
    book.note(two, Update(FLEET, {"q": PodState(1, {})}), 0)
    book.note(idle, Update(FLEET, {}, {ROUTE: LIVE}), 0)
    assert not book.elsewhere(FLEET).released(ROUTE, "u"), "two says nothing"
    assert book.elsewhere(FLEET).silent(ROUTE, "u", 1)
    book.note(two, Update(FLEET, {}, {ROUTE: LIVE}), 0)
    assert not book.elsewhere(FLEET).released(ROUTE, "u")
    assert book.elsewhere(FLEET).clusters(ROUTE) == {"x"}
    assert not book.elsewhere(FLEET).silent(ROUTE, "u", 1)
    book.note(two, Update(FLEET, {}, {ROUTE: gone}), 0)
    assert book.elsewhere(FLEET).released(ROUTE, "u")
    assert not book.elsewhere(FLEET).released(ROUTE, "another")


def test_a_refusal_counts_for_its_generation() -> None:
    book = Book()
    told(book, book.open("r"), state=ObjectState("u", 2, refusal="no"))
    assert book.elsewhere(FLEET).refusal(ROUTE, "u", 2) == "no"
    assert book.elsewhere(FLEET).refusal(ROUTE, "u", 3) == ""


states = st.builds(
    ObjectState,
    uid=st.text(max_size=3),
    generation=st.integers(0, 9),
    content=st.text(max_size=3),
    since=st.integers(0, 9),
    clusters=st.tuples(st.text(max_size=3)),
    released=st.booleans(),
    refusal=st.text(max_size=3),
)
pods = st.builds(PodState, st.floats(0, 9), st.dictionaries(st.sampled_from(TYPES), st.integers(0, 9)))
names = st.sampled_from("abc")
origins = st.builds(Origin, st.sampled_from(["Route", "LoadBalancer"]), st.just("tenant-a"), names)
updates = st.builds(
    Update,
    st.sampled_from([FLEET, "tenant-b/shared"]),
    st.dictionaries(names, st.none() | pods),
    st.dictionaries(origins, st.none() | states),
)


@given(updates)
def test_an_update_survives_the_way(update: Update) -> None:
    assert model.decode(model.encode(update)) == update


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"fleet":1,"pods":[],"objects":{}}', b"\xff"])
def test_what_is_no_update_is_said(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        model.decode(data)


@dataclass
class Reader:
    """A leader: it may fall behind, go, and come anew."""

    report: Report
    book: Book = field(default_factory=Book)
    feed: Feed | None = None
    page: Page | None = None

    def connect(self) -> None:
        if self.feed is not None:
            self.report.close(self.feed)
        self.feed = self.report.feed(lambda: None)
        self.page = self.book.open("r")

    def read(self) -> None:
        assert self.feed is not None
        assert self.page is not None
        for update in self.feed.take():
            self.book.note(self.page, model.decode(model.encode(update)), 0.0)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([FLEET, "g/h"]), origins, st.none() | states),
        st.tuples(st.just("pods"), st.sampled_from([FLEET, "g/h"]), st.dictionaries(names, st.integers(0, 3))),
        st.tuples(st.just("drop"), st.sampled_from([FLEET, "g/h"])),
        st.tuples(st.sampled_from(["read", "connect"])),
    ),
    max_size=30,
)


@given(moves)
def test_whatever_happens_the_page_comes_to_equal_the_report(steps: list[tuple]) -> None:
    report = Report(lambda: 0.0)
    reader = Reader(report)
    reader.connect()
    objects: dict[str, dict[Origin, ObjectState]] = {}
    connected: dict[str, dict[str, int]] = {}
    for step in steps:
        match step:
            case ("put", fleet, origin, state):
                report.put(fleet, origin, state)
                objects.setdefault(fleet, {})[origin] = state
            case ("pods", fleet, found):
                report.put_pods(fleet, {pod: Connected(-1.0, acknowledged(number)) for pod, number in found.items()})
                connected[fleet] = found
            case ("drop", fleet):
                report.drop(fleet)
                objects.pop(fleet, None)
                connected.pop(fleet, None)
            case ("read",):
                reader.read()
            case ("connect",):
                reader.connect()
    reader.read()
    assert reader.page is not None
    for fleet in (FLEET, "g/h"):
        wanted = {origin: state for origin, state in objects.get(fleet, {}).items() if state is not None}
        assert reader.page.objects.get(fleet, {}) == wanted
        assert reader.page.pods.get(fleet, {}) == {
            pod: (-1.0, acknowledged(number)) for pod, number in connected.get(fleet, {}).items()
        }
