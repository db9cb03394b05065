"""Container launcher: a program of its own, standard library only, so that it starts in about 20 ms.

It is run as `python -I -S launch.py` with one JSON line on standard input, in two modes.

`start`  1. enter the pod's network namespace and unshare mounts, processes, IPC and host name
         2. fork; the child is process 1 of the new PID namespace; print `{"pid": N}` and exit
         3. the child waits for one byte on standard input: the agent sends it once it has reaped this
            program and so has become the child's parent (the agent is a child subreaper). Only then is the
            parent-death signal armed; armed earlier it would fire when this program exits.
         4. the child builds the root file system, pivots into it and executes the command.
            A failure before the command runs is printed as `{"error": TEXT}` and the exit code is 128;
            end of file without a line means that the command runs.
`enter`  join the namespaces of a running container, fork, execute, pass the exit code on.

What may never happen: a container process that outlives the agent, and a mount that is seen outside the container.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH110, PTH112, PTH120, PTH211, S108 - pathlib takes longer to import than all else

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1

_EXIT_START_ERROR = 128
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None),
        f"mount {source} on {target}",
    )


def _read_only(target: str, *, recursive: bool) -> None:
    """Make a mount read-only; on kernels before 5.12 only its top mount."""
    attr = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    if _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, ctypes.byref(attr), size) == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        _check(-1, f"make {target} read-only")
    kept = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)  # locked by the user namespace
    _mount("none", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _prepare_point(source: str, target: str) -> None:
    """Create the mount point for `source`: a folder for a folder, an empty file for anything else."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.lexists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _bind(source: str, target: str, *, read_only: bool) -> None:
    _prepare_point(source, target)
    _mount(source, target, "", _MS_BIND | _MS_REC)
    if read_only:
        _read_only(target, recursive=True)


def _build_dev(root: str) -> None:
    _mount("tmpfs", f"{root}/dev", "tmpfs", _MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{root}/dev/{name}")
    os.mkdir(f"{root}/dev/shm")
    _mount("tmpfs", f"{root}/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777")


def _build_root(spec: dict[str, Any]) -> None:
    """Mount a new root, fill it in the order of `spec["mounts"]`, and make it this process' root."""
    root = spec["root"]
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID, "mode=755")
    for name, mode in (("proc", 0o755), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("etc", 0o755)):
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", mode)
    os.mkdir(f"{root}/var")
    os.symlink("../run", f"{root}/var/run")
    os.makedirs(f"{root}/var/tmp")
    # A new proc may only be mounted while the old one is still visible, hence before the pivot.
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _build_dev(root)
    for item in spec["mounts"]:
        target = root + item["target"]
        if item["kind"] == "symlink":
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(item["source"], target)
        else:
            _bind(item["source"], target, read_only=item.get("read_only", False))
    os.makedirs(root + spec["cwd"], exist_ok=True)
    if spec.get("read_only_root"):
        _read_only(root, recursive=False)
    os.chdir(root)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine, 41)
    _check(_libc.syscall(number, b".", b"."), "pivot_root")  # the old root comes to lie over the new one
    _check(_libc.umount2(b".", _MNT_DETACH), "detach the old root")


def _reset_signals() -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):  # Python changed these for itself
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _execute(spec: dict[str, Any]) -> None:
    os.chdir(spec["cwd"])
    _reset_signals()
    argv = spec["argv"]
    try:
        os.execvpe(argv[0], argv, spec["env"])  # noqa: S606
    except OSError as error:
        raise OSError(error.errno, f"cannot run {argv[0]!r}: {error.strerror}") from error


def _become_container(spec: dict[str, Any], answer: int) -> None:
    """Process 1 of the container: never returns."""
    try:
        if os.read(0, 1) != b"G":
            os._exit(_EXIT_START_ERROR)  # the agent died
        _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)), "arm the parent-death signal")
        os.setsid()
        os.dup2(spec["output"], 1)
        os.dup2(spec["output"], 2)
        os.close(spec["output"])
        _check(_libc.sethostname(spec["hostname"].encode(), len(spec["hostname"].encode())), "set the host name")
        _build_root(spec)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        _execute(spec)
    except OSError as error:
        os.write(answer, json.dumps({"error": error.strerror or str(error)}).encode() + b"\n")
    os._exit(_EXIT_START_ERROR)


def start(spec: dict[str, Any]) -> int:
    """Fork the container's first process and print its id as seen from here."""
    answer = os.dup(1)  # not inherited over exec: its end tells that the command runs
    try:
        if spec.get("netns"):
            handle = os.open(spec["netns"], os.O_RDONLY | os.O_CLOEXEC)
            _check(_libc.setns(handle, _CLONE_NEWNET), f"enter {spec['netns']}")
        flags = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWUTS | _CLONE_NEWIPC
        _check(_libc.unshare(flags), "create namespaces")
        child = os.fork()
    except OSError as error:
        os.write(answer, json.dumps({"error": error.strerror or str(error)}).encode() + b"\n")
        return _EXIT_START_ERROR
    if child == 0:
        _become_container(spec, answer)
    os.write(answer, json.dumps({"pid": child}).encode() + b"\n")
    return 0


def enter(spec: dict[str, Any]) -> int:
    """Run a command inside a running container and return its exit code."""
    try:
        kinds = ("ipc", "uts", "net", "pid", "mnt")  # mounts last: /proc of the lab is needed until then
        for handle in [os.open(f"/proc/{spec['pid']}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]:
            _check(_libc.setns(handle, 0), "enter the container")
        child = os.fork()
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return 126
    # Killed itself, this program could not reap its child, and the container would stay a zombie's prison for ever:
    # the agent ends it by SIGTERM, and it ends and reaps the child.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL) if child else None)
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
            _execute(spec)
        except OSError as error:
            print(error.strerror, file=sys.stderr, flush=True)
        os._exit(126)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _read_spec() -> dict[str, Any]:
    """Read one line byte-exactly: what follows it on standard input belongs to the child."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            break
        line += chunk
    spec: dict[str, Any] = json.loads(line)
    return spec


if __name__ == "__main__":
    _spec = _read_spec()
    sys.exit(start(_spec) if _spec["mode"] == "start" else enter(_spec))
