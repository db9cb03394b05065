"""The harness's configuration: `e2e/config.yaml`, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml

from kubelb_e2e import quickyaml
from kubelb_e2e.errors import LabError, one_line

Intervals = Mapping[str, tuple[float, float]]
CONFIG = Path(__file__).resolve().parents[2] / "config.yaml"


class ConfigurationError(LabError):
    """The file cannot be used; the text says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The lab of a test run.

    Attributes:
        tenants: how many.
        nodes: how many each cluster has, by provider.
        ip_family: `ipv4` or `dual`, for providers that can choose.
    """

    tenants: int
    nodes: Mapping[str, int]
    ip_family: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the kind provider uses; empty texts mean that it looks for itself.

    Attributes:
        kind: path of the program.
        kubectl: path of the program.
        images: Kubernetes minor -> image of the nodes.
        kubernetes: the minor that is used unless another is asked for.
        node_mebibytes: memory of a control plane with the product's pods beside it, as measured.
        worker_mebibytes: memory of a further node.
        addresses: who gives Services their addresses: `lab`, `metallb` or `cloud-provider-kind`.
        metallb: path of MetalLB's manifest.
        cloud_provider_kind: path of the program.
    """

    kind: str
    kubectl: str
    images: Mapping[str, str]
    kubernetes: str
    node_mebibytes: int
    worker_mebibytes: int
    addresses: str
    metallb: str
    cloud_provider_kind: str

    def image(self, minor: str | None) -> str:
        """Return the node image of a Kubernetes minor; raises ConfigurationError."""
        wanted = minor or self.kubernetes
        try:
            return self.images[wanted]
        except KeyError:
            raise ConfigurationError(
                f"no node image for Kubernetes {wanted!r} in {CONFIG}; there are {', '.join(self.images)}, "
                "or name one: --kind-image"
            ) from None


def intervals(path: Path = CONFIG) -> Intervals:
    """Return name -> (longest wait, period), both in seconds."""
    try:
        found = _read(path)["intervals"]
        return {name: (float(longest), float(period)) for name, (longest, period) in found.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: expected intervals: {{name: [longest, period]}} in seconds: {error}"
        ) from error


def suite(path: Path = CONFIG) -> Suite:
    """Return what a test run's lab is like; raises ConfigurationError."""
    found: Suite = _section(path, "suite", Suite)
    return found


def kind(path: Path = CONFIG) -> Kind:
    """Return the kind provider's settings; raises ConfigurationError."""
    found: Kind = _section(path, "kind", Kind)
    return found


def _section(path: Path, name: str, shape: Any) -> Any:
    raw = _read(path).get(name)
    known = {item.name for item in fields(shape)}
    if not isinstance(raw, dict) or set(raw) != known:
        raise ConfigurationError(f"{path}: expected {name}: with exactly {', '.join(sorted(known))}")
    for key, hint in get_type_hints(shape).items():
        wanted = get_origin(hint) or hint
        if not isinstance(raw[key], wanted) or isinstance(raw[key], bool):
            word = {int: "a whole number", str: "a text"}.get(wanted, "a mapping")
            raise ConfigurationError(f"{path}: {name}.{key} is {raw[key]!r}: expected {word}")
    return shape(**raw)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = quickyaml.load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {one_line(str(error))}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: expected a mapping")
    return found
