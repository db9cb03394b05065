"""What the tests of all packages share."""

from __future__ import annotations

import asyncio

pytest_plugins = ["kubelb_common.testing.pytest_golden", "kubelb_common.testing.pytest_plugin"]

# pytest-asyncio asks for the current event loop around fixtures; before Python 3.14 that question makes one
# which nobody closes, and the warning about it fails whichever test is running when it is collected.
asyncio.set_event_loop(None)
