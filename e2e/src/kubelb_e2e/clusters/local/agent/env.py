"""A container's environment, command and arguments, as the kubelet composes them. Pure.

Order, later wins: the image's, the API server's Service, `envFrom` in order, `env` in order. `$(NAME)` is replaced by
what was defined before it; `$$` stands for `$`; an unknown name stays as it is written.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kubelb_common.objects import view
from kubelb_common.objects.view import Object
from kubelb_e2e.catalogue import Image
from kubelb_e2e.clusters.local.agent import fields

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingReference(Exception):  # noqa: N818 - named for what it says
    """A ConfigMap, Secret or key that a pod needs is not there; the text names it."""


class Sources(Protocol):
    """Where ConfigMaps and Secrets of the pod's namespace come from."""

    def config_map(self, name: str) -> Object | None:
        """Return the ConfigMap or None."""

    def secret(self, name: str) -> Object | None:
        """Return the Secret or None."""


@dataclass(frozen=True, slots=True)
class EnvContext:
    """What environment variables can refer to."""

    pod: Object
    facts: fields.Facts
    sources: Sources
    service_env: Mapping[str, str]


def service_env(address: str, port: int = 443) -> dict[str, str]:
    """Return the variables that tell a pod where its API server is."""
    url = f"tcp://{address}:{port}"
    head = f"KUBERNETES_PORT_{port}_TCP"
    return {
        "KUBERNETES_SERVICE_HOST": address,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
        "KUBERNETES_PORT": url,
        head: url,
        f"{head}_PROTO": "tcp",
        f"{head}_PORT": str(port),
        f"{head}_ADDR": address,
    }


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by `known[NAME]` and `$$` by `$`."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] else known.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def environment(container: Object, image: Image, context: EnvContext) -> dict[str, str]:
    """Return the container's environment; raises MissingReference."""
    known = {"PATH": DEFAULT_PATH, "HOME": "/root", **image.env, "HOSTNAME": hostname(context.pod)}
    known.update(context.service_env)
    for source in view.objects(container, "envFrom"):
        known.update(_env_from(source, context.sources))
    for item in view.objects(container, "env"):
        value = _value(item, container, context)
        if value is not None:
            known[item["name"]] = expand(value, known) if "valueFrom" not in item else value
    return known


def command_line(container: Object, image: Image, known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words to execute: `command` replaces all of the image's, `args` alone replaces its arguments."""
    command, args = container.get("command"), container.get("args")
    words = [*command, *(args or [])] if command else [*image.command, *(args or image.args)]
    return tuple(expand(word, known) for word in words)


def hostname(pod: Object) -> str:
    """Return the pod's host name, at most 63 characters."""
    return (view.text(pod, "spec", "hostname") or view.name(pod))[:63].rstrip("-.")


def read_key(kind: str, holder: Object | None, name: str, key: str) -> bytes:
    """Return one value of a ConfigMap or Secret; raises MissingReference."""
    if holder is None:
        raise MissingReference(f'{kind.lower()} "{name}" not found')
    values = data_of(kind, holder)
    if key not in values:
        raise MissingReference(f"couldn't find key {key} in {kind} {view.namespace(holder)}/{name}")
    return values[key]


def data_of(kind: str, holder: Object) -> dict[str, bytes]:
    """Return all values of a ConfigMap or Secret."""
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (holder.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (holder.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (holder.get("binaryData") or {}).items()}


def find(kind: str, name: str, sources: Sources) -> Object | None:
    """Return the ConfigMap or Secret called `name`, or None."""
    return sources.secret(name) if kind == "Secret" else sources.config_map(name)


def _env_from(source: Object, sources: Sources) -> dict[str, str]:
    for field_name, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        reference = source.get(field_name)
        if reference is None:
            continue
        holder = find(kind, reference["name"], sources)
        if holder is None:
            if reference.get("optional"):
                return {}
            raise MissingReference(f'{kind.lower()} "{reference["name"]}" not found')
        prefix = source.get("prefix") or ""
        return {prefix + key: value.decode(errors="replace") for key, value in data_of(kind, holder).items()}
    return {}


def _value(item: Object, container: Object, context: EnvContext) -> str | None:
    """Return a variable's text before expansion, or None for an optional reference to nothing."""
    source = item.get("valueFrom")
    if source is None:
        return str(item.get("value") or "")
    if "fieldRef" in source:
        path = source["fieldRef"]["fieldPath"]
        try:
            return fields.field(context.pod, path, context.facts)
        except KeyError:
            raise MissingReference(f"env {item['name']}: field {path} is not supported by this testbed") from None
    if "resourceFieldRef" in source:
        containers = {each["name"]: each for each in view.objects(context.pod, "spec", "containers")}
        return fields.resource(containers, source["resourceFieldRef"], container["name"])
    for field_name, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        reference = source.get(field_name)
        if reference is not None:
            holder = find(kind, reference["name"], context.sources)
            try:
                return read_key(kind, holder, reference["name"], reference["key"]).decode(errors="replace")
            except MissingReference:
                if reference.get("optional"):
                    return None
                raise
    raise MissingReference(f"env {item['name']}: this valueFrom is not supported by this testbed")
