"""Clusters that are there already: taken only if marked, never touched otherwise, given back as they were."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from standins.apis import Api
from standins.stage import Stage, stage

from kubelb_common import names
from kubelb_common.kube.port import Resource
from kubelb_common.kube.resources import CRDS, DEPLOYMENTS, NAMESPACES, TENANTS
from kubelb_common.testing import binaries
from kubelb_e2e import cli, providers
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Capability, Wish
from kubelb_e2e.clusters.existing import ALLOWED, LABEL, ExistingLab, ExistingProvider
from kubelb_e2e.errors import LabError, Unavailable

KUBECTL = binaries.require(("kubectl",)) / "kubectl"


class Fleet:
    """A management cluster and a tenant, marked for end-to-end runs."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.apis: dict[str, Api] = {}
        for name in ("management", "tenant-1"):
            self.add(name)

    def add(self, name: str) -> None:
        self.apis[name] = self.stage.kind.apis[name] = Api(name)
        self.stage.do(self.apis[name].start())
        (self.folder / name).write_text(self.apis[name].kubeconfig())
        self.mark(name)

    def mark(self, name: str, *, value: str | None = ALLOWED) -> None:
        patch = {"metadata": {"labels": {LABEL: value}}}
        self.stage.do(self.apis[name].kube.patch(NAMESPACES, "kube-system", patch))

    def listed(self, name: str, resource: Resource) -> list[str]:
        return [item["metadata"]["name"] for item in self.stage.do(self.apis[name].kube.list(resource)).items]

    def writes(self) -> list[tuple[str, str, str]]:
        """Return what was written in all clusters: cluster, method, path."""
        return [
            (name, method, path)
            for name, api in self.apis.items()
            for method, path in api.requests
            if method in ("POST", "PUT", "PATCH", "DELETE")
        ]

    def forget(self) -> None:
        for api in self.apis.values():
            api.requests.clear()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with stage(tmp_path / "bin") as found, tempfile.TemporaryDirectory() as labs:
        monkeypatch.setenv("KUBELB_LAB_DIR", labs)
        monkeypatch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("KUBELB_E2E_MANAGEMENT", str(tmp_path / "management"))
        monkeypatch.setenv("KUBELB_E2E_TENANTS", str(tmp_path / "tenant-1"))
        for name in ("KUBELB_E2E_IMAGES", "KUBELB_LAB", "KUBELB_PROVIDER"):
            monkeypatch.delenv(name, raising=False)
        yield Fleet(found, tmp_path)


def up(kubectl: Path | None = None, **wishes: object) -> ExistingLab:
    """Take the clusters, by a quick kubectl unless another is named."""
    wish = Wish(kubectl=kubectl or Path(shutil.which("quick-kubectl")), **wishes)
    return ExistingProvider().up("team", wish, say=lambda _text, _seconds: None)


def refused(error: type[LabError] = LabError, kubectl: Path | None = None) -> str:
    """Try to take the clusters, which must be refused in one line before anything is written; return the line."""
    with pytest.raises(error) as caught:
        up(kubectl)
    assert "\n" not in str(caught.value)
    assert not state.lab_directory("team").exists()
    return str(caught.value)


def test_marked_clusters_become_a_lab_that_is_found_again(fleet: Fleet) -> None:
    lab = up(KUBECTL, without=("ccm",))
    assert lab.cluster_names == ("management", "tenant-1")
    assert lab.kubeconfig("tenant-1") == fleet.folder / "tenant-1"
    assert (lab.name, lab.provider, lab.without) == ("team", "existing", ("ccm",))
    assert lab.capabilities == {Capability.ENTER, Capability.LIMITS}
    assert fleet.writes() == [], "taking them changes nothing in them"
    found = ExistingProvider().find("team")
    assert (found.cluster_names, found.kubectl, found.without) == (lab.cluster_names, KUBECTL, ("ccm",))
    assert [found.kubeconfig(name) for name in found.cluster_names] == [
        lab.kubeconfig(name) for name in lab.cluster_names
    ]
    assert state.labs() == {"team": "existing"}
    assert providers.of("team").name == "existing"
    assert (lab.image("kubelb/ccm:0.1.0"), lab.facts().lines) == ("kubelb/ccm:0.1.0", (("Images", "as named"),))
    assert state.lab_directory("team").stat().st_mode & 0o777 == 0o700
    assert up().cluster_names == lab.cluster_names, "harmless to repeat"


@pytest.mark.parametrize("missing", ["KUBELB_E2E_MANAGEMENT", "KUBELB_E2E_TENANTS"])
@pytest.mark.parametrize("value", [None, ""])
def test_kubeconfigs_that_are_not_named_are_asked_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, missing: str, value: str | None
) -> None:
    monkeypatch.delenv(missing) if value is None else monkeypatch.setenv(missing, value)
    told = refused(Unavailable)
    assert told == (
        "provider existing needs KUBELB_E2E_MANAGEMENT (a kubeconfig) and KUBELB_E2E_TENANTS (one or more, separated "
        "by ':') in the environment"
    )


