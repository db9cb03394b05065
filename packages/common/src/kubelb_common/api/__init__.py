"""The API `kubelb.k8c.io/v1alpha1`: seven kinds as records, and their CRDs.

Pure: no client, clock or logger. `from_dict` raises MalformedObject and nothing else.
"""

from __future__ import annotations

from kubelb_common.api.addresses import Addresses
from kubelb_common.api.config import Config
from kubelb_common.api.errors import MalformedObject
from kubelb_common.api.kind import Kind
from kubelb_common.api.loadbalancer import LoadBalancer
from kubelb_common.api.route import Route
from kubelb_common.api.syncsecret import SyncSecret
from kubelb_common.api.tenant import Tenant
from kubelb_common.api.tenantstate import TenantState

KINDS: tuple[type[Kind], ...] = (Addresses, Config, LoadBalancer, Route, SyncSecret, Tenant, TenantState)

__all__ = [
    "KINDS",
    "Addresses",
    "Config",
    "Kind",
    "LoadBalancer",
    "MalformedObject",
    "Route",
    "SyncSecret",
    "Tenant",
    "TenantState",
]
