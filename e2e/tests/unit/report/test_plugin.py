"""The plugin in runs of its own: what it collects, when there is a page, and what the page says."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pathlib
import pytest
from kubelb_e2e import report
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.traffic import Tally

pytest_plugins = ["kubelb_e2e.report.plugin"]
HERE = pathlib.Path(__file__).parent

def pytest_configure(config):
    run = report.run(config)
    assert run is config.stash[report.RUN]
    run.provider, run.lab, run.root = "kind", "e2e", HERE
    run.capabilities = frozenset(Capability) - {Capability.AUDIT, Capability.LIMITS}

@pytest.fixture(scope="session")
def lab(request):
    run = report.run(request.config)
    run.clusters.append(report.Cluster("management", "v1.36.3", 2))
    run.facts["Docker"] = "27.1"
    print("lab started")
    yield "lab"

@pytest.fixture
def env(request, lab):
    yield report.of(request.node)
"""
SCENARIOS = """
import pytest
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.traffic import Tally

def test_passes(env):
    '''It works.

    More about it.
    '''
    env.count(Tally(requests=100, slowest_ms=5.5))
    env.count(Tally(requests=20, failures=2, slowest_ms=3.0))

def test_fails(env):
    '''It <b>breaks</b>.'''
    env.count(Tally(requests=7, failures=7))
    env.dump = __import__("pathlib").Path("artifacts/test fails")
    assert env.failures == 0, "7 requests, 7 failed \\x1b[31mred\\x1b[0m"

@pytest.mark.needs(Capability.AUDIT)
def test_audit(env):
    '''The log is read.'''

@pytest.mark.needs(Capability.LIMITS, Capability.AUDIT, Capability.ENTER)
def test_both(env):
    pass

@pytest.mark.needs(Capability.ENTER)
def test_possible(env):
    pass

@pytest.mark.skip(reason="some other day")
def test_later(env):
    pass

@pytest.mark.xfail(reason="known")
def test_known(env):
    assert False
"""


class Page:
    """Rows of the page by the test's name, its tags removed."""

    def __init__(self, path: Path) -> None:
        self.source = path.read_text()
        body = self.source.partition("<body>")[2]
        self.text = self._plain(body)
        self.rows = {
            re.search(r"::([^<]+)</code>", row)[1]: (kind, self._plain(row))
            for kind, row in re.findall(r'<tr class="([\w-]+)" id=[^>]*>(.*?)</tr>', body, re.DOTALL)
        }

    @staticmethod
    def _plain(text: str) -> str:
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


