"""What every KubeClient must do, as tests that run on the fake and on the real API server.

A test module makes them run by a class `Test...(KubeClientContract)` and three fixtures: `client`
(everything is allowed), `space` (the name of a new, empty namespace) and `reader` (a client that may
only get, list and watch ConfigMaps in `space`). Where the fake and the real server differ, the real
one is right.
"""

from __future__ import annotations

from kubelb_common.testing.contract.custom import CustomContract, ShippedContract
from kubelb_common.testing.contract.lifecycle import LifecycleContract
from kubelb_common.testing.contract.objects import ObjectContract
from kubelb_common.testing.contract.service import ServiceContract
from kubelb_common.testing.contract.watching import WatchContract

__all__ = [
    "CustomContract",
    "LifecycleContract",
    "ObjectContract",
    "ServiceContract",
    "ShippedContract",
    "WatchContract",
]