def test_a_kubeconfig_that_is_not_there_is_named(fleet: Fleet) -> None:
    (fleet.folder / "tenant-1").unlink()
    assert refused(Unavailable).startswith(f"tenant-1: {fleet.folder / 'tenant-1'}: no such file")


def test_a_kubeconfig_may_be_named_from_where_one_stands(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fleet.folder)
    monkeypatch.setenv("KUBELB_E2E_MANAGEMENT", "management")
    monkeypatch.setenv("KUBELB_E2E_TENANTS", "tenant-1:")
    lab = up()
    assert lab.kubeconfig("management") == fleet.folder / "management"
    assert lab.cluster_names == ("management", "tenant-1"), "an empty part is none"


@pytest.mark.parametrize(("name", "value"), [("management", None), ("tenant-1", "false")])
def test_a_cluster_that_is_not_marked_is_refused_with_the_command_that_marks_it(
    fleet: Fleet, name: str, value: str | None
) -> None:
    fleet.mark(name, value=value)
    fleet.forget()
    told = refused()
    assert told.startswith(
        f"{name} ({fleet.folder / name}) is not marked for end-to-end runs, which replace and remove"
    )
    assert fleet.writes() == []
    command = shlex.split(told.partition("if that may be: ")[2])
    assert command[0] == "kubectl"
    subprocess.run([str(KUBECTL), *command[1:]], check=True, capture_output=True)
    assert up().name == "team", "and that command does what it is for"


