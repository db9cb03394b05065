"""What a wheel must be made for: a Python, a processor and a C library."""

from __future__ import annotations

from dataclasses import dataclass

#: The first glibc for which wheels name its version (PEP 600).
_FIRST_MINOR = 5


@dataclass(frozen=True, slots=True)
class Target:
    """CPython `python` (major, minor) on Linux, processor `machine` as `uname -m` says, glibc 2.`glibc`."""

    python: tuple[int, int]
    machine: str
    glibc: int

    def __str__(self) -> str:
        return f"Python {self.version} on {self.machine} with glibc 2.{self.glibc}"

    @property
    def version(self) -> str:
        """The Python version, as `3.11`."""
        return ".".join(map(str, self.python))

    def pip_options(self) -> list[str]:
        """Return the options by which pip takes wheels for this target, whatever runs pip."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, _FIRST_MINOR - 1, -1)]
        tags += [f"manylinux2014_{self.machine}"]  # pip takes the older ones with it
        platforms = [word for tag in tags for word in ("--platform", tag)]
        return ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.version, *platforms]

    def markers(self) -> dict[str, str]:
        """Return the variables of environment markers (PEP 508) as they are there."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.version}.0",
            "python_version": self.version,
            "sys_platform": "linux",
        }
