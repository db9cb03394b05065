"""The `kind` provider: up, find, down.

`up` leaves a complete lab or nothing: what it created is removed when a step fails, after the nodes' logs
were exported. What an interrupted run left is known by the lab's network (see `docker_net`) and removed
first, or kept where it works if so wished. Nothing is created before this machine was found good enough.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kubelb_e2e import config, docker
from kubelb_e2e.clusters import programs, state
from kubelb_e2e.clusters.base import Say, Wish, project
from kubelb_e2e.clusters.kind import balancer, carry, docker_net, preflight
from kubelb_e2e.clusters.kind.cluster import Cluster
from kubelb_e2e.clusters.kind.lab import CAPABILITIES, NAME, KindLab, complete
from kubelb_e2e.clusters.kind.plan import LabPlan, plan
from kubelb_e2e.errors import LabError, Unavailable

_READY = "ready"
_TENANTS = 1
_NODES = 1


class KindProvider:
    """Labs of kind clusters."""

    name = NAME
    capabilities = CAPABILITIES
    keeps_clusters = False

    def up(self, name: str, wish: Wish, *, say: Say) -> KindLab:
        """Start the lab `name`, or complete the one that runs; see Provider."""
        directory = state.lab_directory(name)
        tell = _Tell(say)
        version = docker.check()
        with state.locked(name):
            settings = config.kind()
            balancer.check(settings)
            running = _running(directory)
            if running is not None and not wish.fresh:
                if different := _differs(wish, running, settings):
                    raise LabError(
                        f"lab {name!r} runs already and {different}; replace it: --fresh, or end it: "
                        f"kubelb-e2e down --name {name}"
                    )
                return _complete(running, settings, tell)
            docker_net.check_owner(name)
            wanted = _plan(name, directory, wish, settings)
            _check_names(wanted)
            kept = _clear(wanted, wish, tell)
            machine = preflight.Machine.read()
            _check_machine(wanted, settings, kept, machine, tell)
            tell(f"Docker {version}, {len(wanted.clusters)} clusters of {wanted.node_image}")
            return _build(wanted, settings, kept, machine, tell)

    def find(self, name: str) -> KindLab:
        """Return the running lab `name`; see Provider."""
        directory = state.lab_directory(name)
        docker.check()
        found = LabPlan.load(directory) if state.provider_of(directory) == NAME else None
        if found is None:
            raise LabError(
                f"lab {name!r} does not run with kind; start it: kubelb-e2e up --provider kind --name {name}"
            )
        return KindLab(found)

    def down(self, name: str, *, say: Say) -> bool:
        """End the lab `name` and everything that is the lab's own, whatever state it is in; see Provider."""
        directory = state.lab_directory(name)
        docker.check()
        with state.locked(name):
            docker_net.check_owner(name)
            return _remove(name, directory, _Tell(say))


