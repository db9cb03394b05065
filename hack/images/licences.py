"""Adds the copyright files of the Debian packages whose files are in a layer.

Who passes on a program passes on its terms. Runs in the build stage of a Dockerfile; where there are no Debian packages
it adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import closure

_LISTS = Path("/var/lib/dpkg/info")
_DOCUMENTS = Path("/usr/share/doc")


def add(layer: Path, below: Sequence[Path] = (), lists: Path = _LISTS, documents: Path = _DOCUMENTS) -> None:
    """Add to `layer` what each package that owns one of its files says in `documents`/PACKAGE/copyright."""
    there = {f"/{path.relative_to(layer)}" for path in layer.rglob("*") if path.is_file() and not path.is_symlink()}
    # Packages name files as before /lib and /bin became links into /usr.
    there |= {path.removeprefix("/usr") for path in there if path.startswith("/usr/")}
    for listed in sorted(lists.glob("*.list")):
        if not there.isdisjoint(listed.read_text().splitlines()):
            terms = documents / listed.stem.partition(":")[0] / "copyright"
            if terms.exists():
                closure.place(terms, layer, below)
