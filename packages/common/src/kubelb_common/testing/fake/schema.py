"""Custom kinds: pruning, defaults and structural validation by their CRD, as the API server does it.

Order on a write: null values of defaulted fields go, unknown fields are pruned, defaults are filled
in, then the schema and list types are checked. CEL rules (`x-kubernetes-validations`) and string
formats other than `byte` are *not* evaluated: what only they refuse passes here and is refused by a real API server.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jsonschema

from kubelb_common.kube.port import Object, Resource

Schema = dict[str, Any]
_ROOT = {"apiVersion", "kind", "metadata"}
_KEYWORDS = {
    "type", "enum", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties",
    "maxProperties",
}  # fmt: skip
#: As the API server reads it: the empty string is none, nor is one with line ends.
_BYTE = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")
_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("byte")
def _is_byte(value: object) -> bool:
    return not isinstance(value, str) or _BYTE.fullmatch(value) is not None


class CustomKind:
    """One served version of a CRD."""

    def __init__(self, crd: Object, version: Object) -> None:
        spec = crd["spec"]
        plural, kind = spec["names"]["plural"], spec["names"]["kind"]
        namespaced = spec["scope"] == "Namespaced"
        self.resource = Resource(spec["group"], version["name"], plural, kind, namespaced=namespaced)
        self.has_status = "status" in (version.get("subresources") or {})
        self.schema: Schema = (version.get("schema") or {}).get("openAPIV3Schema") or {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }

    @cached_property
    def _validator(self) -> jsonschema.Draft4Validator:
        return jsonschema.Draft4Validator(_to_json_schema(self.schema), format_checker=_FORMATS)

    def complete(self, obj: Object) -> Object:
        """Return `obj` pruned and with defaults."""
        body = {key: value for key, value in obj.items() if key not in _ROOT}
        root = {key: obj[key] for key in _ROOT if key in obj}
        return {**root, **_complete(body, self.schema, top=True)}

    def faults(self, obj: Object) -> list[str]:
        """Return what the schema refuses, as `<field>: <what>`."""
        body = {key: value for key, value in obj.items() if key not in _ROOT}
        found = [f"{_path(error.absolute_path)}: {error.message}" for error in self._validator.iter_errors(body)]
        return sorted(found) + list(_list_faults(body, self.schema, ""))


def versions(crd: Object) -> list[CustomKind]:
    """Return the served versions of a CRD."""
    return [CustomKind(crd, version) for version in crd["spec"]["versions"] if version.get("served", True)]


def _complete(value: Any, schema: Schema, *, top: bool = False) -> Any:
    """Prune and default one value; the schema of `top` is an object's without its metadata."""
    if isinstance(value, dict):
        return _complete_object(value, schema, top=top)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_complete(item, schema["items"]) for item in value]
    return value


def _complete_object(value: Object, schema: Schema, *, top: bool) -> Object:
    properties: dict[str, Schema] = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    keep_all = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or extra is True
    embedded = _ROOT if schema.get("x-kubernetes-embedded-resource") else set()
    result: Object = {}
    for key, item in value.items():
        if key in properties:
            field = properties[key]
            if item is None and "default" in field and not field.get("nullable"):
                continue
            result[key] = _complete(item, field)
        elif isinstance(extra, dict):
            result[key] = _complete(item, extra)
        elif keep_all or key in embedded:
            result[key] = item
    for key, field in properties.items():
        if key not in result and "default" in field and not (top and key in _ROOT):
            result[key] = _complete(copy.deepcopy(field["default"]), field)
    return result


def _to_json_schema(schema: Schema) -> Schema:
    result: Schema = {key: value for key, value in schema.items() if key in _KEYWORDS}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if "properties" in schema:
        result["properties"] = {key: _to_json_schema(item) for key, item in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            result[key] = _to_json_schema(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            result[key] = [_to_json_schema(item) for item in schema[key]]
    if schema.get("x-kubernetes-embedded-resource"):
        result["required"] = sorted({*result.get("required", ()), "apiVersion", "kind"})
    if schema.get("nullable"):
        return {"anyOf": [{"type": "null"}, result]}
    return result


def _list_faults(value: Any, schema: Schema, where: str) -> Iterator[str]:
    """Yield duplicates in lists that are declared as sets or maps."""
    if isinstance(value, dict):
        properties: dict[str, Schema] = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        for key, item in value.items():
            field = properties.get(key) or (extra if isinstance(extra, dict) else None)
            if field:
                yield from _list_faults(item, field, f"{where}.{key}" if where else key)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        seen: list[Any] = []
        for index, item in enumerate(value):
            identity = _identity(item, schema)
            if identity is not None and identity in seen:
                yield f"{where}[{index}]: Duplicate value: {identity}"
            seen.append(identity)
            yield from _list_faults(item, schema["items"], f"{where}[{index}]")


def _identity(item: Any, schema: Schema) -> Any:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return item
        case "map" if isinstance(item, dict):
            return {key: item.get(key) for key in schema["x-kubernetes-list-map-keys"]}
    return None


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "<root>"
