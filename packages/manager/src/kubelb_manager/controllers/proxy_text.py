"""What a tenant may read of Envoy's own words: words that say what is wrong, and the tenant's own names (ruling 5).

Envoy's text may name anything that its configuration holds, other tenants' hosts and clusters included. So nothing is
taken out of it: words are taken over that are on a list, or that the object itself brought; a gap stands for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kubelb_manager.ir.model import Part
from kubelb_manager.translate.result import Translated

#: Envoy says no more than this, in characters; a longer text is cut before it is read.
_READ_MAX = 4000
_WORDS_MAX = 60
_SHOWN_MAX = 500
_GAP = "..."

#: Words of Envoy's messages about configuration, none of which could be a secret.
_WORDS = frozenset(
    """
    a address addresses already an and are argument as at be bind bytes cannot certificate character characters chain
    cluster clusters configuration constraint could create duplicate empty endpoint endpoints error exceeds expected
    expression extension failed field filter filters for found from greater had has header host hosts http in invalid
    is it key last length less limit listener listeners load malformed match matcher maximum message minimum missing
    more multiple must name names no not of on only or out overflow overlapping parse parsing path permission pattern
    port prefix program protocol proto range regex rejected repeated required resource response route routes same
    scheme secret set size socket specified string tcp than that the timeout tls to too transport type udp unable
    unexpected unique unknown unsupported uri url use used validation value values virtual was weight with
    """.split()  # noqa: SIM905 - a list of so many words is read as text
)
_TOKEN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._*/:+-]*")


def own_words(result: Translated) -> frozenset[str]:
    """Return the names that an object brought: itself, its hosts, paths, Services and clusters."""
    if result.part is None:
        return frozenset()
    return frozenset(word for word in _own(result.part) if word)


def _own(part: Part) -> Iterator[str]:
    yield part.origin.name
    yield part.age[1]
    for rules in part.hosts:
        yield rules.host
        yield from (rule.match.value for rule in rules.rules)
    yield from (cluster.name for cluster in part.clusters)


def reduced(message: str, own: Iterable[str]) -> str:
    """Return Envoy's text with words that are common or the tenant's own; each run of others is a gap."""
    mine = frozenset(own)
    out: list[str] = []
    for token in _TOKEN.findall(message[:_READ_MAX]):
        bare = token.strip(".:/")
        word = next((each for each in (token, bare) if each in mine), bare.lower() if bare.lower() in _WORDS else _GAP)
        if word != _GAP or out[-1:] != [_GAP]:
            out.append(word)
    said = out[:_WORDS_MAX]
    return " ".join([*said, _GAP] if len(out) > _WORDS_MAX and said[-1] != _GAP else said) or _GAP


def printable(message: str) -> str:
    """Return Envoy's text as an administrator may see it: all of it that is printable, short."""
    return re.sub(r"[^\x20-\x7e]+", " ", message)[:_SHOWN_MAX]