@pytest.fixture
def tree(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A conftest, a folder of scenarios, and unit tests."""
    monkeypatch.delenv("KUBELB_ARTIFACTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\naddopts = --strict-markers --import-mode=importlib\n")
    _write(pytester, "layer7/test_web.py", SCENARIOS)
    _write(pytester, "unit/local/test_model.py", "def test_a(): pass\ndef test_b(): pass\n")
    return pytester


def _write(pytester: pytest.Pytester, name: str, text: str) -> None:
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def _page(pytester: pytest.Pytester) -> Page:
    return Page(pytester.path / "artifacts/report.html")


def test_a_run(tree):
    result = _run(tree, "-rs")
    result.assert_outcomes(passed=4, failed=1, skipped=3, xfailed=1)
    assert result.outlines[-1] == "report: artifacts/report.html"
    result.stdout.fnmatch_lines(["SKIPPED * layer7/test_web.py:*: needs read the audit log: not on kind"])
    page = _page(tree)
    assert "KubeLB end to end on kind ✗ failed Lab e2e" in page.text
    assert "Docker 27.1" in page.text
    assert "2 passed 1 failed 2 not for this provider 2 skipped 127 requests 9 failed requests" in page.text
    assert "own tests, not listed: 2 passed." in page.text
    assert "management v1.36.3 2" in page.text
    assert list(page.rows) == [
        f"test_{name}" for name in ("passes", "fails", "audit", "both", "possible", "later", "known")
    ]
    kind, text = page.rows["test_passes"]
    assert kind == "passed"
    assert text.startswith("✓ passed It works. test_web.py::test_passes ")
    assert text.endswith(" s 120 2 5.5")


def test_a_failure_has_its_text_and_its_dump(tree):
    _run(tree)
    page = _page(tree)
    kind, text = page.rows["test_fails"]
    assert kind == "failed"
    assert "It <b>breaks</b>." in text
    assert "&lt;b&gt;breaks" in page.source
    assert "test_web.py::test_fails 7 requests, 7 failed red Dump of the lab" in text
    assert "The failure at length env = Record(" in page.text
    assert "assert env.failures == 0" in page.text
    assert 'href="test%20fails/"' in page.source
    assert "\x1b" not in page.source


def test_a_lacking_capability_is_told_and_starts_no_lab(tree):
    result = _run(tree, "-s", "-k", "audit or both")
    result.assert_outcomes(skipped=2, deselected=7)
    assert "lab started" not in result.stdout.str()
    page = _page(tree)
    assert page.rows["test_audit"][0] == page.rows["test_both"][0] == "not-here"
    assert "needs read the audit log: not on kind" in page.rows["test_audit"][1]
    assert "needs read the audit log, enforce limits of pods: not on kind" in page.rows["test_both"][1]


def test_a_lacking_capability_is_told_before_any_other_reason(tree):
    marks = "@pytest.mark.skip(reason='some other day')\n@pytest.mark.needs(Capability.AUDIT)"
    _write(tree, "layer7/test_web.py", SCENARIOS.replace("@pytest.mark.needs(Capability.AUDIT)", marks))
    _run(tree, "-k", "audit")
    kind, text = _page(tree).rows["test_audit"]
    assert kind == "not-here"
    assert "needs read the audit log: not on kind" in text


def test_skips_and_expected_failures_keep_their_reason(tree):
    _run(tree)
    page = _page(tree)
    assert page.rows["test_later"][0] == page.rows["test_known"][0] == "skipped"
    assert "some other day" in page.rows["test_later"][1]
    assert "expected to fail: known" in page.rows["test_known"][1]


def test_capabilities_that_were_not_told_leave_nothing_out(tree):
    tree.makeconftest(CONFTEST.replace("    run.capabilities =", "    ignored ="))
    _run(tree, "-k", "audit").assert_outcomes(passed=1, deselected=8)


@pytest.mark.parametrize("marker", ['needs("read the audit log")', "needs()", "needs", "needs(capability=Capability.AUDIT)"])  # fmt: skip
def test_a_wrong_marker_is_an_error(tree, marker):
    _write(
        tree,
        "layer7/test_wrong.py",
        f"import pytest\nfrom kubelb_e2e.clusters.base import Capability\n@pytest.mark.{marker}\ndef test_it(): pass\n",
    )
    result = _run(tree)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: layer7/test_wrong.py::test_it: the marker `needs` takes members of *"])


@pytest.mark.parametrize("arguments", [["unit"], ["--collect-only"], ["-k", "no_such"]])
def test_runs_without_scenarios_have_no_page_and_leave_an_old_one(tree, arguments):
    _write(tree, "artifacts/report.html", "old")
    result = _run(tree, *arguments)
    assert "report:" not in result.stdout.str()
    assert (tree.path / "artifacts/report.html").read_text() == "old"


def test_no_page_under_xdist(tree):
    result = _run(tree, "-p", "xdist.plugin", "-n", "1", "unit", "layer7")
    result.assert_outcomes(passed=4, failed=1, skipped=3, xfailed=1)
    assert not (tree.path / "artifacts").exists()


@pytest.mark.parametrize(
    ("raising", "told"),
    [
        ('raise LabError("tenant-1: <no> memory")', "The lab did not start: tenant-1: <no> memory"),
        ('pytest.exit("Docker does not answer", 2)', "The lab did not start: Docker does not answer"),
        ("raise KeyboardInterrupt", "The run was interrupted (Ctrl-C)."),
    ],
)
def test_a_lab_that_does_not_start(tree, raising, told):
    broken = CONFTEST.replace('print("lab started")', raising)
    tree.makeconftest(broken + "\nfrom kubelb_e2e.errors import LabError\n")
    # The inner pytest lets Ctrl-C out of itself after its session has ended in good order.
    result = tree.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["report: artifacts/report.html"])
    page = _page(tree)
    assert page.text.count(told.partition(": ")[2] or told) == 1, "said once"
    assert "incomplete Lab e2e" in page.text
    assert {kind for kind, _ in page.rows.values()} <= {"not-run", "not-here", "skipped"}
    assert page.rows["test_passes"][0] == "not-run"


def test_an_interrupted_run(tree):
    tree.makeconftest(CONFTEST + "    report.of(request.node).dump = HERE / 'artifacts/late'\n")
    _write(tree, "layer7/test_web.py", SCENARIOS.replace("env.dump =", "raise KeyboardInterrupt #"))
    result = tree.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    page = _page(tree)
    assert "The run was interrupted (Ctrl-C)." in page.text
    assert page.rows["test_passes"][0] == "passed"
    assert page.rows["test_fails"][0] == "not-run"
    assert "interrupted while it ran" in page.rows["test_fails"][1]
    assert "127 requests" in page.text, "what was counted until then"
    assert "Dump of the lab" in page.rows["test_fails"][1], "its fixtures end after the interruption, before the page"
    assert "the run ended before it" in page.rows["test_possible"][1]
    assert "own tests, not listed: 2 not run." in page.text


def test_a_run_that_is_killed_leaves_no_page_of_another_run(tree):
    _write(tree, "artifacts/report.html", "old")
    _write(tree, "layer7/test_web.py", SCENARIOS.replace("env.dump =", "__import__('os')._exit(3) #"))
    assert tree.runpytest_subprocess("-p", "no:cacheprovider").ret == 3
    assert not (tree.path / "artifacts/report.html").exists()


def test_a_run_that_stops_at_its_first_failure(tree):
    _run(tree, "-x")
    page = _page(tree)
    assert "The run was ended: stopping after 1 failures" in page.text
    assert page.rows["test_fails"][0] == "failed"
    assert page.rows["test_later"][0] == "not-run"


def test_a_module_that_cannot_be_collected(tree):
    _write(tree, "layer4/test_broken.py", "import no_such_module\n")
    result = _run(tree)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    page = _page(tree)
    assert "layer4/test_broken.py could not be collected: E ModuleNotFoundError" in page.text
    assert {kind for kind, _ in page.rows.values()} == {"not-run"}


def test_failures_before_and_after_the_body(tree):
    _write(
        tree,
        "tenancy/test_around.py",
        """
import pytest
@pytest.fixture
def before(): raise OSError("no file")
@pytest.fixture
def after():
    yield
    assert not "left", "namespace x does not go"
def test_before(before): pass
def test_after(after): pass
@pytest.mark.parametrize("way", ["a b", "<c>"])
def test_long(way): raise AssertionError("x" * 50000)
""",
    )
    _run(tree)
    page = _page(tree)
    assert "in setup: OSError: no file" in page.rows["test_before"][1]
    assert "in teardown: namespace x does not go" in page.rows["test_after"][1]
    assert page.rows["test_after"][0] == "failed"
    assert "characters left out" in page.source
    assert len(page.source) < 150_000
    assert 'id="tenancy/test_around.py::test_long[a-b]"' in page.source


@pytest.mark.parametrize("blocked", ["artifacts", "artifacts/report.html/x"])
def test_a_page_that_cannot_be_written_is_told(tree, blocked):
    _write(tree, blocked, "in the way")
    result = _run(tree, "-k", "passes")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["report: cannot * artifacts/report.html: *; KUBELB_ARTIFACTS chooses a folder"])


def test_the_page_goes_where_the_artifacts_go(tree, monkeypatch):
    monkeypatch.setenv("KUBELB_ARTIFACTS", "elsewhere/kind")
    _run(tree, "-k", "fails").stdout.fnmatch_lines(["report: elsewhere/kind/report.html"])
    link = Path(tree.path, "elsewhere/kind/report.html").read_text().partition('href="../')[2]
    assert link.startswith("../artifacts/test%20fails/")


def test_order_is_that_of_folders_and_runs(tree):
    _write(tree, "failure/test_restarts.py", "def test_z(): pass\ndef test_a(): pass\n")
    _write(tree, "test_top.py", "def test_top(): pass\n")
    _run(tree, "layer7", "failure", "test_top.py")
    page = _page(tree)
    assert list(page.rows)[:2] == ["test_z", "test_a"]
    assert re.findall(r"<h3>(\S+) ", page.source)[:2] == ["failure", "layer7"]
    assert list(page.rows)[-1] == "test_top"
