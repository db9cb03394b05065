"""Entry point: `python -m kubelb_e2e.clusters.local.agent --spec FILE`, run in the node's network namespace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import ConfigError
from kubelb_common.kube.resources import CONFIG_MAPS, PODS, SECRETS
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.supervisor import Crash, Supervisor
from kubelb_common.telemetry import logs
from kubelb_e2e import catalogue
from kubelb_e2e.catalogue import CatalogueError, Image
from kubelb_e2e.clusters.local.agent import process, rootfs, server
from kubelb_e2e.clusters.local.agent.agent import Agent
from kubelb_e2e.clusters.local.agent.cluster import Shared
from kubelb_e2e.clusters.local.agent.env import service_env
from kubelb_e2e.clusters.local.model import API_SERVICE_ADDRESS, NodeSpec


@click.command()
@click.option("--spec", "spec_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(spec_file: Path) -> None:
    """Run the pods that are bound to one node of the lab."""
    logs.configure("info", json=False)
    try:
        spec = NodeSpec.load(spec_file)
        images = catalogue.load(spec.images)
        source = kubeconfig.load(spec.kubeconfig)
    except (OSError, ValueError, TypeError, CatalogueError, ConfigError) as error:
        raise click.ClickException(f"{spec_file}: {error}") from error
    try:
        asyncio.run(_run(spec, images, source))
    except Crash:
        sys.exit(1)


async def _run(spec: NodeSpec, images: dict[str, Image], source: kubeconfig.Source) -> None:
    process.become_subreaper()
    client = AioClient(source, user_agent="kubelet-testbed")
    supervisor = Supervisor()
    pods = Informer(client, PODS, field_selector=f"spec.nodeName={spec.name}")
    secrets, config_maps = Informer(client, SECRETS), Informer(client, CONFIG_MAPS)
    shared = Shared(
        spec=spec,
        client=client,
        secrets=secrets.store,
        config_maps=config_maps.store,
        catalogue=images,
        system=rootfs.system_mounts([catalogue.TOOLS]),
        service_env=service_env(API_SERVICE_ADDRESS),
    )
    agent = Agent(shared)
    for informer in (secrets, config_maps):
        informer.on_change(agent.reference_changed)
        supervisor.informer(informer)
    pods.on_change(agent.pod_changed)
    supervisor.informer(pods)
    supervisor.service("pods", agent.run)
    supervisor.service("port 10250", lambda: server.serve(spec, agent.logs_of))
    try:
        await supervisor.run()
    finally:
        await client.close()


if __name__ == "__main__":
    main()
