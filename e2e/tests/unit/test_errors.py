from __future__ import annotations

import pytest

from kubelb_e2e.errors import one_line

LOGGED = (
    'E0117 10:11:12.138461   167 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API group list"'
)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("error: no such thing\n", "error: no such thing"),
        (f"{LOGGED}\n{LOGGED}\nThe connection to the server was refused\n", "The connection to the server was refused"),
        ("Error from server: a\n\n  Error from server: b\n", "Error from server: a; Error from server: b"),
        (LOGGED, LOGGED),
        (" \n", "it printed nothing"),
    ],
)
def test_what_a_program_printed_becomes_one_line(said: str, line: str) -> None:
    assert one_line(said) == line
