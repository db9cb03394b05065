"""The pytest plug-in of all packages: real API servers.

`real_api` is one server for the whole session (one per worker under pytest-xdist). No controllers run
there, so what a test makes stays, and no test may look further than the namespace that it made itself.
`own_real_api` is a server of one test's own, for programs that look at a whole cluster. It costs some
seconds.

Missing programs are an error with one line that says what to run, never a skip. A test that uses one
of them gets the marker `real_api` by itself, so `-m "not real_api"` leaves all of them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kubelb_common.testing.envtest import RealApi

pytest.register_assert_rewrite("kubelb_common.testing.contract")


@pytest.fixture(scope="session")
def real_api() -> Iterator[RealApi]:
    """A running etcd and kube-apiserver, shared with other tests."""
    yield from _running()


@pytest.fixture
def own_real_api() -> Iterator[RealApi]:
    """A running etcd and kube-apiserver that nobody else uses."""
    yield from _running()


def _running() -> Iterator[RealApi]:
    from kubelb_common.testing import binaries, envtest  # noqa: PLC0415 - only sessions that need it pay for it

    try:
        api = envtest.start()
    except (binaries.MissingPrograms, envtest.StartFailed) as error:
        pytest.fail(str(error), pytrace=False)
    yield api
    api.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the real API server."""
    for item in items:
        if {"real_api", "own_real_api"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("real_api")
