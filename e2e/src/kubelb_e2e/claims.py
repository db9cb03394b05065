"""The lab of a test run: who may use it, and who ends it.

A run claims its lab before anything of it is there. So a lab

* whose claim is held by a living process is another run's, and refused;
* whose claim is held by nobody alive is what a killed run left: it is removed first, of whichever provider it is,
  or used if so wished;
* without a claim was started by somebody with `kubelb-e2e up`: it is used as it is, and stays.

A run that cannot bring the product into a lab of its own leaves a dump, and ends the lab.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from kubelb_e2e import artifacts, product, providers
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Lab, Say, Wish
from kubelb_e2e.errors import LabError


class RunsLab:
    """The lab of this run."""

    def __init__(self, name: str, provider: str, wish: Wish, *, keep: bool, dumps: Path, say: Say) -> None:
        """Prepare.

        Args:
            name: the lab's name.
            provider: the one asked for.
            wish: what the lab is to be.
            keep: leave it running at the end.
            dumps: where a dump goes if the product does not come up.
            say: is told how it gets on.
        """
        self._name = name
        self._provider = provider
        self._wish = wish
        self._keep = keep
        self._dumps = dumps
        self._say = say
        self._folder = state.lab_directory(name)
        self._own = False

    def start(self) -> Lab:
        """Return the lab with the product in it; raises LabError, and then a lab of this run's own is gone."""
        if self._claim() and not self._wish.reuse:
            self._say(f"removing lab {self._name}, which a run that was killed has left", 0.0)
            providers.down(self._name, None, say=self._say)
        try:
            found = providers.of(self._name, self._provider).up(self._name, self._wish, say=self._say)
        except BaseException:
            # What it created it has removed; what it could not remove the next run finds by the claim.
            if self._own and not self._folder.exists():
                state.release(self._folder)
            raise
        try:
            product.deploy(found, (), say=self._say)
        except LabError as error:
            raise type(error)(f"{error}{self._dump(found)}") from error
        except BaseException:
            with contextlib.suppress(LabError):
                self.end()
            raise
        return found

    def end(self) -> None:
        """End the lab if it is this run's own and not to be kept; raises LabError."""
        if self._own and not self._keep:
            providers.down(self._name, None, say=self._say)
        if self._own:
            state.release(self._folder)

    def _claim(self) -> bool:
        """Claim the lab unless it is somebody's; return whether a killed run left it. Raises LabError."""
        self._refuse_if_used()  # at once, and not when its start has ended
        with state.locked(self._name):
            self._refuse_if_used()
            is_left = state.claimed_by(self._folder) is not None
            self._own = is_left or not self._folder.exists()
            if self._own:
                state.claim(self._folder)
        return is_left

    def _refuse_if_used(self) -> None:
        owner = state.claimed_by(self._folder)
        if owner is not None and owner.alive:
            raise LabError(f"lab {self._name!r} is used by another run (process {owner.pid}); choose another: --lab")

    def _dump(self, found: Lab) -> str:
        """Dump a lab without the product and end it; return what to add to the error."""
        folder = self._dumps / "start"
        told = f"; dump: {folder}"
        try:
            artifacts.dump(found, folder)
        except LabError as error:
            told = f" ({error})"
        with contextlib.suppress(LabError):
            self.end()
        return told
