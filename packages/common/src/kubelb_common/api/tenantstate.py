"""TenantState: what a tenant may know of its own standing. One object, `default`, in each tenant namespace."""

from __future__ import annotations

from typing import ClassVar

from kubelb_common.api.kind import Column, Kind, KindInfo
from kubelb_common.api.meta import CONDITION_LIST, Condition, Empty
from kubelb_common.api.record import Record, field, record
from kubelb_common.api.settings import Limits
from kubelb_common.api.version import Version


@record
class LoadBalancerState(Record):
    """Layer 4 for this tenant."""

    disable: bool = field("Whether it is switched off, by Tenant or Config.", default=False)


@record
class TenantStateStatus(Record):
    """What the tenant may know."""

    version: Version | None = field("Version of the manager.", default=None)
    last_updated: str = field("When this was written.", default="", schema={"format": "date-time"})
    phase: str = field(
        "Terminating once the tenant is being removed: the agent then releases its finalizers; else absent.",
        default="",
        schema={"enum": ["Ready", "Terminating"]},
    )
    conditions: tuple[Condition, ...] = field("Standing of the tenant.", default=(), schema=CONDITION_LIST)
    load_balancer: LoadBalancerState = field("Layer 4.", default_factory=LoadBalancerState)
    limits: Limits = field("Upper bounds for this tenant; what is absent is not limited.", default_factory=Limits)


@record
class TenantState(Kind):
    """The tenant's standing, written by the manager and read by the tenant's agent."""

    info: ClassVar[KindInfo] = KindInfo(
        "TenantState", "tenantstates", "tenantstate", columns=(Column("Edition", ".status.version.edition"),)
    )

    kind: str = field(default="TenantState")
    spec: Empty = field(default_factory=Empty)
    status: TenantStateStatus = field(default_factory=TenantStateStatus)
