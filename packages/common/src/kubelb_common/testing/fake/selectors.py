"""Label and field selectors, as the API server parses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from kubelb_common.kube.port import Object, Resource
from kubelb_common.testing.fake import errors, kinds

Matcher = Callable[[Object], bool]
Labels = Mapping[str, str]

_KEY = r"[A-Za-z0-9./_-]+"
_SET = re.compile(rf"^\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EQUAL = re.compile(rf"^\s*({_KEY})\s*(==|!=|=)\s*([^\s=!]*)\s*$")
_EXISTS = re.compile(rf"^\s*(!?)\s*({_KEY})\s*$")
_COMMA_OUTSIDE_SET = re.compile(r",(?![^(]*\))")


def selector(resource: Resource, label_selector: str | None, field_selector: str | None) -> Matcher:
    """Return the predicate of both selectors; raises a 400 for what cannot be parsed or selected."""
    by_label = [_label_term(term) for term in _terms(label_selector)]
    by_field = [_field_term(resource, term) for term in _terms(field_selector)]

    def matches(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(term(labels) for term in by_label) and all(term(obj) for term in by_field)

    return matches


def _terms(text: str | None) -> list[str]:
    return _COMMA_OUTSIDE_SET.split(text) if text else []


def _label_term(term: str) -> Callable[[Labels], bool]:
    if found := _SET.match(term):
        key, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(term):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(term):
        absent, key = found.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise errors.bad_request(f"unable to parse requirement: {term!r}")


def _field_term(resource: Resource, term: str) -> Matcher:
    found = _EQUAL.match(term)
    if not found:
        raise errors.bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    path, operator, wanted = found.groups()
    if path not in kinds.selectable_fields(resource):
        raise errors.bad_request(f"field label not supported: {path}")
    return lambda obj: (_field(obj, path) == wanted) == (operator != "!=")


def _field(obj: Object, path: str) -> str:
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
