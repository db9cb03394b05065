"""The page, read as a browser reads it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from kubelb_e2e.report import page
from kubelb_e2e.report.model import Cluster, Outcome, Report, Scenario

HOSTILE = """<script>alert(1)</script> & "quoted" 'single' </pre></style>"""
VOID = {"meta", "br"}
DASH = "\N{EN DASH}"


class Reader(HTMLParser):
    """Checks that elements nest, and keeps rows, links, text and every element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append((dict(attrs).get("class") or "", []))
        if tag in ("td", "th"):
            self.rows[-1][1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def row(self, part: str) -> tuple[str, list[str]]:
        (found,) = [
            (kind, [" ".join(cell.split()) for cell in cells])
            for kind, cells in self.rows
            if any(part in cell for cell in cells)
        ]
        return found

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for found, attributes in self.elements if found == tag and name in attributes]


PASSED = Scenario("layer7", "test_ingress.py::test_basic", "Basic.", Outcome.PASSED, 4.25, 12345, 0, 7.26)
FAILED = Scenario(
    "layer4", "test_tcp.py::test_tcp", "TCP.", Outcome.FAILED, 75.0, 900, 3, 1210.4, "assert 3 == 0", "line 1\nline 2", "test_tcp/"
)  # fmt: skip
NOT_HERE = Scenario(
    "lifecycle", "test_idle.py::test_idle", "Idle.", Outcome.NOT_HERE, reason="needs read the audit log: not on kind"
)
SKIPPED = Scenario("lifecycle", "test_idle.py::test_later", "Later.", Outcome.SKIPPED, reason="some other day")
NOT_RUN = Scenario("lifecycle", "test_idle.py::test_never", "Never.", Outcome.NOT_RUN, reason="the run ended before it")
REPORT = Report(
    provider="kind",
    lab="e2e",
    command="pytest -q e2e/tests --provider kind",
    began=datetime(2026, 11, 24, 2, 30, 5, tzinfo=UTC),
    seconds=3725,
    lab_seconds=61.4,
    facts=(("Docker", "27.1"),),
    clusters=(Cluster("management", "v1.36.3", 2, "kindest/node:v1.36.3, Debian", 1610612736), Cluster("tenant-1")),
    scenarios=(PASSED, FAILED, NOT_HERE, SKIPPED, NOT_RUN),
    others={Outcome.PASSED: 120, Outcome.SKIPPED: 1},
)


def test_facts_of_the_run():
    text = Reader(page.render(REPORT)).text
    for fact in (
        "KubeLB end to end on kind",
        "Began 2026-11-24 02:30:05 UTC",
        "Took 1 h 02 min, 1 min 01 s of it for the lab",
        "Command pytest -q e2e/tests --provider kind",
        "Docker 27.1",
        "1 passed 1 failed 1 not for this provider 1 skipped 1 not run",
        "13 245 requests 3 failed requests",
        "not listed: 120 passed, 1 skipped.",
    ):
        assert fact in text


def test_clusters_and_what_is_not_known_of_them():
    reader = Reader(page.render(REPORT))
    assert reader.row("management")[1] == ["management", "v1.36.3", "2", "kindest/node:v1.36.3, Debian", "1.5 GiB"]
    assert reader.row("tenant-1")[1] == ["tenant-1", DASH, DASH, DASH, DASH]


def test_scenarios():
    reader = Reader(page.render(REPORT))
    assert reader.row("test_basic") == (
        "passed",
        ["✓ passed", "Basic.test_ingress.py::test_basic", "4.2 s", "12 345", "0", "7.3"],
    )
    kind, cells = reader.row("test_tcp")
    assert (kind, cells[0], cells[2:]) == ("failed", "✗ failed", ["1 min 15 s", "900", "3", "1 210"])
    assert "assert 3 == 0" in cells[1]
    assert reader.row("line 1") == ("at-length", ["The failure at lengthline 1 line 2"])
    assert reader.attributes("a", "href") == ["#layer4/test_tcp.py%3A%3Atest_tcp", "test_tcp/"]
    assert "layer4/test_tcp.py::test_tcp" in reader.attributes("tr", "id")
    assert ("details", {}) in reader.elements, "folded"


def test_a_lacking_capability_looks_different_from_a_skip():
    reader = Reader(page.render(REPORT))
    lacking, skipped = reader.row("Idle."), reader.row("Later.")
    assert lacking[0] == "not-here"
    assert lacking[1][0] == "\N{EMPTY SET} not for this provider"
    assert lacking[1][1].endswith("needs read the audit log: not on kind")
    assert lacking[1][2:] == [DASH] * 4
    assert skipped[0] == "skipped"
    assert skipped[1][0] == "→ skipped"


def test_folders_by_name_and_scenarios_as_they_ran():
    report = dataclasses.replace(REPORT, scenarios=tuple(reversed(REPORT.scenarios)))
    assert [(folder.name, len(folder.scenarios)) for folder in report.folders] == [
        ("layer4", 1),
        ("layer7", 1),
        ("lifecycle", 3),
    ]
    assert report.folders[2].scenarios == (NOT_RUN, SKIPPED, NOT_HERE)
    assert page.render(report) == page.render(report)


def test_one_file_without_scripts():
    reader = Reader(page.render(REPORT))
    assert {"script", "link", "img", "iframe"} & {tag for tag, _ in reader.elements} == set()
    assert "url(" not in page.render(REPORT)
    assert [word for words in reader.attributes("meta", "content") if "default-src 'none'" in (word := words or "")]


def test_hostile_text_is_text():
    scenario = dataclasses.replace(FAILED, folder=HOSTILE, name=HOSTILE, title=HOSTILE, reason=HOSTILE, details=HOSTILE)
    report = dataclasses.replace(
        REPORT,
        provider=HOSTILE,
        lab=HOSTILE,
        command=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        clusters=(Cluster(HOSTILE, HOSTILE, 1, HOSTILE),),
        scenarios=(scenario,),
        troubles=(HOSTILE,),
    )
    reader = Reader(page.render(report))
    assert "script" not in {tag for tag, _ in reader.elements}
    handlers = [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert handlers == []
    shown = " ".join(HOSTILE.split())
    # title, provider, lab, command, fact twice, cluster thrice, trouble, list of failures twice, heading, row four times
    assert reader.text.count(shown) == 17


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"scenarios": (PASSED, NOT_HERE, SKIPPED)}, Outcome.PASSED, "passed"),
        ({"scenarios": (PASSED, FAILED)}, Outcome.FAILED, "failed"),
        ({"scenarios": (PASSED,), "others": {Outcome.FAILED: 1}}, Outcome.FAILED, "failed"),
        ({"scenarios": (PASSED, NOT_RUN)}, Outcome.NOT_RUN, "incomplete"),
        ({"scenarios": (PASSED,), "troubles": ("Ctrl-C",)}, Outcome.NOT_RUN, "incomplete"),
        ({"scenarios": (NOT_HERE, SKIPPED)}, Outcome.NOT_RUN, "incomplete"),
    ],
)
def test_verdict(changes, verdict, word):
    report = dataclasses.replace(REPORT, **changes)
    assert report.verdict is verdict
    assert f"<title>KubeLB on kind: {word}</title>" in page.render(report)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH),
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (61.4, "1 min 01 s"),
    ],
)
def test_durations(seconds, text):
    assert page.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(None, DASH), (512 * 2**20, "512 MiB"), (3 * 2**30, "3.0 GiB")])
def test_sizes(count, text):
    assert page.size(count) == text
