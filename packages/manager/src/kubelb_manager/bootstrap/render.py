"""Envoy's first configuration, as JSON, which is YAML too.

It is fixed for a fleet: which listeners, clusters and routes there are comes by delta ADS. The node id contains
the pod's name, so it is given on Envoy's command line (`--service-node`, `--service-cluster`), not here.

Certificates are files of a mounted Secret, which the kubelet exchanges as a whole by renaming a directory's
link. Envoy follows that only for secrets that come by SDS, so `files` also gives two small constant SDS files that name
the certificate files and the directory to watch. With `sds_directory` None the certificates are named
in the bootstrap itself: simpler, and read once at Envoy's start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kubelb_common import names

_TYPES = "type.googleapis.com/envoy."
_XDS_CLUSTER = "xds_cluster"
_ADMIN_CLUSTER = "admin_cluster"
_UNLIMITED = 1_000_000

#: Names of the files that `files` returns.
BOOTSTRAP_FILE = "envoy.json"
CERTIFICATE_SDS_FILE = "xds-certificate.json"
CA_SDS_FILE = "xds-ca.json"

_CERTIFICATE_SDS = "xds-certificate"
_CA_SDS = "xds-ca"

#: What is counted. Default statistics of 20,000 hosts stall Envoy's main thread for up to 1.6 s at each flush.
_STATS = (
    {"prefix": "server."},
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "control_plane."},
    {"prefix": "overload."},
    {"prefix": f"cluster.{_XDS_CLUSTER}.upstream_cx_"},
    {"prefix": "http.http.downstream_"},
    {"suffix": ".update_rejected"},
    {"suffix": ".upstream_rq_2xx"},
    {"suffix": ".upstream_rq_4xx"},
    {"suffix": ".upstream_rq_5xx"},
    {"suffix": ".upstream_rq_retry"},
    {"suffix": ".upstream_cx_total"},
    {"suffix": ".upstream_cx_active"},
    {"suffix": ".upstream_cx_connect_fail"},
    {"suffix": ".membership_healthy"},
    {"suffix": ".membership_total"},
    {"suffix": ".downstream_cx_total"},
    {"suffix": ".downstream_cx_active"},
    {"suffix": ".downstream_sess_active"},
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the pod finds its identity: a mounted Secret with `tls.crt`, `tls.key` and `ca.crt`.

    Attributes:
        directory: where the Secret is mounted.
        server_name: DNS name that the manager's certificate must carry.
        sds_directory: where the SDS files of `files` are mounted; None names certificate files directly.
    """

    directory: str = "/etc/envoy/xds"
    server_name: str = f"{names.XDS_SERVICE}.{names.MANAGER_NAMESPACE}.svc"
    sds_directory: str | None = None


@dataclass(frozen=True, slots=True)
class OverloadLimits:
    """Limits of a whole Envoy process.

    Attributes:
        max_heap_bytes: memory is released at 95 % of it, and requests are refused at 98 %.
        max_connections: from clients, over all listeners.
    """

    max_heap_bytes: int | None = None
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """What a fleet's bootstrap depends on.

    Attributes:
        xds_host: name or address of the manager's xDS server.
        xds_port: its port.
        tls: identity and trust; None is plaintext, only for tests on loopback.
        overload: limits of the process; None sets none.
        admin_port, stats_port, ready_port: Envoy's own ports. Admin listens on loopback only.
        ipv6: whether the stats and ready listeners bind `::` (and IPv4 with it).
        node_id, node_cluster: where the command line does not give them (tests).
    """

    xds_host: str = f"{names.XDS_SERVICE}.{names.MANAGER_NAMESPACE}.svc"
    xds_port: int = names.XDS_PORT
    tls: TlsFiles | None = TlsFiles()
    overload: OverloadLimits | None = None
    admin_port: int = names.ENVOY_ADMIN_PORT
    stats_port: int = names.ENVOY_STATS_PORT
    ready_port: int = names.ENVOY_READY_PORT
    ipv6: bool = True
    node_id: str | None = None
    node_cluster: str | None = None


def render(options: BootstrapOptions) -> str:
    """Return the bootstrap as JSON text that ends in a newline; the same options give the same text."""
    return _text(_bootstrap(options))


def files(options: BootstrapOptions) -> dict[str, str]:
    """Return the bootstrap and, where asked for, its SDS files: file name -> text. Mount them in one directory."""
    return {BOOTSTRAP_FILE: render(options), **sds_files(options)}


