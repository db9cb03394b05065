"""The first configuration of Envoys, from what the manager was told and from settings."""

from __future__ import annotations

from dataclasses import replace

from kubelb_manager.bootstrap.render import BootstrapOptions, OverloadLimits, TlsFiles, render
from kubelb_manager.desired.envoy_fleet import XDS_MOUNT
from kubelb_manager.options import Options
from kubelb_manager.settings.merged import Overload


def bootstrap_options(options: Options) -> BootstrapOptions:
    """Return how Envoys find the control plane and prove who they are."""
    return BootstrapOptions(
        xds_host=options.xds_host,
        xds_port=options.xds_port,
        tls=TlsFiles(directory=XDS_MOUNT, server_name=options.xds_host, sds_directory=XDS_MOUNT),
    )


def bootstrap_text(base: BootstrapOptions, overload: Overload) -> str:
    """Return the configuration for `--config-yaml`."""
    if not overload.enabled:
        return render(base)
    limits = OverloadLimits(max_heap_bytes=overload.max_heap_bytes, max_connections=overload.max_connections)
    return render(replace(base, overload=limits))
