"""The agent's composition root."""

from __future__ import annotations

from kubelb_common.runtime.clock import SystemClock
from kubelb_common.runtime.supervisor import Supervisor
from kubelb_manager.agent.admin import AdminClient
from kubelb_manager.agent.drain import Drain
from kubelb_manager.agent.server import AgentServer
from kubelb_manager.options import AgentOptions


async def run(options: AgentOptions) -> None:
    """Run the agent until SIGTERM or SIGINT, which come when Envoy has ended.

    Raises:
        Fault: its port cannot be used, or it crashed.
    """
    envoy = AdminClient(f"http://{options.admin.host}:{options.admin.port}", options.own_ports)
    drain = Drain(envoy, SystemClock(), timeout=options.drain_timeout, minimum=options.min_drain)
    server = AgentServer(options.listen.host, options.listen.port, envoy, drain, options.drain_token)
    supervisor = Supervisor()
    supervisor.service("agent", server.run)
    await supervisor.run()
