"""Requests that store nothing: TokenRequest, TokenReview."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta

from kubelb_common.kube.port import Object, Resource
from kubelb_common.testing.fake import errors
from kubelb_common.testing.fake.store import Store

_TOKEN_PREFIX = "fake-token"  # noqa: S105 - not a secret: the start of every token of a fake cluster


def create(
    store: Store, resource: Resource, name: str, subresource: str, body: Object, *, namespace: str | None
) -> Object:
    """Answer a POST to a subresource; raises NotFound for one that does not exist here."""
    if (resource.plural, subresource) != ("serviceaccounts", "token"):
        raise errors.no_such_kind()
    account = store.get(resource, name, namespace)
    seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
    if seconds < 600:
        raise errors.invalid(resource, name, "spec.expirationSeconds: may not specify a duration less than 10 minutes")
    expires = store.options.now() + timedelta(seconds=seconds)
    answer = copy.deepcopy(body)
    answer["apiVersion"], answer["kind"] = "authentication.k8s.io/v1", "TokenRequest"
    answer.setdefault("spec", {})["expirationSeconds"] = seconds
    token = f"{_TOKEN_PREFIX}.{namespace}.{name}.{account['metadata']['uid']}.{store.history.version}"
    answer["status"] = {"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return answer


def review(store: Store, resource: Resource) -> Callable[[Object], Object] | None:
    """Return what answers a create of a review kind, or None for kinds that are stored."""
    if (resource.group, resource.plural) == ("authentication.k8s.io", "tokenreviews"):
        return lambda body: _review_token(store, body)
    return None


def token_user(store: Store, token: str) -> str | None:
    """Return the user name that a token of this cluster stands for, or None."""
    parts = token.split(".")
    if len(parts) != 5 or parts[0] != _TOKEN_PREFIX:
        return None
    _, namespace, name, uid, _ = parts
    accounts = store.stored(Resource("", "v1", "serviceaccounts", "ServiceAccount"))
    if any(account["metadata"]["uid"] == uid for account in accounts):
        return f"system:serviceaccount:{namespace}:{name}"
    return None


def _review_token(store: Store, body: Object) -> Object:
    answer = copy.deepcopy(body)
    user = token_user(store, (body.get("spec") or {}).get("token", ""))
    answer["status"] = {"authenticated": True, "user": {"username": user}} if user else {"authenticated": False}
    return answer
