"""The `existing` provider: clusters that are there already, by their kubeconfigs.

    KUBELB_E2E_MANAGEMENT    kubeconfig of the management cluster
    KUBELB_E2E_TENANTS       those of the tenant clusters, separated by `:`
    KUBELB_E2E_IMAGES        what stands before the catalogue's image names, as in `registry.example.com/team/`

Each kubeconfig's current context counts. Because scenarios replace and remove what is there of KubeLB, a
cluster must be marked for it by a label on its namespace `kube-system`; without it nothing is touched.
Node and LoadBalancer addresses must answer on this host.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from kubelb_e2e.clusters import programs, state
from kubelb_e2e.clusters.base import MANAGEMENT, Capability, Facts, Say, Status, Wish, tenant_cluster
from kubelb_e2e.clusters.outside import OutsideLab
from kubelb_e2e.errors import LabError, Unavailable

NAME = "existing"
CAPABILITIES = frozenset({Capability.ENTER, Capability.LIMITS})
#: On `kube-system` of a cluster that may be used.
LABEL, ALLOWED = "e2e.kubelb.k8c.io/allowed", "true"
_MANAGEMENT, _TENANTS, _IMAGES = "KUBELB_E2E_MANAGEMENT", "KUBELB_E2E_TENANTS", "KUBELB_E2E_IMAGES"


class ExistingLab(OutsideLab):
    """Clusters that others made; see Lab."""

    provider = NAME
    capabilities = CAPABILITIES

    def __init__(
        self,
        name: str,
        directory: Path,
        kubeconfigs: Mapping[str, Path],
        kubectl: Path,
        *,
        images: str,
        without: tuple[str, ...],
    ) -> None:
        """See OutsideLab; `images` stands before image names."""
        super().__init__(name, directory, kubeconfigs, kubectl, without)
        self._images = images

    def image(self, name: str) -> str:
        """Return the name in the clusters' registry."""
        return self._images + name

    def status(self) -> Status:
        """Ask every API server for its nodes."""
        rows, healthy = [], True
        for cluster in self.cluster_names:
            try:
                addresses = ", ".join(self.node_addresses(cluster))
                rows.append((cluster, str(self.kubeconfig(cluster)), addresses, "answers"))
            except LabError as error:
                rows.append((cluster, str(self.kubeconfig(cluster)), "", str(error)))
                healthy = False
        return Status(
            headline=f"lab {self.name}: existing clusters, folder {self.directory}",
            columns=("cluster", "kubeconfig", "nodes", "state"),
            rows=tuple(rows),
            addresses=self.addresses() if healthy else {},
            healthy=healthy,
        )

    def facts(self) -> Facts:
        """Return where images come from."""
        return Facts((("Images", self._images or "as named"),))

    def check(self) -> None:
        """Raise LabError unless every cluster is marked for end-to-end runs, and each is there once."""
        seen: dict[str, str] = {}
        for cluster in self.cluster_names:
            metadata = json.loads(self.call(cluster, "get", "namespace", "kube-system", "--output=json"))["metadata"]
            if (metadata.get("labels") or {}).get(LABEL) != ALLOWED:
                raise LabError(
                    f"{cluster} ({self.kubeconfig(cluster)}) is not marked for end-to-end runs, which replace and "
                    f"remove what is there of KubeLB; if that may be: kubectl --kubeconfig {self.kubeconfig(cluster)} "
                    f"label namespace kube-system --overwrite {LABEL}={ALLOWED}"
                )
            other = seen.setdefault(metadata["uid"], cluster)
            if other != cluster:
                raise LabError(f"{other} and {cluster} are the same cluster; give each one of its own")

    def dump(self) -> None:
        """Write what is needed to find this lab again to `lab.json`."""
        found = {
            "kubeconfigs": {name: str(self.kubeconfig(name)) for name in self.cluster_names},
            "kubectl": str(self.kubectl),
            "images": self._images,
            "without": self._without,
        }
        state.write_atomically(self.directory / "lab.json", json.dumps(found, indent=1))


class ExistingProvider:
    """Finds clusters; it makes and ends none."""

    name = NAME
    capabilities = CAPABILITIES
    keeps_clusters = True

    def up(self, name: str, wish: Wish, *, say: Say) -> ExistingLab:
        """Take the clusters of the environment as the lab `name`; see Provider."""
        directory = state.lab_directory(name)
        kubectl = programs.kubectl(wish.kubectl)
        images = os.environ.get(_IMAGES, "")
        with state.locked(name):
            lab = ExistingLab(name, directory, _kubeconfigs(), kubectl, images=images, without=wish.without or ())
            with _folder(directory):
                lab.check()
                lab.dump()
        say(f"{', '.join(lab.cluster_names)}: marked for end-to-end runs", 0.0)
        return lab

    def find(self, name: str) -> ExistingLab:
        """Return the lab `name` as it was taken; see Provider."""
        directory = state.lab_directory(name)
        try:
            raw = json.loads((directory / "lab.json").read_text())
            kubeconfigs = {cluster: Path(path) for cluster, path in raw["kubeconfigs"].items()}
            return ExistingLab(
                name,
                directory,
                kubeconfigs,
                Path(raw["kubectl"]),
                images=raw["images"],
                without=tuple(raw["without"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabError(
                f"there is no lab {name!r} of existing clusters; "
                f"take them: kubelb-e2e up --provider existing --name {name}"
            ) from error

    def down(self, name: str, *, say: Say) -> bool:
        """Forget the lab; the clusters stay. See Provider."""
        del say
        directory = state.lab_directory(name)
        with state.locked(name):
            if not directory.exists():
                return False
            state.remove(directory)
        return True


@contextlib.contextmanager
def _folder(directory: Path) -> Iterator[None]:
    """Have the lab's folder, for kubectl keeps what it learns in it; one that is made now goes if the body fails."""
    if state.provider_of(directory) is not None:
        yield
        return
    if directory.exists():
        state.remove(directory)
    state.create(directory, NAME)
    try:
        yield
    except BaseException:
        state.remove(directory)
        raise


def _kubeconfigs() -> dict[str, Path]:
    """Return cluster -> kubeconfig from the environment; raises Unavailable."""
    management = os.environ.get(_MANAGEMENT, "")
    tenants = [item for item in os.environ.get(_TENANTS, "").split(os.pathsep) if item]
    if not management or not tenants:
        raise Unavailable(
            f"provider existing needs {_MANAGEMENT} (a kubeconfig) and {_TENANTS} (one or more, separated by "
            f"'{os.pathsep}') in the environment"
        )
    found = {MANAGEMENT: Path(management).absolute()}
    found.update({tenant_cluster(number): Path(item).absolute() for number, item in enumerate(tenants, start=1)})
    for cluster, path in found.items():
        if not path.is_file():
            raise Unavailable(f"{cluster}: {path}: no such file; see {_MANAGEMENT} and {_TENANTS}")
    return found
