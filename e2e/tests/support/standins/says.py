"""What Docker and kind v0.33 print when something is wrong, as they print it."""

from __future__ import annotations

import json
from dataclasses import dataclass

NO_DOCKER = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
#: Of Docker's command from release 29 on.
NO_DOCKER_NOW = (
    "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the "
    "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory"
)
_OVERRIDDEN = (
    "WARNING: Overriding docker network due to KIND_EXPERIMENTAL_DOCKER_NETWORK\n"
    "WARNING: Here be dragons! This is not supported currently.\n"
)
_KUBEADM = """\
I0117 10:11:12.138461     167 initconfiguration.go:261] loading configuration from "/kind/kubeadm.conf"
[init] Using Kubernetes version: v1.36.4
[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods from directory \
"/etc/kubernetes/manifests"
[kubelet-check] Waiting for a healthy kubelet at http://127.0.0.1:10248/healthz. This can take up to 4m0s
[kubelet-check] The kubelet is not healthy after 4m0.001113384s

Unfortunately, an error has occurred, likely caused by:
\t- The kubelet is not running
\t- The kubelet is unhealthy due to a misconfiguration of the node in some way (required cgroups disabled)

error: error execution phase wait-control-plane: failed while waiting for the kubelet to start: The HTTP call equal to \
'curl -sSL http://127.0.0.1:10248/healthz' returned error: Get "http://127.0.0.1:10248/healthz": context deadline exceeded

To see the stack trace of this error execute with --v=5 or higher"""
#: A node's journal on a machine without inotify instances.
STARVED_JOURNAL = """\
Jan 17 10:11:12 node systemd[1]: Failed to create control group inotify object: Too many open files
Jan 17 10:11:13 node kubelet[431]: E0117 10:11:13.002 431 run.go:72] "command failed" err="failed to run Kubelet: \
unable to create fsnotify watcher: too many open files"
"""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a message is about."""

    cluster: str
    image: str
    port: int = 6443


def creating(occasion: Occasion) -> str:
    """Return how every start of a cluster begins."""
    image = occasion.image.partition("@")[0]
    return (
        f'Creating cluster "{occasion.cluster}" ...\n • Ensuring node image ({image}) 🖼  ...\n'
        f" ✓ Ensuring node image ({image}) 🖼\n{_OVERRIDDEN} • Preparing nodes 📦   ...\n"
    )


def _failed(occasion: Occasion, error: str, output: str = "") -> str:
    more = f"\n\nCommand Output: {output}" if output else ""
    return f"{creating(occasion)} ✗ Preparing nodes 📦 \nERROR: failed to create cluster: {error}{more}"


def _docker_run(occasion: Occasion) -> str:
    node = f"{occasion.cluster}-control-plane"
    return (
        f'command "docker run --name {node} --hostname {node} --label io.x-k8s.kind.role=control-plane --privileged '
        f"--security-opt seccomp=unconfined --tmpfs /tmp --tmpfs /run --volume /var --detach --tty --label "
        f"io.x-k8s.kind.cluster={occasion.cluster} --net kubelb-shop --restart=on-failure:1 --init=false "
        f'--cgroupns=private --publish=127.0.0.1:{occasion.port}:6443/TCP {occasion.image}" failed with error: '
        "exit status 125"
    )


def _port(occasion: Occasion, why: str) -> str:
    node = f"{occasion.cluster}-control-plane"
    output = (
        f"5a1c0d44be1f8e05c35a7f0e1b8d3f3f1f8d8f9a6c6f0b6d7c4f9e0f1a2b3c4d\ndocker: Error response from daemon: driver "
        f"failed programming external connectivity on endpoint {node} (0e099fa78bdf95bc974b4cbc53a16b80): {why}"
    )
    return _failed(occasion, _docker_run(occasion), output)


def port_of_docker(occasion: Occasion) -> str:
    """Another container has the port."""
    return _port(occasion, f"Bind for 127.0.0.1:{occasion.port} failed: port is already allocated.")


def port_of_process(occasion: Occasion) -> str:
    """A process of the host has the port."""
    return _port(
        occasion,
        f"Error starting userland proxy: listen tcp4 127.0.0.1:{occasion.port}: bind: address already in use.",
    )


def port_of_process_now(occasion: Occasion) -> str:
    """As above, in the words of Docker from release 28 on."""
    why = f"failed to bind host port 127.0.0.1:{occasion.port}/tcp: address already in use"
    return _port(occasion, f"{why}\n\nRun 'docker run --help' for more information")


def no_image(occasion: Occasion) -> str:
    """The nodes' image is neither here nor to be had."""
    pull = f'command "docker pull {occasion.image}" failed with error: exit status 1'
    return (
        f'Creating cluster "{occasion.cluster}" ...\n • Ensuring node image ({occasion.image.partition("@")[0]}) 🖼  ...\n'
        f" ✗ Ensuring node image ({occasion.image.partition('@')[0]}) 🖼\nERROR: failed to create cluster: failed to "
        f'pull image "{occasion.image}": {pull}\n\nCommand Output: Error response from daemon: Get '
        '"https://registry.example.com/v2/": dial tcp: lookup registry.example.com: no such host'
    )


def no_boot(occasion: Occasion) -> str:
    """A node's systemd did not come up."""
    pattern = json.dumps("Reached target .*Multi-User System.*|detected cgroup v1")
    return _failed(occasion, f"could not find a log line that matches {pattern}")


def no_docker(occasion: Occasion, said: str = NO_DOCKER) -> str:
    """Docker does not answer when kind begins."""
    del occasion
    info = "command \"docker info --format '{{json .}}'\" failed with error: exit status 1"
    return (
        f"ERROR: failed to create cluster: failed to get docker info: {info}\n\n"
        f'Command Output: {{"ID":"","Containers":0,"Images":0,"ServerVersion":""}}\n{said}'
    )


def no_docker_now(occasion: Occasion) -> str:
    """As above, in the words of Docker from release 29 on."""
    return no_docker(occasion, NO_DOCKER_NOW)


def docker_ended(occasion: Occasion) -> str:
    """Docker ends while kind works."""
    return _failed(occasion, _docker_run(occasion), f"docker: {NO_DOCKER}\nSee 'docker run --help'.")


def kubeadm(occasion: Occasion) -> str:
    """The control plane does not come up in four minutes."""
    node = f"{occasion.cluster}-control-plane"
    command = (
        f'command "docker exec --privileged {node} kubeadm init --config=/kind/kubeadm.conf --skip-token-print --v=6" '
        "failed with error: exit status 1"
    )
    return _failed(occasion, f"failed to init node with kubeadm: {command}", _KUBEADM)


def killed(occasion: Occasion) -> str:
    """The kernel killed what ran in the node."""
    node = f"{occasion.cluster}-control-plane"
    command = f'command "docker exec --privileged {node} kubeadm init --v=6" failed with error: exit status 137'
    return _failed(occasion, f"failed to init node with kubeadm: {command}", "[init] Using Kubernetes version: v1.36.4")


def starved(occasion: Occasion) -> str:
    """No inotify instance is left, and kind sees it."""
    node = f"{occasion.cluster}-control-plane"
    return _failed(
        occasion,
        f'failed to init node with kubeadm: command "docker exec --privileged {node} kubeadm init --v=6" failed with '
        "error: exit status 1",
        f"{_KUBEADM}\nfailed to create fsnotify watcher: too many open files",
    )


def exists(occasion: Occasion) -> str:
    """Nodes of that name are there."""
    return f'ERROR: failed to create cluster: node(s) already exist for a cluster with the name "{occasion.cluster}"'
