"""Defaults and refusals of the built-in kinds, as far as our system can notice them."""

from __future__ import annotations

import base64
import re

from kubelb_common.kube.port import Object, Resource
from kubelb_common.kube.resources import CRDS, DAEMON_SETS, DEPLOYMENTS, NAMESPACES, SECRETS, SERVICES
from kubelb_common.testing.fake import errors, kinds

SECRET_MAX = 1024 * 1024
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def check_body(resource: Resource, obj: Object, namespace: str) -> None:
    """Refuse a body that does not belong to the address it was sent to."""
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if not kinds.built_in(resource) and not (kind and version):
        raise errors.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    if (kind and kind != resource.kind) or (version and version != resource.api_version):
        given, wanted = f"{version}, Kind={kind}", f"{resource.api_version}, Kind={resource.kind}"
        raise errors.bad_request(f"{given} in the body does not match the resource's {wanted}")
    inside = obj["metadata"].get("namespace")
    if resource.namespaced and inside and inside != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def is_held(resource: Resource, obj: Object) -> bool:
    """Whether finalizers keep the object when it is deleted."""
    held = bool(obj["metadata"].get("finalizers"))
    return held or (resource == NAMESPACES and bool(obj["spec"].get("finalizers")))


def complete(resource: Resource, new: Object, old: Object | None) -> Object:
    """Return `new` with the defaults of its kind; raises Invalid for what the kind forbids."""
    if resource == NAMESPACES:
        _complete_namespace(new, old)
    elif resource == SECRETS:
        _complete_secret(new, old)
    elif resource == CRDS:
        _complete_crd(new)
    elif resource in {DEPLOYMENTS, DAEMON_SETS}:
        _check_workload(resource, new, old)
    elif old is None and resource == SERVICES:
        new["status"] = {"loadBalancer": {}}
    return new


def _complete_namespace(new: Object, old: Object | None) -> None:
    info = new["metadata"]
    info["labels"] = {**(info.get("labels") or {}), NAMESPACE_LABEL: info["name"]}
    if old is None:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}


def _complete_secret(new: Object, old: Object | None) -> None:
    for key, text in (new.pop("stringData", None) or {}).items():
        new.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    new.setdefault("type", "Opaque")
    name = new["metadata"]["name"]
    for key, value in (new.get("data") or {}).items():
        try:
            content = base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
            new["data"][key] = base64.b64encode(content).decode()
        except (ValueError, AttributeError):
            raise errors.bad_request(f"Secret {name}: data[{key}] is not base64") from None
    if old is not None and (frozen := _frozen_in_secret(new, old)):
        raise errors.invalid(SECRETS, name, *frozen)
    if faults := _secret_faults(new):
        raise errors.invalid(SECRETS, name, *faults)


def _frozen_in_secret(new: Object, old: Object) -> list[str]:
    """Return what may not change any more."""
    faults = [] if new["type"] == old["type"] else ["type: Invalid value: field is immutable"]
    if not old.get("immutable"):
        return faults
    if not new.get("immutable"):
        faults.append("immutable: Forbidden: field is immutable when `immutable` is set")
    if (new.get("data") or {}) != (old.get("data") or {}):
        faults.append("data: Forbidden: field is immutable when `immutable` is set")
    return faults


def _secret_faults(new: Object) -> list[str]:
    data: Object = new.get("data") or {}
    faults = [
        f'data[{key}]: Invalid value: "{key}": a valid config key must consist of alphanumeric characters, -, _ or .'
        for key in data
        if not _DATA_KEY.fullmatch(key) or len(key) > 253 or key == "." or key.startswith("..")
    ]
    if sum(len(base64.b64decode(value)) for value in data.values()) > SECRET_MAX:
        faults.append(f"data: Too long: may not be more than {SECRET_MAX} bytes")
    if new["type"] == "kubernetes.io/tls":
        faults += [f"data[{key}]: Required value" for key in ("tls.crt", "tls.key") if key not in data]
    if new["type"] == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        faults += [f"data[{key}]: Required value" for key in ("username", "password")]
    return faults


def _check_workload(resource: Resource, new: Object, old: Object | None) -> None:
    name, spec = new["metadata"]["name"], new.get("spec") or {}
    selector = spec.get("selector") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    faults = []
    if not selector:
        faults.append("spec.selector: Required value")
    if not wanted.items() <= labels.items():
        faults.append(f"spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match labels")
    if not ((spec.get("template") or {}).get("spec") or {}).get("containers"):
        faults.append("spec.template.spec.containers: Required value")
    if old is not None and selector != old["spec"].get("selector"):
        faults.append("spec.selector: Invalid value: field is immutable")
    if faults:
        raise errors.invalid(resource, name, *faults)


def _complete_crd(new: Object) -> None:
    spec = new["spec"]
    expected = f"{spec['names']['plural']}.{spec['group']}"
    if new["metadata"]["name"] != expected:
        raise errors.invalid(CRDS, new["metadata"]["name"], f"metadata.name: Invalid value: must be {expected}")
    accepted = {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"}
    established = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    new["status"] = {
        "conditions": [accepted, established],
        "acceptedNames": spec["names"],
        "storedVersions": stored,
    }
