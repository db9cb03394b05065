"""Conditions: time moves with status only, and nothing new means an equal list."""

from __future__ import annotations

import copy

from kubelb_common.objects import conditions

OLD, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "",
    "lastTransitionTime": OLD,
    "observedGeneration": 1,
}
FOREIGN = {"type": "Foreign", "status": "Unknown", "reason": "R", "message": "m", "lastTransitionTime": OLD}


def test_the_first_one_gets_the_time() -> None:
    assert conditions.set_condition([FOREIGN], "Accepted", "True", "Accepted", "", 1, OLD) == [FOREIGN, ACCEPTED]


def test_nothing_new_is_an_equal_list() -> None:
    existing = [ACCEPTED, FOREIGN]
    assert conditions.set_condition(existing, "Accepted", "True", "Accepted", "", 1, NOW) == existing


def test_a_new_reason_keeps_the_time_and_the_place() -> None:
    existing = [ACCEPTED, FOREIGN]
    before = copy.deepcopy(existing)
    after = conditions.set_condition(existing, "Accepted", "True", "Other", "why", 2, NOW)
    assert after == [ACCEPTED | {"reason": "Other", "message": "why", "observedGeneration": 2}, FOREIGN]
    assert existing == before


def test_a_new_status_moves_the_time() -> None:
    after = conditions.set_condition([ACCEPTED], "Accepted", "False", "Refused", "", None, NOW)
    assert after == [
        {"type": "Accepted", "status": "False", "reason": "Refused", "message": "", "lastTransitionTime": NOW}
    ]


def test_a_lost_time_is_set_again_and_a_double_is_removed() -> None:
    broken = {key: value for key, value in ACCEPTED.items() if key != "lastTransitionTime"}
    after = conditions.set_condition([broken, FOREIGN, ACCEPTED], "Accepted", "True", "Accepted", "", 1, NOW)
    assert after == [ACCEPTED | {"lastTransitionTime": NOW}, FOREIGN]


def test_a_long_message_is_cut_to_what_the_server_takes() -> None:
    (only,) = conditions.set_condition([], "Accepted", "True", "R", "x" * 40000, 1, NOW)
    assert len(only["message"]) == 32768


def test_merge_sets_all_and_leaves_others() -> None:
    wanted = [
        {
            "type": "Programmed",
            "status": "False",
            "reason": "NoReadyProxies",
            "message": "0/2",
            "observedGeneration": 4,
        },
        {key: value for key, value in ACCEPTED.items() if key != "lastTransitionTime"},
    ]
    assert conditions.merge([FOREIGN, ACCEPTED], wanted, NOW) == [
        FOREIGN,
        ACCEPTED,
        wanted[0] | {"lastTransitionTime": NOW},
    ]


def test_reading() -> None:
    both = [FOREIGN, ACCEPTED]
    assert conditions.find(both, "Accepted") is ACCEPTED
    assert conditions.find(both, "Programmed") is None
    assert conditions.is_true(both, "Accepted")
    assert conditions.is_true(both, "Accepted", generation=1)
    assert not conditions.is_true(both, "Accepted", generation=2)
    assert not conditions.is_true(both, "Foreign")
    assert conditions.remove(both, "Foreign") == [ACCEPTED]


def test_same_looks_at_what_is_told() -> None:
    later = ACCEPTED | {"lastTransitionTime": NOW}
    assert conditions.same([FOREIGN, ACCEPTED], [later, FOREIGN])
    assert not conditions.same([ACCEPTED], [ACCEPTED | {"message": "m"}])
    assert not conditions.same([ACCEPTED], [ACCEPTED, FOREIGN])
