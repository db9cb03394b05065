"""The supervisor in a process of its own: signals and exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap

import pytest

from kubelb_common.kube.errors import ConfigError
from kubelb_common.runtime.supervisor import run_to_exit

PROGRAM = """
    import asyncio, sys
    from kubelb_common.kube.errors import ConfigError
    from kubelb_common.runtime.supervisor import Supervisor, run_to_exit
    from kubelb_common.telemetry import logs

    logs.configure("info", json=True, stream=sys.stdout)

    async def waits():
        print("running", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("ended", flush=True)

    async def crashes():
        await asyncio.sleep(0)
        raise ConfigError("kubeconfig x: no such file")

    supervisor = Supervisor()
    supervisor.service("waits", waits)
    if "crash" in sys.argv:
        supervisor.service("crashes", crashes)
    sys.exit(run_to_exit(supervisor.run()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_with_code_0(number: signal.Signals) -> None:
    process = await start("-")
    assert process.stdout is not None
    while b"running" not in await process.stdout.readline():
        pass
    process.send_signal(number)
    rest = await asyncio.wait_for(process.stdout.read(), 20)
    assert await process.wait() == 0
    assert b"ended" in rest


async def test_a_crash_ends_the_process_with_code_1_and_one_clear_line() -> None:
    process = await start("crash")
    assert process.stdout is not None
    output = (await asyncio.wait_for(process.stdout.read(), 20)).decode()
    assert await process.wait() == 1
    assert "Traceback" not in output
    assert "no such file" in next(line for line in output.splitlines() if "part crashed" in line)
    assert "ended" in output


async def start(mode: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(PROGRAM),
        mode,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_a_fault_before_the_start_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        raise ConfigError("kubeconfig x: no such file")

    assert run_to_exit(main()) == 1
    assert capsys.readouterr().err == "error: kubeconfig x: no such file\n"
