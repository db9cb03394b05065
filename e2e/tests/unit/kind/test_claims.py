"""Whose a run's lab is: its own, another run's, a killed run's, or that of somebody who works with it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from standins import programs
from standins.stage import until

from kubelb_common.kube.resources import DEPLOYMENTS
from kubelb_e2e import product
from kubelb_e2e.claims import RunsLab
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.state import ProcessId
from kubelb_e2e.errors import LabError

MANAGEMENT = "kubelb-shop-management"


class Runs:
    """Makes runs of tests on the lab `shop`."""

    def __init__(self, machine, dumps: Path) -> None:
        self.machine, self.dumps = machine, dumps

    def __call__(self, *, keep: bool = False, provider: str = "kind", **wishes: object) -> RunsLab:
        wish = self.machine.wish(**{"tenants": 0, "kubectl": self.machine.stage.bin / "quick-kubectl", **wishes})
        return RunsLab("shop", provider, wish, keep=keep, dumps=self.dumps, say=self.machine._say)


@pytest.fixture
def runs(machine, tmp_path: Path) -> Runs:
    return Runs(machine, tmp_path / "dumps")


@pytest.fixture
def stranger() -> Iterator[ProcessId]:
    """A process that is not ours."""
    with subprocess.Popen(["tail", "-f", "/dev/null"]) as process:
        found = ProcessId.of(process.pid)
        assert found is not None
        yield found
        process.kill()


def claim(machine, holder: ProcessId) -> None:
    machine.directory.parent.mkdir(parents=True, exist_ok=True)
    holder.write(state._claim(machine.directory))


def left(machine) -> None:
    """Have what a killed run leaves: a lab, and a claim whose holder is gone."""
    machine.up(tenants=0)
    claim(machine, ProcessId(2**22 + 1, 1))
    machine.engine.calls.clear()


def test_a_run_makes_its_lab_and_ends_it(machine, runs: Runs) -> None:
    run = runs()
    lab = run.start()
    assert lab.name == "shop"
    holder = state.claimed_by(machine.directory)
    assert holder is not None
    assert holder.alive
    names = [
        item["metadata"]["name"] for item in machine.stage.do(machine.api(MANAGEMENT).kube.list(DEPLOYMENTS)).items
    ]
    assert names == ["kubelb-manager"], "the product is in it"
    run.end()
    assert state.claimed_by(machine.directory) is None
    assert machine.is_clean()


def test_a_lab_that_is_to_be_kept_stays_and_belongs_to_nobody(machine, runs: Runs) -> None:
    run = runs(keep=True)
    run.start()
    run.end()
    assert state.labs() == {"shop": "kind"}
    assert state.claimed_by(machine.directory) is None


def test_a_lab_that_somebody_started_is_used_and_stays(machine, runs: Runs) -> None:
    machine.up(tenants=0)
    machine.engine.calls.clear()
    run = runs()
    assert run.start().cluster_names == ("management",)
    assert state.claimed_by(machine.directory) is None
    run.end()
    assert machine.engine.made("kind", "create") == []
    assert state.labs() == {"shop": "kind"}
    assert machine.process() is not None


def test_a_lab_that_another_run_uses_is_refused(machine, runs: Runs, stranger: ProcessId) -> None:
    machine.up(tenants=0)
    claim(machine, stranger)
    run = runs()
    with pytest.raises(LabError) as caught:
        run.start()
    assert str(caught.value) == f"lab 'shop' is used by another run (process {stranger.pid}); choose another: --lab"
    run.end()
    assert state.labs() == {"shop": "kind"}
    assert state.claimed_by(machine.directory) == stranger


def test_a_lab_that_another_run_is_making_is_refused(machine, runs: Runs, stranger: ProcessId) -> None:
    """Its folder is not there yet, but its claim is."""
    claim(machine, stranger)
    with pytest.raises(LabError, match="is used by another run"):
        runs(reuse=True).start()
    assert machine.engine.calls == []


def test_what_a_killed_run_left_is_removed_first(machine, runs: Runs) -> None:
    left(machine)
    run = runs()
    run.start()
    assert "removing lab shop, which a run that was killed has left" in machine.said
    assert len(machine.engine.made("kind", "create")) == 1
    run.end()
    assert machine.is_clean()


def test_what_a_killed_run_left_is_used_if_so_wished_and_ended(machine, runs: Runs) -> None:
    left(machine)
    run = runs(reuse=True)
    run.start()
    assert machine.engine.made("kind", "create") == []
    run.end()
    assert machine.is_clean()


def test_what_a_killed_run_left_of_another_provider_is_removed(machine, runs: Runs) -> None:
    state.create(machine.directory, "local")
    claim(machine, ProcessId(2**22 + 1, 1))
    run = runs()
    assert run.start().provider == "kind"
    run.end()
    assert machine.is_clean()


def test_a_lab_of_another_provider_that_somebody_works_with_is_refused(machine, runs: Runs) -> None:
    state.create(machine.directory, "local")
    run = runs()
    with pytest.raises(LabError, match="lab 'shop' is one of provider 'local'"):
        run.start()
    run.end()
    assert state.labs() == {"shop": "local"}


def test_two_runs_at_the_same_time_do_not_share_a_lab(machine, runs: Runs, stranger: ProcessId) -> None:
    """The other one claims while this one, which saw no claim, waits for its turn."""

    def start() -> None:
        with pytest.raises(LabError, match="is used by another run"):
            runs().start()

    with contextlib.ExitStack() as stack:
        lock = contextlib.ExitStack()
        lock.enter_context(state.locked("shop"))
        stack.enter_context(machine.meanwhile(start))
        stack.enter_context(lock)
        until(lambda: opened(state.state_root() / ".shop.lock") == 2, "it does not wait")
        claim(machine, stranger)
    assert machine.engine.calls == []


def opened(path: Path) -> int:
    """Return how often this process has a file open."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += link.readlink() == path
    return count