def test_several_tenants_are_separated_by_colons(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.add("other")
    monkeypatch.setenv("KUBELB_E2E_TENANTS", f"{fleet.folder / 'tenant-1'}:{fleet.folder / 'other'}")
    assert up().kubeconfig("tenant-2") == fleet.folder / "other"


def test_the_same_cluster_twice_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    (fleet.folder / "again").write_text((fleet.folder / "tenant-1").read_text())
    monkeypatch.setenv("KUBELB_E2E_TENANTS", f"{fleet.folder / 'tenant-1'}:{fleet.folder / 'again'}")
    assert refused() == "tenant-1 and tenant-2 are the same cluster; give each one of its own"


def test_a_management_cluster_that_is_a_tenant_too_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_E2E_TENANTS", str(fleet.folder / "management"))
    assert refused().startswith("management and tenant-1 are the same cluster")


def test_a_cluster_that_does_not_answer_is_one_line(fleet: Fleet) -> None:
    fleet.stage.do(fleet.apis["tenant-1"].stop())
    assert refused(kubectl=KUBECTL).startswith("tenant-1: kubectl get namespace: The connection to the server ")


def test_a_file_that_is_no_kubeconfig_is_one_line(fleet: Fleet) -> None:
    (fleet.folder / "tenant-1").write_text("hello: [")
    assert refused(kubectl=KUBECTL).startswith("tenant-1: kubectl get namespace: ")


def test_what_was_taken_stays_as_it_was_when_the_next_try_is_refused(fleet: Fleet) -> None:
    up()
    fleet.mark("tenant-1", value=None)
    with pytest.raises(LabError, match="not marked"):
        up()
    assert ExistingProvider().find("team").cluster_names == ("management", "tenant-1")


def test_images_come_from_where_the_environment_said(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_E2E_IMAGES", "registry.example.com/team/")
    lab = up()
    monkeypatch.delenv("KUBELB_E2E_IMAGES")
    for found in (lab, ExistingProvider().find("team")):
        assert found.image("kubelb/ccm:0.1.0") == "registry.example.com/team/kubelb/ccm:0.1.0"
        assert found.facts().lines == (("Images", "registry.example.com/team/"),)


def test_status_tells_who_answers(fleet: Fleet) -> None:
    lab = up()
    fleet.stage.do(fleet.apis["tenant-1"].join("node-1", "192.0.2.7"))
    now = lab.status()
    assert now.healthy
    assert [(row[0], row[2], row[3]) for row in now.rows] == [
        ("management", "", "answers"),
        ("tenant-1", "192.0.2.7", "answers"),
    ]
    fleet.stage.do(fleet.apis["tenant-1"].stop())
    now = lab.status()
    assert not now.healthy
    assert now.rows[0][3] == "answers"
    assert now.rows[1][3].startswith("tenant-1: kubectl get nodes: ")


def test_a_folder_that_a_killed_start_left_is_no_hindrance(fleet: Fleet) -> None:
    (state.lab_directory("team") / "kubectl-cache").mkdir(parents=True)
    up()
    assert state.labs() == {"team": "existing"}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"kubeconfigs": {}}', '{"kubeconfigs": 3}'])
def test_a_lab_that_was_not_taken_is_told(fleet: Fleet, text: str | None) -> None:
    directory = state.lab_directory("team")
    directory.mkdir(parents=True)
    if text is not None:
        (directory / "lab.json").write_text(text)
    with pytest.raises(
        LabError, match="there is no lab 'team' of existing clusters; take them: kubelb-e2e up --provider"
    ):
        ExistingProvider().find("team")


def test_down_of_the_provider_forgets_and_touches_nothing(fleet: Fleet) -> None:
    up()
    fleet.forget()
    provider = ExistingProvider()
    assert provider.keeps_clusters
    assert provider.down("team", say=lambda _text, _seconds: None)
    assert fleet.writes() == []
    assert state.labs() == {}
    assert not provider.down("team", say=lambda _text, _seconds: None)


def call(command: str, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        cli.main, [command, "--name", "team", "--provider", "existing", *words], catch_exceptions=False
    )
    return done.exit_code, done.output


def test_the_product_goes_in_and_out_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_E2E_IMAGES", "registry.example.com/")
    before = {name: (fleet.listed(name, NAMESPACES), fleet.listed(name, CRDS)) for name in fleet.apis}
    code, said = call("up", "--kubectl", str(KUBECTL))
    assert code == 0, said
    (deployment,) = fleet.stage.do(fleet.apis["tenant-1"].kube.list(DEPLOYMENTS)).items
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/kubelb/ccm:0.1.0"
    assert fleet.listed("management", TENANTS) == ["lab-1"]

    order: list[tuple[str, str]] = []
    for name, api in fleet.apis.items():
        api.requests = Journal(name, order)
    code, said = call("down")
    assert code == 0, said
    assert said.splitlines()[-1] == "lab team is gone"
    # Tenants while manager and agents run; then agents; manager and CRDs last.
    tenants = [number for number, (where, path) in enumerate(order) if where == "management" and "/tenants/" in path]
    agents = [number for number, (where, _) in enumerate(order) if where != "management"]
    rest = [number for number, (where, path) in enumerate(order) if where == "management" and "/tenants/" not in path]
    assert len(tenants) == 1
    assert max(tenants) < min(agents) < max(agents) < min(rest)
    for name in fleet.apis:
        assert fleet.listed(name, DEPLOYMENTS) == []
        assert fleet.listed(name, CRDS) == before[name][1]
        left = set(fleet.listed(name, NAMESPACES)) - set(before[name][0])
        assert {space for space in left if not space.startswith("tenant-")} == set(), "those of Tenants go with them"
    assert state.labs() == {}


class Journal(list[tuple[str, str]]):
    """The requests of one cluster, of which deletions are noted in a list of all clusters."""

    def __init__(self, name: str, order: list[tuple[str, str]]) -> None:
        super().__init__()
        self._name, self._order = name, order

    def append(self, request: tuple[str, str]) -> None:
        super().append(request)
        if request[0] == "DELETE":
            self._order.append((self._name, request[1]))


def test_the_manager_stays_where_tenants_of_others_are(fleet: Fleet) -> None:
    assert call("up", "--kubectl", str(KUBECTL))[0] == 0
    theirs = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": "theirs"}, "spec": {}}
    fleet.stage.do(fleet.apis["management"].kube.create(TENANTS, theirs))
    code, said = call("down")
    assert code == 0, said
    assert "the manager stays, there are others' Tenants: tenant.kubelb.k8c.io/theirs" in said
    assert fleet.listed("management", DEPLOYMENTS) == ["kubelb-manager"]
    assert fleet.listed("management", TENANTS) == ["theirs"]
    assert fleet.listed("tenant-1", DEPLOYMENTS) == []


def test_down_keeps_the_lab_known_while_a_cluster_does_not_answer(fleet: Fleet) -> None:
    up(KUBECTL)  # the product never was there
    fleet.stage.do(fleet.apis["tenant-1"].stop())
    code, said = call("down")
    assert code == 1
    assert said.splitlines()[-1].startswith("Error: tenant-1: kubectl get namespace: ")
    assert state.labs() == {"team": "existing"}, "so that it can be tried again"


def test_nothing_is_taken_out_of_a_cluster_that_is_not_marked_any_more(fleet: Fleet) -> None:
    up(KUBECTL)
    fleet.mark("tenant-1", value=None)
    fleet.forget()
    code, said = call("down")
    assert code == 1
    assert "tenant-1" in said
    assert "is not marked for end-to-end runs" in said
    assert fleet.writes() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tenants", "2"), "--tenants: not for --provider existing"),
        (("--nodes", "2", "--fresh"), "--nodes, --fresh: not for --provider existing"),
        (("--kind-image", "a"), "--kind-image: not for --provider existing"),
    ],
)
def test_wishes_that_existing_clusters_cannot_grant(fleet: Fleet, words: tuple[str, ...], told: str) -> None:
    code, said = call("up", *words)
    assert code == 2
    assert told in said
    assert fleet.writes() == []


def test_a_missing_environment_exits_with_2(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBELB_E2E_MANAGEMENT")
    code, said = call("up")
    assert code == 2
    assert said.startswith("Error: provider existing needs KUBELB_E2E_MANAGEMENT")
