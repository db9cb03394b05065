from __future__ import annotations

import pytest

from kubelb_e2e.clusters import podlogs
from kubelb_e2e.clusters.podlogs import LogSource
from kubelb_e2e.errors import LabError


def source(name: str, run: int | None = 0, *, cluster: str = "tenant-1", container: str = "app") -> LogSource:
    namespace, _, pod = name.partition("/")
    return LogSource(cluster, namespace, pod, container, run, lambda: f"{cluster} {name} {container} {run}\n")


SOURCES = [
    source("shop/web-1", 0),
    source("shop/web-1", 1),
    source("shop/web-1", 0, container="side"),
    source("shop/web-10", 0),
    source("test/web-1", 0),
    source("kubelb/manager", 2, cluster="management"),
]


def chosen(pod: str, **more: object) -> list[str]:
    return [item.text.strip() for item in podlogs.choose(SOURCES, pod, **more)]


def test_a_name_that_is_a_pods_means_only_that_pod() -> None:
    assert chosen("shop/web-1", container="app") == ["tenant-1 shop/web-1 app 1"]


def test_the_beginning_of_a_name_means_all_that_begin_so() -> None:
    assert chosen("shop/web") == [
        "tenant-1 shop/web-1 app 1",
        "tenant-1 shop/web-1 side 0",
        "tenant-1 shop/web-10 app 0",
    ]


def test_without_a_namespace_all_namespaces_count() -> None:
    assert chosen("web-1") == ["tenant-1 shop/web-1 app 1", "tenant-1 shop/web-1 side 0", "tenant-1 test/web-1 app 0"]


def test_all_runs_come_in_their_order() -> None:
    assert chosen("shop/web-1", container="app", all_runs=True) == [
        "tenant-1 shop/web-1 app 0",
        "tenant-1 shop/web-1 app 1",
    ]


@pytest.mark.parametrize("more", [{"cluster": "management"}, {"container": "other"}])
def test_what_is_not_there_is_told_with_what_is(more: dict[str, object]) -> None:
    with pytest.raises(LabError) as caught:
        chosen("web-1", **more)
    assert str(caught.value) == (
        "no logs of a pod 'web-1'; there are: management: kubelb/manager, tenant-1: shop/web-1, tenant-1: shop/web-10, "
        "tenant-1: test/web-1"
    )


def test_without_any_pod_that_is_told() -> None:
    with pytest.raises(LabError, match="there are: none yet"):
        podlogs.choose([], "web")


def test_only_what_is_chosen_is_read() -> None:
    def explode() -> str:
        raise AssertionError("this log is not asked for")

    sources = [LogSource("tenant-1", "shop", "api", "app", 0, explode), source("shop/web")]
    assert podlogs.choose(sources, "web")[0].title == "tenant-1: shop/web, container app, run 0"
