from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kubelb_common.telemetry import logs

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0ZW5hbnQifQ.c2lnbmF0dXJl"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()


def written(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_carry_message_and_fields() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    logs.get("a.b").info("route accepted", tenant="blue", count=3)
    (line,) = written(out)
    assert line["event"] == "route accepted"
    assert (line["tenant"], line["count"], line["level"], line["logger"]) == ("blue", 3, "info", "a.b")
    assert str(line["time"]).endswith("Z")


def test_levels_are_obeyed_and_unknown_ones_refused() -> None:
    out = io.StringIO()
    logs.configure("warning", stream=out)
    logs.get("x").info("quiet")
    assert out.getvalue() == ""
    with pytest.raises(ValueError, match="use debug, info, warning or error"):
        logs.configure("loud")


def test_libraries_come_out_in_the_same_form() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    logging.getLogger("aiohttp.server").error("bad %s", "request")
    assert written(out)[0]["event"] == "bad request"


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_redacted_in_fields_text_nesting_and_stack_traces(as_json: bool) -> None:
    out = io.StringIO()
    logs.configure("info", json=as_json, stream=out)
    log = logs.get("x")
    log.info("a", token="hunter2", headers={"Authorization": "Basic aHVudGVyMg=="}, items=[f"Bearer {JWT}"])
    log.info("b", text=f"refused {JWT} today", key=KEY)
    try:
        raise ValueError(f"Authorization: bearer abcdefgh12345678 {KEY}")  # noqa: TRY301
    except ValueError:
        log.exception("c")
    text = out.getvalue()
    for secret in ("hunter2", "aHVudGVyMg", "eyJhbG", "MHcCAQEE", "abcdefgh12345678"):
        assert secret not in text
    assert text.count(logs.HIDDEN) >= 7
    assert "ValueError" in text


def test_names_of_secrets_stay_readable() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    logs.get("x").info("a", secret="envoy-tls", key="ns/web", token=None)
    line = written(out)[0]
    assert (line["secret"], line["key"], line["token"]) == ("envoy-tls", "ns/web", None)
