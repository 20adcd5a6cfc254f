"""Processes of our own, kept running: for the demo and for `afstand watch` with several replicas.

In real use systemd or Kubernetes does this. A child that ends is started again after a pause that
grows; on stop each gets SIGTERM and, when it does not end, SIGKILL by its own handle.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import structlog

log = structlog.get_logger()
STOP_S_MAX: Final = 8.0
PAUSE_S_MIN: Final = 0.2
PAUSE_S_MAX: Final = 10.0
STEADY_S: Final = 30.0


def afstand_command(*arguments: str) -> list[str]:
    """The command line of one of our own roles, in this interpreter."""
    return [sys.executable, "-m", "afstand", *arguments]


class Child:
    """One process that is to run until `stop`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.name = name
        self.starts = 0
        self._command = list(command)
        self._environ = {**os.environ, **(environ or {})}
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the present process; None between two of them."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._task = asyncio.create_task(self._keep_running(), name=f"child-{self.name}")

    async def _keep_running(self) -> None:
        pause_s = PAUSE_S_MIN
        while not self._stopping:
            started = time.monotonic()
            with self._output() as output:
                # A session of its own: Ctrl-C reaches the parent alone, which then stops its
                # children in order.
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=self._environ,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self.starts += 1
            code = await self._process.wait()
            if self._was_stopped():
                return
            pause_s = PAUSE_S_MIN if time.monotonic() - started > STEADY_S else pause_s
            log.warning("process ended, starting it again", child=self.name, exit_code=code)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _was_stopped(self) -> bool:
        return self._stopping

    @contextlib.contextmanager
    def _output(self) -> Iterator[IO[bytes] | None]:
        if self._log_file is None:
            yield None
            return
        with self._log_file.open("ab") as file:
            yield file

    def kill(self) -> None:
        """Kill it as a power cut would; it is started again. For chaos tests and drills."""
        if self.pid is not None and self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it for good."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S_MAX)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
