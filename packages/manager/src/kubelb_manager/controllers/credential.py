"""A tenant's credential: the token in use, the kubeconfig that carries it, the end of tokens before it."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_manager.controllers import apply, kubeconfig_source
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import credential
from kubelb_manager.desired import tenant as desired


@dataclass(frozen=True, slots=True)
class Issued:
    """A kubeconfig that works.

    Attributes:
        status: `status.credential` of the Tenant.
        again: seconds until a token before it ends; None if there is none.
    """

    status: Object
    again: float | None


async def ensure(hub: Hub, tenant: Object, clock: Clock) -> Issued | None:
    """Bring token Secrets and kubeconfig one or more steps on, as `desired.credential` tells them.

    Returns:
        None while the API server's token controller has not filled in the wanted token.
    """
    home = desired.tenant_namespace(tenant)
    kind = f"type={credential.TOKEN_TYPE}"
    listed = await hub.client.list(resources.SECRETS, home, field_selector=kind)
    present = credential.generations(listed.items)
    wanted = credential.wanted_generation(tenant, present)
    goal = desired.token_secret(tenant, wanted)
    live = present.get(wanted) or await apply.read(hub, resources.SECRETS, view.name(goal), home)
    secret = await apply.ensure(hub, resources.SECRETS, goal, live)
    token, authority = view.text(secret, "data", "token"), view.text(secret, "data", "ca.crt")
    if not token or not authority:
        return None
    await _kubeconfig(hub, tenant, token=base64.b64decode(token).decode(), authority=base64.b64decode(authority))
    now = clock.now()
    left = credential.plan(tenant, present, wanted, now)
    for number in left.ended:
        await apply.remove(hub, resources.SECRETS, present[number])
    for number, end in left.ending.items():
        goal = desired.token_secret(tenant, number, ends=end)
        await apply.ensure(hub, resources.SECRETS, goal, present[number])
    again = (left.next_end - now).total_seconds() if left.next_end is not None else None
    return Issued(credential.status(wanted, secret, left), again)


async def _kubeconfig(hub: Hub, tenant: Object, *, token: str, authority: bytes) -> None:
    server = await kubeconfig_source.server(hub.client)
    goal = desired.kubeconfig_secret(tenant, server=server, ca=authority, token=token)
    live = await apply.read(hub, resources.SECRETS, view.name(goal), view.namespace(goal))
    await apply.ensure(hub, resources.SECRETS, goal, live)