def test_a_start_that_fails_leaves_no_claim(machine, runs: Runs) -> None:
    machine.kind.troubles[MANAGEMENT] = lambda _: "ERROR: no luck"
    run = runs()
    with pytest.raises(LabError, match="no luck"):
        run.start()
    assert machine.is_clean()


def test_a_start_that_could_not_be_removed_is_known_to_the_next_run(machine, runs: Runs) -> None:
    machine.kind.troubles[MANAGEMENT] = lambda _: "ERROR: no luck"
    machine.engine.refused["rm",] = "Error response from daemon: busy"
    with pytest.raises(LabError, match="busy"):
        runs().start()
    holder = state.claimed_by(machine.directory)
    assert holder is not None


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A kubectl that does nothing."""
    return programs.script(tmp_path / "kubectl", "#!/bin/sh\necho no luck >&2; exit 1\n")


def test_a_lab_in_which_the_product_does_not_come_up_is_dumped_and_ended(machine, runs: Runs, broken: Path) -> None:
    with pytest.raises(LabError) as caught:
        runs(kubectl=broken).start()
    assert str(caught.value) == f"management: kubectl apply: no luck; dump: {runs.dumps / 'start'}"
    assert "lab shop: ready" in (runs.dumps / "start" / "status.txt").read_text()
    assert machine.is_clean()


def test_a_lab_that_is_to_be_kept_stays_even_then(machine, runs: Runs, broken: Path) -> None:
    with pytest.raises(LabError, match="no luck; dump: "):
        runs(kubectl=broken, keep=True).start()
    assert state.labs() == {"shop": "kind"}
    assert state.claimed_by(machine.directory) is None


def test_a_lab_of_somebody_stays_even_then(machine, runs: Runs, broken: Path) -> None:
    machine.up(tenants=0, kubectl=broken)
    with pytest.raises(LabError, match="no luck; dump: "):
        runs().start()
    assert state.labs() == {"shop": "kind"}


def test_ctrl_c_while_the_product_comes_up_ends_the_lab(machine, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(product, "deploy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs().start()
    assert machine.is_clean()
