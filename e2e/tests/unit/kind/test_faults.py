"""What kind prints becomes a line that names cause and cure."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from standins import says
from standins.says import Occasion

from kubelb_e2e.clusters.kind import faults

SHOP = Occasion("kubelb-shop-management", "kindest/node:v1.36.4", port=16443)
KNOWN: dict[Callable[[Occasion], str], tuple[str, ...]] = {
    says.port_of_docker: ("port 16443 of this host is taken", "--api-port"),
    says.port_of_process: ("port 16443 of this host is taken", "--api-port"),
    says.port_of_process_now: ("port 16443 of this host is taken", "--api-port"),
    says.no_image: ("node image kindest/node:v1.36.4 is not here", "docker pull kindest/node:v1.36.4", "--kind-image"),
    says.no_docker: ("Docker stopped answering", "kubelb-e2e down"),
    says.no_docker_now: ("Docker stopped answering", "kubelb-e2e down"),
    says.docker_ended: ("Docker stopped answering", "kubelb-e2e down"),
    says.no_boot: ("a node did not boot", "kindest/node:v1.36.4", "sysctl -w fs.inotify.max_user_instances"),
    says.kubeadm: ("control plane did not come up", "exported logs", "sysctl -w fs.inotify.max_user_instances"),
    says.killed: ("killed for lack of memory", "--tenants, --nodes"),
    says.starved: ("no more inotify instances", "sysctl -w fs.inotify.max_user_instances", "make sysctls"),
    says.exists: ('node(s) already exist for a cluster with the name "kubelb-shop-management"',),
}


def explain(output: str) -> str:
    return faults.explain(output, cluster=SHOP.cluster, image=SHOP.image)


def coloured(output: str) -> str:
    """Return what kind prints to a terminal."""
    told = output.replace("ERROR:", "\x1b[31mERROR\x1b[0m:").replace(
        "Command Output:", "\x1b[31mCommand Output\x1b[0m:"
    )
    return told.replace(" ✗ ", "\x1b[?7l\r ⠈⠁ Preparing nodes \x1b[?7h\r\x1b[K \x1b[31m✗\x1b[0m ")


@pytest.mark.parametrize("print_as", [str, coloured], ids=["plain", "terminal"])
@pytest.mark.parametrize("trouble", KNOWN, ids=lambda item: item.__name__)
def test_each_known_trouble_has_cause_and_cure(
    trouble: Callable[[Occasion], str], print_as: Callable[[str], str]
) -> None:
    found = explain(print_as(trouble(SHOP)))
    assert found.startswith("kubelb-shop-management: ")
    assert "\n" not in found
    assert "\x1b" not in found
    for part in KNOWN[trouble]:
        assert part in found


def test_no_trouble_of_the_stand_in_is_left_out() -> None:
    told = {
        function
        for name, function in inspect.getmembers(says, inspect.isfunction)
        if not name.startswith("_") and name != "creating" and function.__module__ == says.__name__
    }
    assert told == set(KNOWN)


def test_the_port_is_not_that_of_another_line() -> None:
    output = f"listening on 127.0.0.1:8080\n{says.port_of_docker(SHOP)}"
    assert "port 16443 " in explain(output)


def test_a_taken_port_without_a_number_is_still_told() -> None:
    assert "its port of this host is taken" in explain("ERROR: port is already allocated")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "Creating cluster ...\nERROR: failed to create cluster: the moon is full\n",
            "failed to create cluster: the moon is full",
        ),
        ("\x1b[31mERROR\x1b[0m: no luck\n\n\x1b[31mCommand Output\x1b[0m: more\nthan one line\n", "no luck"),
        ("panic: runtime error\n", "panic: runtime error"),
        ("\n \n", "it printed nothing"),
        ("", "it printed nothing"),
    ],
)
def test_what_is_unknown_is_told_by_kinds_own_error(output: str, told: str) -> None:
    assert explain(output) == f"kubelb-shop-management: kind could not create it: {told}"


@pytest.mark.parametrize(
    ("text", "starved"),
    [
        (says.STARVED_JOURNAL, True),
        ("kubelet: inotify_init: too many open files", True),
        ("raise fs.inotify.max_user_instances", True),
        ("kubelet: node is Ready", False),
        ("", False),
    ],
)
def test_a_journal_shows_whether_inotify_instances_ran_out(text: str, starved: bool) -> None:
    assert faults.starved_of_inotify(text) is starved
