from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path

import pytest

from kubelb_e2e import providers
from kubelb_e2e.clusters import base, state
from kubelb_e2e.clusters.base import SPECIAL, Wish, not_for
from kubelb_e2e.errors import LabError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBELB_LAB_DIR", str(tmp_path / "labs"))
    return tmp_path / "labs"


def said(text: str, seconds: float) -> None:
    raise AssertionError(f"nothing is to be told: {text} {seconds}")


def test_each_provider_is_found_by_its_name() -> None:
    assert list(providers.PROVIDERS) == ["local", "kind", "existing"]
    assert all(providers.get(name).name == name for name in providers.PROVIDERS)
    with pytest.raises(LabError, match="no provider 'docker'; there are local, kind, existing"):
        providers.get("docker")


def test_a_new_lab_is_of_the_provider_asked_for_or_the_default(root: Path) -> None:
    assert providers.of("shop").name == providers.DEFAULT
    assert providers.of("shop", "kind").name == "kind"


@pytest.mark.parametrize(("maker", "asked"), list(itertools.product(["local", "kind", "existing"], repeat=2)))
def test_a_lab_is_of_the_provider_that_made_it(root: Path, maker: str, asked: str) -> None:
    state.create(root / "shop", maker)
    assert providers.of("shop").name == maker
    if asked == maker:
        assert providers.of("shop", asked).name == maker
        return
    with pytest.raises(LabError) as caught:
        providers.of("shop", asked)
    assert str(caught.value) == (
        f"lab 'shop' is one of provider '{maker}'; end it: kubelb-e2e down --name shop --provider {maker}, "
        "or choose another name: --name"
    )
    with pytest.raises(LabError, match="is one of provider"):
        providers.down("shop", asked, say=said)
    assert (root / "shop").is_dir()


def test_a_lab_of_a_provider_that_is_not_known_here_is_told(root: Path) -> None:
    state.create(root / "shop", "cloud")
    with pytest.raises(LabError, match="no provider 'cloud'"):
        providers.of("shop")


def test_a_lab_that_was_not_taken_whole_is_forgotten_by_down(root: Path) -> None:
    state.create(root / "shop", "existing")
    assert providers.down("shop", None, say=said)
    assert state.labs() == {}
    assert not providers.down("shop", "existing", say=said)


def test_only_clusters_that_outlive_their_lab_are_cleared_of_the_product() -> None:
    assert [name for name, provider in providers.PROVIDERS.items() if provider.keeps_clusters] == ["existing"]


def test_a_wish_says_which_options_are_not_for_a_provider() -> None:
    every = Wish(
        tenants=1,
        nodes=1,
        without=("ccm",),
        images=Path("images.yaml"),
        kube_proxy_sync="0s",
        kubernetes="1.36",
        node_image="a",
        kind=Path("kind"),
        kubectl=Path("kubectl"),
        api_port=1,
        fresh=True,
        reuse=True,
    )
    kind = ["--kubernetes", "--kind-image", "--kind-bin", "--api-port", "--fresh", "--reuse"]
    assert not_for("local", every) == [*kind[:3], "--kubectl", *kind[3:]]
    assert not_for("kind", every) == ["--images", "--kube-proxy-sync"]
    assert not_for("existing", every) == ["--tenants", "--nodes", "--images", "--kube-proxy-sync", *kind]
    for name in providers.PROVIDERS:
        assert not_for(name, Wish()) == []
        assert not_for(name, Wish(fresh=False, reuse=False)) == []


def test_each_wish_that_not_all_grant_is_listed() -> None:
    common = {"without"}
    assert {field.name for field in fields(Wish)} - common == set(SPECIAL)
    assert set().union(*(known for _, known in SPECIAL.values())) <= set(providers.PROVIDERS)


def test_names_of_clusters_tenants_and_credentials_belong_together() -> None:
    cluster = base.tenant_cluster(12)
    assert (cluster, base.tenant_name(cluster), base.credential_name(cluster)) == ("tenant-12", "lab-12", "ccm-12")
    assert base.variables({"ccm-1": Path("/a"), "tenant-1": Path("/b")}) == {
        "KUBECONFIG_CCM_1": "/a",
        "KUBECONFIG_TENANT_1": "/b",
    }
