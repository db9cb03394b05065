"""The Docker engine through its CLI: the one place that runs `docker`, and the words for what goes wrong with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubelb_e2e.errors import LabError, Unavailable

_QUICK_SECONDS = 30.0
#: Builds go into Docker's own store, whichever builder is chosen for other work, and hold nothing but the image:
#: attestations carry a time, and `kind load` stumbles over them.
_BUILDS = {"BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: How the scripts of our Dockerfiles say what is wrong: `layer COMMAND: TEXT` (hack/images/layer.py).
_COMPLAINT = re.compile(r"\blayer [a-z]+: (.+)")
#: What the engine's absence looks like; the second from Docker 29 on.
_NO_ENGINE = re.compile(r"cannot connect to the docker daemon|failed to connect to the docker api", re.IGNORECASE)
#: What docker prints after what is wrong.
_AFTERTHOUGHT = re.compile(r"exit status \d+|(Run|See) 'docker .*--help'.*")
_NOT_FOUND = 127


class DockerError(LabError):
    """A docker command failed; the text is its last line, or that Docker stopped answering."""


def check() -> str:
    """Return the engine's version; raises Unavailable in one line if no engine answers."""
    if shutil.which("docker") is None:
        raise Unavailable(
            "no `docker` on this machine: install Docker; the local provider needs none (--provider local)"
        )
    done = _run(["version", "--format", "{{.Server.Version}}"], _QUICK_SECONDS)
    if done.returncode:
        raise Unavailable(
            f"Docker does not answer ({_last_line(done.stderr)}): start it, or join the group that may use it; "
            "the local provider needs none (--provider local)"
        )
    return done.stdout.strip()


def docker(*arguments: str, timeout: float | None = _QUICK_SECONDS, text: str | None = None) -> str:
    """Run a docker command, with `text` as its input, and return its output; raises DockerError."""
    done = _run(arguments, timeout, text)
    if done.returncode:
        raise DockerError(_explain(arguments, done.stderr))
    return done.stdout


def inspect(kind: str, *names: str) -> list[dict[str, Any]]:
    """Return what Docker knows of these objects ("image", "container", "network"); what is absent is left out."""
    done = _run([kind, "inspect", *names], _QUICK_SECONDS)
    if done.returncode and (done.returncode == _NOT_FOUND or not _is_absence(done.stderr)):
        raise DockerError(_explain([kind, "inspect"], done.stderr))
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def image_id(name: str) -> str | None:
    """Return the id of a local image, None if it is not here."""
    return next((str(item["Id"]) for item in inspect("image", name)), None)


def build(dockerfile: Path, context: Path, *, tag: str, arguments: Mapping[str, str]) -> None:
    """Build an image without a network, by `dockerfile`, a path in the folder `context`.

    Raises:
        DockerError: it failed; the text is what the failed step said, and the command that shows all of it.
    """
    pairs = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    command = ["build", "--network=none", *pairs, "--file", str(context / dockerfile), "--tag", tag, str(context)]
    done = _run(command, None)
    if done.returncode == 0 and image_id(tag) is None:
        raise DockerError(
            f"image {tag}: Docker built it and does not have it; is another builder in use? (docker buildx ls)"
        )
    if done.returncode:
        said = _COMPLAINT.findall(_COLOUR.sub("", done.stdout + done.stderr))
        reason = said[-1].strip() if said else _last_line(_COLOUR.sub("", done.stderr))
        raise DockerError(f"image {tag}: {reason}; to see all of it: docker {' '.join(command)}")


def _run(arguments: Sequence[str], timeout: float | None, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["docker", *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=timeout,
            input=text or "",
            env={**os.environ, **_BUILDS},
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:.0f} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, _NOT_FOUND, "", str(error))


def _explain(arguments: Sequence[str], stderr: str) -> str:
    reason = _last_line(stderr)
    if _NO_ENGINE.search(stderr):
        return f"Docker stopped answering during `docker {' '.join(arguments[:2])}`: start it again"
    return f"docker {' '.join(arguments[:2])}: {reason}"


def _is_absence(stderr: str) -> bool:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return bool(lines) and all("No such" in line or "not found" in line for line in lines)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not _AFTERTHOUGHT.fullmatch(line)]
    return (telling or lines or ["no message"])[-1]
