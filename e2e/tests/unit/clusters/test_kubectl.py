"""kubectl is run in one way: with input, bounded in time, and one line when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from standins import programs

from kubelb_e2e.clusters import kubectl
from kubelb_e2e.errors import LabError

KUBECONFIG = Path("/shop.kubeconfig")


def test_it_gets_the_kubeconfig_the_words_and_the_input(tmp_path: Path) -> None:
    program = programs.script(tmp_path / "kubectl", "#!/bin/sh\necho \"$@\"; cat; printf '\\377'\n")
    said = kubectl.run(program, KUBECONFIG, "apply", "--filename=-", who="tenant-1", text="kind: Pod")
    assert said == "--kubeconfig=/shop.kubeconfig apply --filename=-\nkind: Pod\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("get", "pods", "--output=json"), "hub: kubectl get pods: no; really not"),
        (("apply", "--filename=-"), "hub: kubectl apply: no; really not"),
    ],
)
def test_a_failure_is_one_line_with_what_was_asked(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    program = programs.script(tmp_path / "kubectl", "#!/bin/sh\nprintf 'no\\nreally not\\n' >&2; exit 1\n")
    with pytest.raises(LabError) as caught:
        kubectl.run(program, KUBECONFIG, *words, who="hub")
    assert str(caught.value) == told


def test_one_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "_SECONDS", 0.05)
    program = programs.script(tmp_path / "kubectl", "#!/bin/sh\nexec tail -f /dev/null\n")
    with pytest.raises(LabError, match="hub: kubectl delete tenants: no end after 0 s"):
        kubectl.run(program, KUBECONFIG, "delete", "tenants", who="hub")


def test_one_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"hub: {tmp_path}/kubectl: No such file or directory"):
        kubectl.run(tmp_path / "kubectl", KUBECONFIG, "get", "pods", who="hub")
