"""Every label, annotation, finalizer, class name and name pattern: the only place for them.

These strings are the contract between two processes in two clusters, and between our agents and
those of the original KubeLB. Spelled twice they drift; so nothing else in the project spells them.
"""

from __future__ import annotations

import hashlib
import re

GROUP = "kubelb.k8c.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# Labels ---------------------------------------------------------------------------------------

LABEL_ORIGIN_NAMESPACE = f"{GROUP}/origin-ns"
LABEL_ORIGIN_NAME = f"{GROUP}/origin-name"
LABEL_ORIGIN_KIND = f"{GROUP}/origin-resource-kind"
LABEL_MANAGED_BY = f"{GROUP}/managed-by"
MANAGED_BY = "kubelb"
#: UID of `kube-system` in the cluster that an object was exported from (ruling 21): only that one deletes it.
LABEL_ORIGIN_CLUSTER = f"{GROUP}/origin-cluster"
LABEL_TENANT = f"{GROUP}/tenant"
LABEL_LB_NAME = f"{GROUP}/lb-name"
LABEL_LB_NAMESPACE = f"{GROUP}/lb-namespace"
#: Fleet of Envoys that a pod or Service belongs to; in selectors from the start (ruling 29).
LABEL_FLEET = f"{GROUP}/fleet"
#: On a ConfigMap of the manager's own records; the value says which record.
LABEL_RECORD = f"{GROUP}/record"
LABEL_APP_NAME = "app.kubernetes.io/name"
LABEL_APP_INSTANCE = "app.kubernetes.io/instance"
LABEL_APP_MANAGED_BY = "app.kubernetes.io/managed-by"
CLI_MANAGED_BY = "kubelb-cli"

# Annotations ----------------------------------------------------------------------------------

#: Short JSON on a tenant's object that says what is wrong with it (ruling 13); absent when all is well.
ANNOTATION_STATUS = f"{GROUP}/status"
#: Full name where a label had to be shortened (ruling 25).
ANNOTATION_ORIGIN_NAME = f"{GROUP}/origin-full-name"
#: Keys of the annotations that we set on an object: one no longer wanted can be told from a foreign one.
ANNOTATION_OWNED = f"{GROUP}/owned-annotations"
#: Digest of the spec that we wanted, where the API server fills in defaults (workloads).
ANNOTATION_WANTED_SPEC = f"{GROUP}/wanted-spec"
#: On a fleet's workload: its name within its namespace, which the label holds shortened where it is long.
ANNOTATION_FLEET = f"{GROUP}/fleet-name"
#: On a Tenant: which generation of its credential's token is wanted, a whole number from 1 (ruling 22).
ANNOTATION_TOKEN_GENERATION = f"{GROUP}/token-generation"
#: On a Tenant: how long a token is accepted after another one took its place, in Go's syntax.
ANNOTATION_TOKEN_OVERLAP = f"{GROUP}/token-overlap"
#: On the Secret of a token that was replaced: when it stops to be accepted, RFC 3339.
ANNOTATION_REVOKE_AT = f"{GROUP}/revoke-at"
#: On the manager's Lease: where its holder takes the other replicas' reports, `host:port`.
ANNOTATION_LEADER_ADDRESS = f"{GROUP}/leader-address"
#: On a tenant's Service or a LoadBalancer, with the value below: connections begin with a PROXY protocol header.
ANNOTATION_PROXY_PROTOCOL = f"{GROUP}/proxy-protocol"
PROXY_PROTOCOL_V2 = "v2"
ANNOTATION_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: On a LoadBalancer that `kubelb lb create` made.
ANNOTATION_CLI = f"{GROUP}/cli-generated"
#: Asks for a host name below the wildcard domain of the tenant.
ANNOTATION_WILDCARD = f"{GROUP}/request-wildcard-domain"
ANNOTATION_LEGACY_INGRESS_CLASS = "kubernetes.io/ingress.class"

# Finalizers -----------------------------------------------------------------------------------

