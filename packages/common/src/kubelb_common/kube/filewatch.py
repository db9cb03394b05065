"""Tells when files may have changed, also when they are swapped by renaming a symlink beside them.

The directories are watched, not the files: a mounted Secret changes by a rename of its `..data` symlink, and most
tools write a new file and rename it over the old one; either way a watch on the file itself would stay with the old
inode. Where a file is reached through symlinks, the directories of the link and of its target are watched.

A wake-up only says "look again". It may come without a change, and it always comes after `RECHECK_SECONDS`, so
that a file system which tells nothing (some network mounts) delays a change but never hides it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

from watchfiles import Change, awatch

from kubelb_common.telemetry import logs

_log = logs.get(__name__)

RECHECK_SECONDS = 60
_DEBOUNCE_MS = 200
_STEP_MS = 100


async def wakeups(files: Callable[[], Iterable[Path]]) -> AsyncGenerator[None, None]:
    """Yield whenever one of the files may have changed; never ends.

    Args:
        files: asked again after each wake-up, because a change of one file may lead to others.
    """
    while True:
        watched = frozenset(files())
        directories = _directories(watched)
        if not directories:
            await asyncio.sleep(RECHECK_SECONDS)
            yield
            continue
        try:
            async for _ in awatch(
                *directories,
                watch_filter=_about(watched),
                recursive=False,
                step=_STEP_MS,
                debounce=_DEBOUNCE_MS,
                rust_timeout=RECHECK_SECONDS * 1000,
                yield_on_timeout=True,
            ):
                yield
                now = frozenset(files())
                if now != watched or _directories(now) != directories:
                    break
        except OSError as error:
            _log.warning("cannot watch files, looking at them on a timer", error=str(error), every=RECHECK_SECONDS)
            await asyncio.sleep(RECHECK_SECONDS)
            yield


def _directories(files: frozenset[Path]) -> frozenset[Path]:
    found: set[Path] = set()
    for file in files:
        found.add(file.absolute().parent)
        found.add(file.resolve().parent)
    return frozenset(directory for directory in found if directory.is_dir())


def _about(files: frozenset[Path]) -> Callable[[Change, str], bool]:
    names = {file.name for file in files} | {file.resolve().name for file in files}

    def concerns(_change: Change, path: str) -> bool:
        name = Path(path).name
        return name in names or name.startswith("..")

    return concerns
