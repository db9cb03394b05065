"""Which hosts cover names in common."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb_manager.admission.hosts import HostIndex, overlap
from kubelb_manager.ir.model import Host

labels = st.sampled_from(["a", "b"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = st.one_of(st.just("*"), names, names.map("*.{}".format)).map(Host)


def covers(host: Host, name: str) -> bool:
    """The meaning, said in another way: a wildcard covers whatever ends in its suffix."""
    return name == host or (host.startswith("*.") and name.endswith(host[1:]) and len(name) > len(host) - 1)


def test_examples() -> None:
    for one, other, expected in (
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "b.a.example.com", True),
        ("*.example.com", "*.a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "aexample.com", False),
        ("*", "a.example.com", False),
        ("*", "*", True),
    ):
        assert overlap(Host(one), Host(other)) is expected, (one, other)
        assert overlap(Host(other), Host(one)) is expected, (other, one)


@given(names, hosts)
def test_a_name_overlaps_with_what_covers_it(name: str, host: Host) -> None:
    assert overlap(Host(name), host) is covers(host, name)


@given(hosts, hosts)
def test_two_that_cover_one_name_overlap(one: Host, other: Host) -> None:
    witnesses = [host.replace("*.", "a.b.a.") for host in (one, other)]
    if any(covers(one, name) and covers(other, name) for name in witnesses):
        assert overlap(one, other)
    assert overlap(one, other) is overlap(other, one)


@given(st.lists(st.tuples(st.booleans(), hosts, st.integers(0, 2)), max_size=40), hosts)
def test_the_index_finds_what_overlaps(steps: list[tuple[bool, Host, int]], asked: Host) -> None:
    index: HostIndex[int] = HostIndex()
    model: dict[Host, set[int]] = {}
    for add, host, value in steps:
        if add:
            index.add(host, value)
            model.setdefault(host, set()).add(value)
        else:
            index.discard(host, value)
            model.get(host, set()).discard(value)
    found = [(host, set(values)) for host, values in index.overlapping(asked)]
    assert len({host for host, _ in found}) == len(found)
    assert dict(found) == {host: values for host, values in model.items() if values and overlap(host, asked)}
    assert set(index.at(asked)) == model.get(asked, set())
