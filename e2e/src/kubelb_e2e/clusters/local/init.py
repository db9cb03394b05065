"""The lab's first process: starts the daemon, buries everybody else, and ends with the daemon.

As pid 1 of its pid namespace it inherits every orphan; when it ends, for whatever reason, the kernel
ends all others and takes their namespaces and mounts away.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(directory: Path) -> int:
    """Run the daemon for the lab in `directory` as a child; return its exit code."""
    child = os.fork()
    if child == 0:
        from kubelb_e2e.clusters.local import daemon  # noqa: PLC0415  # the parent stays small

        os._exit(daemon.main(directory))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
