"""What can go wrong when talking to an API server, split by what the caller does about it.

KubeError
├── Unreachable          no answer: wait and try again
├── ConfigError          kubeconfig or credentials are unusable: a person must act
└── ApiError             the server answered with a Status
    ├── Unauthorized     401: the credential is not accepted
    ├── Forbidden        403: RBAC, quota or admission said no
    ├── NotFound         404
    ├── AlreadyExists    409, reason AlreadyExists
    ├── Conflict         409: somebody wrote in between; read again
    ├── Gone             410: the resourceVersion is too old; list again
    ├── Invalid          422: validation refused the object
    ├── TooManyRequests  429: slow down; `retry_after` says how long
    └── ServerError      5xx: wait and try again
"""

from __future__ import annotations


class KubeError(Exception):
    """Root of everything that the door to a cluster raises."""


class Unreachable(KubeError):  # noqa: N818 - the name of the HTTP status
    """No answer came: connection refused, cut, or timed out."""


class ConfigError(KubeError):
    """A kubeconfig or in-cluster credential cannot be used; the text says which file and what to do."""


class ApiError(KubeError):
    """The API server answered with an error.

    Attributes:
        code: the HTTP status.
        reason: the Status' machine-readable reason, may be empty.
        message: the Status' text, cut to 1,000 characters.
        retry_after: seconds the server asked us to wait, or None.
    """

    def __init__(self, code: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unauthorized(ApiError):  # noqa: N818 - the name of the HTTP status
    """401: the credential is not accepted."""


class Forbidden(ApiError):  # noqa: N818 - the name of the HTTP status
    """403: RBAC, a quota or an admission plug-in said no."""


class NotFound(ApiError):  # noqa: N818 - the name of the HTTP status
    """404: no such object, or no such kind."""


class Conflict(ApiError):  # noqa: N818 - the name of the HTTP status
    """409: the object changed since it was read, or a precondition failed."""


class AlreadyExists(Conflict):
    """409 with reason AlreadyExists: an object of this name is there."""


class Gone(ApiError):  # noqa: N818 - the name of the HTTP status
    """410: the resourceVersion is too old; list again."""


class Invalid(ApiError):  # noqa: N818 - the name of the HTTP status
    """422: validation refused the object."""


class TooManyRequests(ApiError):  # noqa: N818 - the name of the HTTP status
    """429: slow down."""


class ServerError(ApiError):
    """5xx: the server is ill; wait and try again."""


_BY_CODE: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}

_MESSAGE_MAX = 1000


def from_status(code: int, reason: str, message: str, *, retry_after: float | None = None) -> ApiError:
    """Return the error of this tree for an API server's answer."""
    kind = _BY_CODE.get(code, ServerError if code >= 500 else ApiError)
    if code == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(code, reason, message[:_MESSAGE_MAX], retry_after=retry_after)
