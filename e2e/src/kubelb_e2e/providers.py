"""Which providers there are, and whose a lab is."""

from __future__ import annotations

from collections.abc import Mapping

from kubelb_e2e import product, provision
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Lab, Provider, Say
from kubelb_e2e.clusters.existing import ExistingProvider
from kubelb_e2e.clusters.kind.provider import KindProvider
from kubelb_e2e.clusters.local.provider import LocalProvider
from kubelb_e2e.errors import LabError

DEFAULT = "local"
_ALL: tuple[Provider, ...] = (
    LocalProvider(provision.binaries),
    KindProvider(),
    ExistingProvider(),
)
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}


def get(name: str) -> Provider:
    """Return a provider by the word for `--provider`; raises LabError."""
    try:
        return PROVIDERS[name]
    except KeyError:
        raise LabError(f"no provider {name!r}; there are {', '.join(PROVIDERS)}") from None


def of(lab: str, asked: str | None = None) -> Provider:
    """Return whose the lab of this name is: the one asked for, else its maker, else the default.

    Raises LabError: the lab was made by another provider than the one asked for.
    """
    maker = state.provider_of(state.lab_directory(lab))
    if asked and maker and asked != maker:
        raise LabError(
            f"lab {lab!r} is one of provider {maker!r}; end it: kubelb-e2e down --name {lab} --provider {maker}, "
            "or choose another name: --name"
        )
    return get(asked or maker or DEFAULT)


def down(lab: str, asked: str | None, *, say: Say) -> bool:
    """End a lab, and take the product out of clusters that stay; return whether there was anything."""
    provider = of(lab, asked)
    if provider.keeps_clusters and (found := _taken(provider, lab)) is not None:
        product.remove(found, say=say)
    return provider.down(lab, say=say)


def _taken(provider: Provider, lab: str) -> Lab | None:
    """Return the lab, None if it was not taken whole: then nothing was deployed."""
    try:
        return provider.find(lab)
    except LabError:
        return None