class _Tell:
    """Says things with the time since its beginning."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        self._say(text, time.monotonic() - self._began)


def _running(directory: Path) -> LabPlan | None:
    """Return the plan of a lab that was completed and of which everything is there."""
    found = LabPlan.load(directory)
    if found is None or not (directory / _READY).exists() or complete(found):
        return None
    return found


def _differs(wish: Wish, lab: LabPlan, settings: config.Kind) -> str:
    image = wish.node_image or (settings.image(wish.kubernetes) if wish.kubernetes else None)
    pairs = {
        "--tenants": (wish.tenants, len(lab.clusters) - 1),
        "--nodes": (wish.nodes, lab.clusters[0].nodes),
        "--kind-image": (image, lab.node_image),
        "--api-port": (wish.api_port, lab.clusters[0].api_port),
    }
    return ", ".join(f"{flag} is {now}" for flag, (asked, now) in pairs.items() if asked not in (None, now))


def _plan(name: str, directory: Path, wish: Wish, settings: config.Kind) -> LabPlan:
    tools = (project() or Path()) / ".tools"
    kind = programs.find(
        "kind", wish.kind, settings.kind, tools / "kind" / "kind", cure="build it (make kind), or name one: --kind-bin"
    )
    return plan(
        name,
        directory,
        tenants=_TENANTS if wish.tenants is None else wish.tenants,
        nodes=wish.nodes or _NODES,
        node_image=wish.node_image or settings.image(wish.kubernetes),
        kind=kind,
        kubectl=programs.kubectl(wish.kubectl, settings.kubectl),
        api_port=wish.api_port,
        without=wish.without or (),
    )


def _check_names(wanted: LabPlan) -> None:
    taken = docker_net.foreign(wanted.name, [cluster.kind_name for cluster in wanted.clusters])
    if taken:
        raise LabError(
            f"kind cluster {', '.join(taken)} exists and is not of this lab; delete it "
            f"(kind delete cluster --name {taken[0]}), or choose another lab name: --name"
        )


def _check_machine(
    wanted: LabPlan, settings: config.Kind, kept: set[str], machine: preflight.Machine, tell: _Tell
) -> None:
    """Raise Unavailable, before anything is created, if the clusters that are to be made cannot be."""
    fresh = [cluster for cluster in wanted.clusters if cluster.kind_name not in kept]
    if fresh:
        preflight.check_room(fresh, settings, machine)
        preflight.check_ports(cluster.api_port for cluster in fresh if cluster.api_port is not None)
    preflight.node_image(wanted.node_image, tell)
    carry.check()


def _clear(wanted: LabPlan, wish: Wish, tell: _Tell) -> set[str]:
    """Remove what is there of this lab, or keep its clusters that work; return the names of those."""
    is_network = docker_net.exists(wanted.name)
    if not is_network and not wanted.directory.exists():
        return set()
    own = docker_net.clusters(wanted.name) if is_network else {}
    before = LabPlan.load(wanted.directory)
    if not wish.reuse or before is None or before.clusters != wanted.clusters or before.node_image != wanted.node_image:
        tell(f"removing what is left of lab {wanted.name}: {', '.join(own) or 'its network and folder'}")
        _remove(wanted.name, wanted.directory, tell)
        return set()
    # kind writes the kubeconfig last: without it, nodes may run in which nothing is.
    whole = {
        cluster.kind_name: set(cluster.node_names)
        for cluster in wanted.clusters
        if wanted.kubeconfig(cluster.name).is_file()
    }
    kept = {name for name, nodes in own.items() if set(nodes) == whole.get(name) and _all_run(nodes)}
    for cluster in wanted.clusters:
        if cluster.kind_name in own and cluster.kind_name not in kept:
            tell(f"{cluster.name}: not whole, removing it")
            Cluster(wanted, cluster).delete()
    return kept


def _all_run(nodes: list[str]) -> bool:
    return all(item["State"]["Running"] for item in docker.inspect("container", *nodes))


def _build(wanted: LabPlan, settings: config.Kind, kept: set[str], machine: preflight.Machine, tell: _Tell) -> KindLab:
    with _removed_on_failure(wanted, tell):
        if not wanted.directory.exists():
            state.create(wanted.directory, NAME)
        wanted.dump()
        docker_net.ensure(wanted.name)
        balancer.check_network(wanted, settings)
        width = preflight.side_by_side(wanted, settings, machine)

        def make(number: int) -> None:
            spec = wanted.clusters[number]
            cluster = Cluster(wanted, spec)
            if spec.kind_name in kept:
                cluster.wait_usable()
                tell(f"{spec.name}: still there, {spec.nodes} nodes ready")
            else:
                cluster.create()
                tell(f"{spec.name}: created, {spec.nodes} nodes ready")

        _side_by_side(make, len(wanted.clusters), width)
        lab = _complete(wanted, settings, tell)
        (wanted.directory / _READY).touch()
    return lab


def _complete(lab: LabPlan, settings: config.Kind, tell: _Tell) -> KindLab:
    """Bring images, and have running what gives addresses."""
    names = carry.check()

    def load(number: int) -> None:
        spec = lab.clusters[number]
        cluster = Cluster(lab, spec)
        for image in carry.wanted(spec.name, names):
            cluster.load(image)
        tell(f"{spec.name}: images loaded")

    _side_by_side(load, len(lab.clusters), 2)
    balancer.start(lab, settings)
    return KindLab(lab)


def _side_by_side(work: Callable[[int], None], count: int, width: int) -> None:
    """Call `work` with 0..count-1, `width` at a time; the first failure is raised when all under way have ended."""
    with ThreadPoolExecutor(max_workers=width) as pool:
        running = [pool.submit(work, number) for number in range(count)]
        try:
            for future in running:
                future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise


@contextlib.contextmanager
def _removed_on_failure(wanted: LabPlan, tell: _Tell) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        left = ""
        try:
            folder = None
            with contextlib.suppress(LabError, OSError):
                folder = _export(wanted)
            left = f"; logs of the nodes: {folder}" if folder else ""
            _remove(wanted.name, wanted.directory, tell)
        except (LabError, OSError) as trouble:
            if isinstance(error, LabError) and not _docker_answers():
                # Whatever a step took for the reason, this was it.
                raise LabError(
                    f"Docker stopped answering while lab {wanted.name} was made, so what was created is still there; "
                    f"start Docker again, then: kubelb-e2e down --name {wanted.name}"
                ) from error
            left += f" (what was created could not be removed: {trouble}; kubelb-e2e down --name {wanted.name})"
        if isinstance(error, LabError):
            raise type(error)(f"{error}{left}") from error
        if isinstance(error, OSError):
            raise LabError(f"lab {wanted.name} could not be made: {error}{left}") from error
        raise


def _docker_answers() -> bool:
    try:
        docker.check()
    except Unavailable:
        return False
    return True


def _export(wanted: LabPlan) -> Path | None:
    """Write the logs of all nodes there are beside the artifacts; return the folder, None if there are none."""
    folder = Path(os.environ.get("KUBELB_ARTIFACTS", "artifacts")) / f"kind-{wanted.name}"
    own = docker_net.clusters(wanted.name) if docker_net.exists(wanted.name) else {}
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier failure
    for cluster in wanted.clusters:
        if cluster.kind_name in own:
            with contextlib.suppress(LabError, OSError):
                Cluster(wanted, cluster).export_logs(folder / cluster.name)
    return folder if folder.exists() else None


def _remove(name: str, directory: Path, tell: _Tell) -> bool:
    """Remove process, clusters, network and folder of a lab; return whether there was anything."""
    balancer.stop(directory)
    there = directory.exists()
    if docker_net.exists(name):
        there = True
        for cluster, nodes in docker_net.clusters(name).items():
            # By its nodes, so that it works with whatever kind, or with none.
            docker.docker("rm", "--force", "--volumes", *nodes, timeout=120.0)
            tell(f"{cluster}: removed")
        docker_net.remove(name)
    if directory.exists():
        state.remove(directory)
    return there
