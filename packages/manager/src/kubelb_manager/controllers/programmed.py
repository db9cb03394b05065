"""What can be truly said about Programmed (ruling 12)."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_manager.controllers import proxy_text
from kubelb_manager.controllers.board import PROGRAMMED
from kubelb_manager.rollout.rollout import Phase, Standing
from kubelb_manager.translate.result import Verdict

#: After this many seconds without every acknowledgement, the condition says how many there are.
PARTIAL_AFTER = 10.0
BACKEND_UNREACHABLE = "BackendUnreachable"
_NAMED = 3

NOT_ACCEPTED = Verdict(PROGRAMMED, "False", "NotAccepted", "Nothing is served, because the object is not accepted.")
NOTHING_TO_SERVE = Verdict(PROGRAMMED, "False", "NothingToServe", "The object asks for nothing that can be served.")
_TRUE = Verdict(PROGRAMMED, "True", "Programmed", "Every proxy serves this object.")


def judge(
    standing: Standing, serving: tuple[int, int], waited: float, *, latched: bool, own: Iterable[str] = ()
) -> tuple[Verdict | None, bool]:
    """Return the condition, None while nothing can be said yet; and whether nothing more is to be expected.

    Args:
        standing: where the rollout has the object.
        serving: ready pods that acknowledged it, and all ready pods.
        waited: seconds since it was published.
        latched: this generation was programmed before; proxies that come and go do not take that back.
        own: names that the object brought: of Envoy's text no others are shown.
    """
    if standing.phase is Phase.REFUSED:
        text = f"A proxy refused this object. Of what it said: {proxy_text.reduced(standing.refusal, own)}"
        return Verdict(PROGRAMMED, "False", "RefusedByProxy", text), True
    if standing.silent and not latched:
        return _unreachable(standing), False
    if standing.phase is Phase.WAITING or not standing.generation:
        return (_TRUE if latched else None), False
    count, total = serving
    if total and count == total:
        return _TRUE, True
    if latched:
        return _TRUE, True
    if not total:
        text = "No proxy of this tenant is ready yet."
        return (Verdict(PROGRAMMED, "False", "NoReadyProxies", text) if waited >= PARTIAL_AFTER else None), False
    if waited < PARTIAL_AFTER:
        return None, False
    text = f"{count} of {total} ready proxies have acknowledged this object."
    return Verdict(
        PROGRAMMED, "False", "PartiallyAcknowledged", f"PartiallyAcknowledged {count}/{total}: {text}"
    ), False


def _unreachable(standing: Standing) -> Verdict:
    """Say which Services do not answer on their node ports."""
    shown = sorted({_backend(name) for name in standing.silent})
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    text = (
        f"No node of the tenant answers on the node port of {', '.join(shown[:_NAMED])}{more}. "
        "Look for pods that are not ready, and for a policy or firewall in front of node ports."
    )
    return Verdict(PROGRAMMED, "False", BACKEND_UNREACHABLE, text)


def _backend(cluster: str) -> str:
    """Return `namespace/service port N (node port M)` for a cluster's name, which has these parts in order."""
    parts = cluster.split("/")
    if parts[-1] == "l7" and len(parts) == 6:
        return f"Service {parts[1]}/{parts[2]} port {parts[3]} (node port {parts[4]})"
    return f"port {parts[2]} (node port {parts[3]})" if len(parts) == 5 else cluster


def services_of(clusters: Iterable[str]) -> Iterable[str]:
    """Return `namespace/name` of the tenant's Services behind L7 clusters."""
    for cluster in clusters:
        parts = cluster.split("/")
        if parts[-1] == "l7" and len(parts) == 6:
            yield f"{parts[1]}/{parts[2]}"


def with_shadowed(verdicts: tuple[Verdict, ...], shadowed: tuple[str, ...]) -> tuple[Verdict, ...]:
    """Add to Accepted which rules an older object already has."""
    if not shadowed:
        return verdicts
    text = f" Served by an older object instead: {'; '.join(shadowed)}."
    return tuple(
        Verdict(item.type, item.status, item.reason, item.message + text) if item.type == "Accepted" else item
        for item in verdicts
    )
