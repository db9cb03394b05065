"""The pytest plug-in of all packages: the shared real API server.

`real_api` is one server for the whole session (one per worker under pytest-xdist). Missing programs
are an error with one line that says what to run, never a skip. A test that uses it gets the marker
`real_api` by itself, so `-m "not real_api"` leaves all of them out.
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
    """A running etcd and kube-apiserver."""
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
        if "real_api" in getattr(item, "fixturenames", ()):
            item.add_marker("real_api")
