"""What kind and Docker say when something fails, in one line that tells cause and cure. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PORT = re.compile(r"(?:Bind for |bind host port |listen tcp4? |endpoint .*?)?(?:[\d.]+|\[?::\]?):(\d+)")
MORE_INOTIFY = "raise it: sysctl -w fs.inotify.max_user_instances=1024 (`make sysctls` does)"
INOTIFY_CURE = f"the kernel gives out no more inotify instances, so nodes never become Ready; {MORE_INOTIFY}"


def explain(output: str, *, cluster: str, image: str) -> str:
    """Return the cause and the cure of a failed `kind create cluster`, from what it printed."""
    text = _ANSI.sub("", output)
    for pattern, tell in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{cluster}: {tell(text, image)}"
    return f"{cluster}: kind could not create it: {_last_error(text)}"


def starved_of_inotify(text: str) -> bool:
    """Tell whether logs of a node show that inotify instances ran out."""
    return re.search(r"too many open files|inotify_init|max_user_instances", text, re.IGNORECASE) is not None


def _port(text: str, _: str) -> str:
    lines = [line for line in text.splitlines() if re.search(r"already allocated|already in use", line)]
    found = _PORT.search(lines[0]) if lines else None
    which = f"port {found[1]}" if found else "its port"
    return f"{which} of this host is taken; choose others (--api-port), or leave the choice to kind (without it)"


def _image(text: str, image: str) -> str:
    del text
    return f"node image {image} is not here and cannot be pulled; `docker pull {image}`, or name another: --kind-image"


def _docker(text: str, image: str) -> str:
    del text, image
    return "Docker stopped answering; start it again, then `kubelb-e2e down` removes what is left"


def _memory(text: str, image: str) -> str:
    del text, image
    return "its processes were killed for lack of memory; end others, or ask for fewer clusters: --tenants, --nodes"


def _kubelet(text: str, image: str) -> str:
    del text, image
    return (
        "its control plane did not come up in time; the exported logs say why "
        f"(often the machine is too busy or too small, or {INOTIFY_CURE})"
    )


def _systemd(text: str, image: str) -> str:
    del text
    return f"a node did not boot: {image} is no kind node image, or one of another release of kind; or {INOTIFY_CURE}"


_KNOWN: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    (r"cannot connect to the docker daemon|failed to connect to the docker api|error during connect", _docker),
    (r"port is already allocated|address already in use", _port),
    (r"failed to pull image|pull access denied|manifest unknown|no such image", _image),
    (r"out of memory|cannot allocate memory|oom-?kill|exit status 137", _memory),
    (r"too many open files", lambda _text, _image: INOTIFY_CURE),
    (r"could not find a log line that matches", _systemd),
    (r"wait-control-plane|timed out waiting for the condition|failed to init node with kubeadm", _kubelet),
)


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it printed nothing"])[-1]
