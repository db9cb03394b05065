"""The generations of a tenant's token: which one is wanted, and when those before it end (ruling 22).

A rotation is asked for by an annotation of the Tenant that names the wanted generation. Each generation has a
Secret of its own, so any state between two of them is one that the next pass goes on from:

    the wanted generation's Secret -> its token -> the kubeconfig carries it -> others get their end -> they go

A token is given an end only when the kubeconfig carries the wanted one, so a tenant always has a credential. The
end stands on the Secret: a manager that starts in between keeps it. Asking again with a shorter overlap brings it
forward, a longer one does not put it off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view

TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secret
DEFAULT_OVERLAP = timedelta(minutes=10)
GENERATION_MAX = 999_999
_NAME = re.compile(rf"{names.CCM_TOKEN_SECRET}(?:-([1-9][0-9]{{0,5}}))?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the tokens that are no longer wanted.

    Attributes:
        ending: generations that live on, and the end that the Secret of each is to carry.
        ended: generations whose time is over.
    """

    ending: Mapping[int, datetime]
    ended: tuple[int, ...]

    @property
    def last_end(self) -> datetime | None:
        """When the last of them ends, None if there is none."""
        return max(self.ending.values(), default=None)

    @property
    def next_end(self) -> datetime | None:
        """When the first of them ends, None if there is none."""
        return min(self.ending.values(), default=None)


def generations(secrets: Iterable[Object]) -> dict[int, Object]:
    """Return our token Secrets of a tenant's namespace by generation; Secrets of others are left out."""
    found: dict[int, Object] = {}
    for secret in secrets:
        name = _NAME.fullmatch(view.name(secret))
        account = view.annotations(secret).get("kubernetes.io/service-account.name")
        ours = view.labels(secret).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        if name and ours and account == names.CCM_ACCOUNT and secret.get("type") == TOKEN_TYPE:
            found[int(name[1] or 1)] = secret
    return found


def wanted_generation(tenant: Object, present: Mapping[int, Object]) -> int:
    """Return the generation that the Tenant asks for; without a usable wish the newest that is not to end."""
    wish = view.annotations(tenant).get(names.ANNOTATION_TOKEN_GENERATION, "")
    if wish.isascii() and wish.isdigit() and 1 <= int(wish) <= GENERATION_MAX:
        return int(wish)
    staying = [number for number, secret in present.items() if _end(secret) is None]
    return max(staying, default=max(present, default=1))


def overlap(tenant: Object) -> timedelta:
    """Return how long a replaced token is accepted; what cannot be read counts as absent."""
    try:
        return view.parse_duration(view.annotations(tenant).get(names.ANNOTATION_TOKEN_OVERLAP, ""))
    except (ValueError, OverflowError):
        return DEFAULT_OVERLAP


def plan(tenant: Object, present: Mapping[int, Object], wanted: int, now: datetime) -> Plan:
    """Return what to do with the tokens besides `wanted`, which the kubeconfig carries by now."""
    ending: dict[int, datetime] = {}
    ended: list[int] = []
    latest = (now + overlap(tenant)).replace(microsecond=0)
    for number in sorted(present.keys() - {wanted}):
        end = min(_end(present[number]) or latest, latest)
        if end <= now:
            ended.append(number)
        else:
            ending[number] = end
    return Plan(ending, tuple(ended))


def status(wanted: int, secret: Object, left: Plan) -> Object:
    """Return `status.credential` of the Tenant.

    Args:
        wanted: the generation that the kubeconfig carries.
        secret: its live Secret.
        left: what becomes of the others.
    """
    issued = view.creation_time(secret)
    return {
        "generation": wanted,
        "secret": view.name(secret),
        **({"issuedAt": view.format_time(issued)} if issued else {}),
        **({"previousUntil": view.format_time(left.last_end)} if left.last_end else {}),
    }


def _end(secret: Object) -> datetime | None:
    return view.parse_time(view.annotations(secret).get(names.ANNOTATION_REVOKE_AT, ""))
