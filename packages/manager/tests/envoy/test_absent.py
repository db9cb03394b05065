"""A cluster whose endpoints are gone before Envoy asks for them: the answer is that there are none, and Envoy goes on."""

from __future__ import annotations

import pytest

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import Forward
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS

pytestmark = pytest.mark.real_envoy


async def test_absent_endpoints_end_the_warming(lab):
    up = await lab.upstream("a")
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    fleet = lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", up.port)])
    generation = lab.publish(cache, fleet)
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    more = lab.fleet(port, fleet.http[0].tables, [*fleet.clusters, lab.cluster("b", up.port)])
    table = dict(lab.generator.table(more))
    table[ENDPOINTS] = {"a": table[ENDPOINTS]["a"]}
    generation = cache.publish(lab.FLEET, table)
    view = lambda: cache.progress(lab.FLEET).streams[0]  # noqa: E731
    await lab.until(lambda: view().acknowledged[CLUSTER] >= generation, "clusters acknowledged")
    assert (await lab.request(port, "h.example.com")).body == "a /"
