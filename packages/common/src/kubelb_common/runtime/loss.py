"""Whether a list that lacks known objects is believed.

Deletions reach an informer in two ways: as watch events, which are always obeyed, and as absence from a complete
list after a gap in the watch. Absence is obeyed too, with one exception: a list whose resourceVersion is *lower*
than one that this process has seen from the same API server shows that the server's storage went back in time (a
restored backup, a wrong endpoint). Objects absent from such a list are a *sudden loss*: they are held, that is,
kept in the store, until a list shows a resourceVersion that is not lower any more, until the API server names the
object again, or until the process starts anew. Size plays no part: an empty list with good evidence is obeyed, and
one missing object with bad evidence is held.

Resource versions are compared as integers (Kubernetes KEP-5504); one that is no integer is no evidence.
"""

from __future__ import annotations

from typing import Protocol

from kubelb_common.kube.port import Object


class LossPolicy(Protocol):
    """Decides about objects that a complete list lacks."""

    def __call__(self, lost: list[Object], *, highest: str, listed: str) -> bool:
        """Tell whether to hold them.

        Args:
            lost: objects of the store that the list lacks; never empty.
            highest: the highest resourceVersion seen before this list.
            listed: the list's resourceVersion.

        Returns:
            True to keep them and list again soon; False to delete them from the store.
        """


def went_back(highest: str, listed: str) -> bool:
    """Tell whether `listed` is an older resourceVersion than `highest`."""
    return highest.isdecimal() and listed.isdecimal() and int(listed) < int(highest)


def hold_if_went_back(lost: list[Object], *, highest: str, listed: str) -> bool:  # noqa: ARG001  # the Protocol's form
    """Hold every loss that comes with a resourceVersion lower than one seen before."""
    return went_back(highest, listed)