FINALIZER = f"{GROUP}/cleanup"
#: On a NodePort twin: its node ports stay taken while an Envoy may use them (ruling 17).
FINALIZER_TWIN = f"{GROUP}/node-ports-in-use"
#: Written by older releases of the original; only ever removed.
LEGACY_FINALIZERS = (f"{GROUP}/lb-finalizer", f"{GROUP}/cleanup-envoy-proxy")

# Classes and fixed object names ----------------------------------------------------------------

CLASS = "kubelb"
MANAGER_NAMESPACE = "kubelb"
CONFIG_NAME = "default"
ADDRESSES_NAME = "default"
TENANT_STATE_NAME = "default"
TENANT_NAMESPACE_PREFIX = "tenant-"
CCM_ACCOUNT = "kubelb-ccm"
CCM_TOKEN_SECRET = "kubelb-ccm"  # noqa: S105 - the name of an object
CCM_KUBECONFIG_SECRET = "kubelb-ccm-kubeconfig"  # noqa: S105 - the name of an object
CCM_KUBECONFIG_KEY = "kubelb"
#: Where the tenant's admin puts the kubeconfig in the tenant cluster.
CCM_CLUSTER_SECRET = "kubelb-cluster"  # noqa: S105 - the name of an object
HOST_CLAIMS = "host-claims"
#: Leases of the leader elections; the original's, so that it and ours never both write (facts, 2.6).
MANAGER_LEASE = "19f32e7b.kubelb.k8c.io"
CCM_LEASE = "19f32e7b.ccm.kubelb.k8c.io"
XDS_SERVICE = "envoycp"
XDS_PORT = 8001
#: Ports of Envoy's listeners for LoadBalancers. 32768 and above collide with those of Envoy's own outgoing
#: connections (ruling 11).
LISTENER_PORT_RANGE = range(10000, 32768)
#: Within it, what is never a listener's.
OWN_PORT_RANGE = range(19000, 19100)
#: Ports of a fleet's pods beside those of listeners: Envoy's admin (loopback only), metrics, the agent, readiness.
ENVOY_ADMIN_PORT = 9001
ENVOY_STATS_PORT = 19001
AGENT_PORT = 19002
ENVOY_READY_PORT = 19003
#: Envoy's runtime layer with the limits of tenants.
RUNTIME_LAYER = "limits"
INGRESS_SERVICE = "envoy-ingress"
SHARED_FLEET = "shared"
#: Topology dedicated: the fleet of all Ingresses of a tenant, and what the name of a LoadBalancer's own begins with.
INGRESS_FLEET = "ingress"
LOAD_BALANCER_FLEET_PREFIX = "lb-"
#: Topology global: the one fleet of all tenants, in the manager's namespace.
GLOBAL_FLEET = "global"
NODEPORT_SUFFIX = "-nodeport"

#: Node ports that a tenant may point at without a grant (ruling 4).
NODE_PORT_RANGE = range(30000, 32768)

_LABEL_VALUE_MAX = 63
_NAME_MAX = 63
_HASH_DIGITS = 8
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
TENANT_NAME_MAX = _NAME_MAX - len(TENANT_NAMESPACE_PREFIX)


def digest(*parts: str) -> str:
    """Return 8 hex digits of a SHA-256 over `parts`, which cannot be confused by moving a separator."""
    joined = "\0".join(parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:_HASH_DIGITS]


def tenant_namespace(tenant: str) -> str:
    """Return the namespace of `tenant` in the management cluster; a given prefix is not doubled."""
    return tenant if tenant.startswith(TENANT_NAMESPACE_PREFIX) else TENANT_NAMESPACE_PREFIX + tenant


def tenant_name_problem(tenant: str) -> str:
    """Return why no Tenant can have this name, empty if one can.

    Its namespace must be a DNS label, and no other Tenant's: `tenant-a` and `a` would share one.
    """
    if tenant.startswith(TENANT_NAMESPACE_PREFIX):
        return f"begins with '{TENANT_NAMESPACE_PREFIX}', which its namespace puts in front of the name already"
    if len(tenant) > TENANT_NAME_MAX:
        return f"has {len(tenant)} characters, at most {TENANT_NAME_MAX} are possible"
    if not _DNS_LABEL.fullmatch(tenant):
        return "is no DNS label: lower-case letters, digits and inner hyphens"
    return ""


