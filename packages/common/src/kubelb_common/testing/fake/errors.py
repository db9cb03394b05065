"""The API server's refusals, worded as it words them, as errors of `kube.errors`."""

from __future__ import annotations

from kubelb_common.kube import errors
from kubelb_common.kube.port import Resource


def not_found(resource: Resource, name: str) -> errors.ApiError:
    """404: no object of this name."""
    return errors.from_status(404, "NotFound", f'{resource} "{name}" not found')


def no_such_kind() -> errors.ApiError:
    """404: the API server serves no such kind."""
    return errors.from_status(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> errors.ApiError:
    """409: an object of this name is there."""
    return errors.from_status(409, "AlreadyExists", f'{resource} "{name}" already exists')


def conflict(resource: Resource, name: str, why: str) -> errors.ApiError:
    """409: a precondition failed."""
    text = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return errors.from_status(409, "Conflict", text)


def stale(resource: Resource, name: str) -> errors.ApiError:
    """409: resourceVersion is not the stored one."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def invalid(resource: Resource, name: str, *causes: str) -> errors.ApiError:
    """422: validation refused the object; a cause reads `<field>: <what>`."""
    of = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    text = causes[0] if len(causes) == 1 else "[" + ", ".join(causes) + "]"
    return errors.from_status(422, "Invalid", f'{of} "{name}" is invalid: {text}')


def bad_request(text: str) -> errors.ApiError:
    """400: the request itself makes no sense."""
    return errors.from_status(400, "BadRequest", text)


def forbidden(resource: Resource, name: str, why: str) -> errors.ApiError:
    """403: authorisation or admission said no."""
    return errors.from_status(403, "Forbidden", f'{resource} "{name}" is forbidden: {why}')


def gone(asked: int, oldest: int) -> errors.ApiError:
    """410: the history before `oldest` is forgotten."""
    return errors.from_status(410, "Expired", f"too old resource version: {asked} ({oldest})")


def internal(text: str) -> errors.ApiError:
    """500: the server could not do it."""
    return errors.from_status(500, "InternalError", text)
