from __future__ import annotations

import pytest

from kubelb_e2e.clusters.local.agent.rootfs import Mount, layered, system_mounts

USR = Mount("/usr", "/usr")
LINK = Mount("usr/lib", "/lib", kind="symlink")
SSL = Mount("/etc/ssl", "/etc/ssl")
VENV = Mount("/tmp/clone/.venv", "/tmp/clone/.venv")
SYSTEM = (USR, LINK, SSL, VENV)


def volume(target: str) -> Mount:
    return Mount(f"/volumes{target}", target, read_only=False)


def test_volumes_lie_over_the_system_outer_before_inner() -> None:
    inner, outer = volume("/data/inner"), volume("/data")
    assert layered(SYSTEM, [inner, outer]) == (*SYSTEM, outer, inner)


@pytest.mark.parametrize("place", ["/tmp", "/tmp/", "/tmp/clone"])
def test_a_volume_does_not_hide_a_clone_below_it(place: str) -> None:
    hiding = volume(place)
    assert layered(SYSTEM, [hiding]) == (*SYSTEM, hiding, VENV)


@pytest.mark.parametrize("place", ["/etc", "/usr/share/x", "/tmpfs", "/tmp/clone/.venv", "/tmp/clone/.venv/etc"])
def test_what_a_volume_hides_of_an_image_stays_hidden(place: str) -> None:
    hiding = volume(place)
    assert layered(SYSTEM, [hiding]) == (*SYSTEM, hiding)


def test_the_machines_own_folders_are_there_once() -> None:
    targets = [mount.target for mount in system_mounts([])]
    assert "/usr" in targets
    assert len(set(targets)) == len(targets)