def token_secret(generation: int) -> str:
    """Return the name of the Secret with a tenant's token of this generation; the first is named as the original's."""
    return CCM_TOKEN_SECRET if generation <= 1 else f"{CCM_TOKEN_SECRET}-{generation}"


def tenant_of_namespace(namespace: str) -> str:
    """Return the Tenant's name for its namespace `tenant-<name>`."""
    return namespace.removeprefix(TENANT_NAMESPACE_PREFIX)


def dns_label(text: str, *, limit: int = _NAME_MAX) -> str:
    """Return `text` as a DNS-1035 label of at most `limit` characters: readable, not unique."""
    label = re.sub(r"[^a-z0-9-]", "-", text.lower()).strip("-") or "k"
    if not label[0].isalpha():
        label = f"k-{label}"
    return label[:limit].rstrip("-")


def generated_name(head: str, *identity: str) -> str:
    """Return a readable DNS-1035 name that ends in 8 hex digits over `identity` (contract, defect 73).

    `identity` is kind, namespace and name of what the object is generated from.
    """
    limit = _NAME_MAX - _HASH_DIGITS - 1
    return f"{dns_label(head, limit=limit)}-{digest(*identity)}"


def twin_name(service: str) -> str:
    """Return the name of the NodePort twin of a tenant's Service.

    `<service>-nodeport` as the original names it; where that exceeds 63 characters, a shortened head
    and a hash.
    """
    plain = service + NODEPORT_SUFFIX
    if len(plain) <= _NAME_MAX:
        return plain
    return generated_name(service[: _NAME_MAX - len(NODEPORT_SUFFIX) - _HASH_DIGITS - 1] + NODEPORT_SUFFIX, service)


def label_value(text: str) -> str:
    """Return `text` if it may be a label's value, else a shortened form that ends in a hash (ruling 25)."""
    if len(text) <= _LABEL_VALUE_MAX:
        return text
    return text[: _LABEL_VALUE_MAX - _HASH_DIGITS - 1].rstrip("-._") + "-" + digest(text)


def origin_kind(kind: str, group: str) -> str:
    """Return the value of the origin-kind label, for example `Ingress.networking.k8s.io`."""
    return f"{kind}.{group}"


def load_balancer_service(load_balancer: str) -> str:
    """Return the name of the Service in the management cluster for a LoadBalancer."""
    return f"envoy-{load_balancer}"


def load_balancer_of_service(service: str) -> str:
    """Return the name of the LoadBalancer that `load_balancer_service` was given."""
    return service.removeprefix("envoy-")


def fleet_deployment(tenant_ns: str) -> str:
    """Return the name of the Deployment of a tenant's shared fleet."""
    return f"envoy-{tenant_ns}"


def load_balancer_fleet(load_balancer: str) -> str:
    """Return the name of the fleet that serves one LoadBalancer alone (topology dedicated)."""
    return label_value(LOAD_BALANCER_FLEET_PREFIX + load_balancer)


def fleet_members(tenant_ns: str, fleet: str) -> str:
    """Return the name of the headless Service whose EndpointSlices say which pods of a fleet are ready.

    It cannot be the name of a LoadBalancer's Service, which a tenant chooses (`envoy-...`).
    """
    return f"kubelb-fleet-{digest(tenant_ns, fleet)}"


def fleet_label(tenant_ns: str, fleet: str = SHARED_FLEET) -> str:
    """Return the value of the fleet label, unique in the management cluster."""
    return label_value(f"{tenant_ns}.{fleet}")


def node_id(tenant_ns: str, fleet: str, pod: str) -> str:
    """Return the xDS node id of an Envoy: `<tenant namespace>/<fleet>/<pod>`."""
    return f"{tenant_ns}/{fleet}/{pod}"