def sds_files(options: BootstrapOptions) -> dict[str, str]:
    """Return the constant SDS files, where asked for: file name -> text. They lie beside the certificate."""
    out: dict[str, str] = {}
    if options.tls is not None and options.tls.sds_directory is not None:
        out[CERTIFICATE_SDS_FILE] = _text(_sds(_CERTIFICATE_SDS, {"tls_certificate": _certificate(options.tls)}))
        out[CA_SDS_FILE] = _text(_sds(_CA_SDS, {"validation_context": _validation(options.tls)}))
    return out


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _bootstrap(options: BootstrapOptions) -> dict[str, Any]:
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    out: dict[str, Any] = {
        "admin": {"address": _socket("127.0.0.1", options.admin_port)},
        "dynamic_resources": {"ads_config": _ads_config(), "cds_config": ads, "lds_config": ads},
        "static_resources": {
            "clusters": [_xds_cluster(options), _admin_cluster(options.admin_port)],
            "listeners": [
                _passing_listener("stats", options.stats_port, "/stats/prometheus", ipv6=options.ipv6),
                _passing_listener("ready", options.ready_port, "/ready", ipv6=options.ipv6),
            ],
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(_STATS)}}},
        "stats_flush_on_admin": True,
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "layered_runtime": {
            "layers": [
                # Patterns are ours, built from checked host names; a program larger than this is a mistake.
                {"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}},
                # Limits of tenants. A manager that does not answer holds up no Envoy.
                {
                    "name": names.RUNTIME_LAYER,
                    "rtds_layer": {
                        "name": names.RUNTIME_LAYER,
                        "rtds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"},
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }
    if options.node_id is not None:
        out["node"] = {"id": options.node_id, "cluster": options.node_cluster or options.node_id.rpartition("/")[0]}
    if options.overload is not None:
        out["overload_manager"] = _overload_manager(options.overload)
    return out


def _ads_config() -> dict[str, Any]:
    # The back-off has an effect only inside envoy_grpc. The default one grows to 30 s, in which an Envoy that starts
    # while its manager restarts would serve nothing.
    back_off = {"base_interval": "0.1s", "max_interval": "1s"}
    service = {"envoy_grpc": {"cluster_name": _XDS_CLUSTER, "retry_policy": {"retry_back_off": back_off}}}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [service],
    }


def _xds_cluster(options: BootstrapOptions) -> dict[str, Any]:
    http2 = {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
    out: dict[str, Any] = {
        "name": _XDS_CLUSTER,
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "2s",
        "load_assignment": _assignment(_XDS_CLUSTER, options.xds_host, options.xds_port),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPES + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 5, "keepalive_probes": 3}
        },
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": _UNLIMITED, "max_pending_requests": _UNLIMITED, "max_requests": _UNLIMITED}
            ]
        },
    }
    if options.tls is not None:
        out["transport_socket"] = _transport_socket(options.tls)
    return out


def _transport_socket(tls: TlsFiles) -> dict[str, Any]:
    common: dict[str, Any] = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}}
    if tls.sds_directory is None:
        common["tls_certificates"] = [_certificate(tls)]
        common["validation_context"] = _validation(tls)
    else:
        common["tls_certificate_sds_secret_configs"] = [_from_file(_CERTIFICATE_SDS, tls, CERTIFICATE_SDS_FILE)]
        common["validation_context_sds_secret_config"] = _from_file(_CA_SDS, tls, CA_SDS_FILE)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPES + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": tls.server_name,
            "common_tls_context": common,
        },
    }


def _from_file(secret: str, tls: TlsFiles, file: str) -> dict[str, Any]:
    return {
        "name": secret,
        "sds_config": {"path_config_source": {"path": f"{tls.sds_directory}/{file}"}, "resource_api_version": "V3"},
    }


def _certificate(tls: TlsFiles) -> dict[str, Any]:
    out: dict[str, Any] = {
        "certificate_chain": {"filename": f"{tls.directory}/tls.crt"},
        "private_key": {"filename": f"{tls.directory}/tls.key"},
    }
    return out if tls.sds_directory is None else out | {"watched_directory": {"path": tls.directory}}


def _validation(tls: TlsFiles) -> dict[str, Any]:
    out: dict[str, Any] = {
        "trusted_ca": {"filename": f"{tls.directory}/ca.crt"},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": tls.server_name}}],
    }
    return out if tls.sds_directory is None else out | {"watched_directory": {"path": tls.directory}}


def _sds(name: str, secret: dict[str, Any]) -> dict[str, Any]:
    kind = _TYPES + "extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": name, **secret}]}


def _admin_cluster(port: int) -> dict[str, Any]:
    return {
        "name": _ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _assignment(_ADMIN_CLUSTER, "127.0.0.1", port),
    }


def _passing_listener(name: str, port: int, path: str, *, ipv6: bool) -> dict[str, Any]:
    """Return a listener that passes GET of exactly one path on to the admin interface, and nothing else."""
    route = {
        "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": {"cluster": _ADMIN_CLUSTER, "timeout": "10s"},
    }
    manager = {
        "@type": _TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "internal_address_config": {"unix_sockets": False},
        "route_config": {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPES + "extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    # Two Envoys in one network (tests) must not share these ports unseen.
    any_address = _socket("::", port, compat=True) if ipv6 else _socket("0.0.0.0", port)  # noqa: S104 -- pod network
    return {
        "name": name,
        "address": any_address,
        "enable_reuse_port": False,
        "ignore_global_conn_limit": True,
        "filter_chains": [chain],
    }


def _overload_manager(limits: OverloadLimits) -> dict[str, Any]:
    monitors: list[dict[str, Any]] = []
    actions: list[dict[str, Any]] = []
    if limits.max_heap_bytes is not None:
        heap = "envoy.resource_monitors.fixed_heap"
        monitors.append(_monitor(heap, "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=limits.max_heap_bytes))
        actions.append(_action("envoy.overload_actions.shrink_heap", heap, 0.95))
        actions.append(_action("envoy.overload_actions.stop_accepting_requests", heap, 0.98))
    if limits.max_connections is not None:
        kind = "downstream_connections.v3.DownstreamConnectionsConfig"
        name = "envoy.resource_monitors.global_downstream_max_connections"
        monitors.append(_monitor(name, kind, max_active_downstream_connections=limits.max_connections))
    return {"refresh_interval": "0.25s", "resource_monitors": monitors, "actions": actions}


def _monitor(name: str, kind: str, **config: int) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {"@type": f"{_TYPES}extensions.resource_monitors.{kind}"} | config,
    }


def _action(name: str, trigger: str, value: float) -> dict[str, Any]:
    return {"name": name, "triggers": [{"name": trigger, "threshold": {"value": value}}]}


def _assignment(cluster: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(host, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _socket(address: str, port: int, *, compat: bool = False) -> dict[str, Any]:
    out: dict[str, Any] = {"address": address, "port_value": port}
    return {"socket_address": out | {"ipv4_compat": True} if compat else out}
