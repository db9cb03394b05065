"""The project's Dockerfiles and its catalogue as data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubelb_e2e.catalogue import BUILT_IN, PROJECT

#: As it is written, with `{python}` and the like.
CATALOGUE: dict[str, dict[str, Any]] = yaml.safe_load(BUILT_IN.read_text())


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile's instructions, (WORD, the rest in one line), in stages that begin with their FROM."""

    arguments: tuple[tuple[str, str], ...]
    stages: tuple[tuple[tuple[str, str], ...], ...]

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        text = re.sub(r"\\\n\s*", "", "\n".join(lines))
        found = [(word.upper(), rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]
        starts = [index for index, (word, _) in enumerate(found) if word == "FROM"]
        ends = [*starts[1:], len(found)]
        stages = tuple(tuple(found[start:end]) for start, end in zip(starts, ends, strict=True))
        return cls(tuple(found[: starts[0]]), stages)

    def last(self, word: str) -> list[str]:
        """Return what the instructions of this word in the last stage say."""
        return [rest for found, rest in self.stages[-1] if found == word]


def of(image: str) -> Dockerfile:
    """Return the Dockerfile of an image of the catalogue."""
    return Dockerfile.read(PROJECT / CATALOGUE[image]["build"])
