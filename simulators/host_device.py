"""The line protocol of `firmware_contracts/c/host/device.c`: one line in, lines out, then a ".".

A firmware on a bench can speak it over a serial line as well: what it takes in is what a modem and
a rig would give it (time, the link, messages, positions, presses).
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

END: Final = "."
_STOP_S: Final = 5.0


class Said(NamedTuple):
    """What the device said to one line."""

    frames: list[tuple[str, bytes]]  # topic and payload, in order
    will: tuple[str, bytes] | None
    wants_fix: bool
    shown: list[str]


class HostDeviceError(RuntimeError):
    """The device ended, or said what the protocol does not know."""


def read_said(lines: Iterable[str]) -> Said:
    """Read what stands before the "."; raises HostDeviceError."""
    said = Said([], None, False, [])
    for line in lines:
        word, _, rest = line.partition(" ")
        topic, _, raw = rest.partition(" ")
        try:
            if word == "out":
                said.frames.append((topic, bytes.fromhex(raw)))
            elif word == "will":
                said = said._replace(will=(topic, bytes.fromhex(raw)))
            elif word == "want" and rest == "fix":
                said = said._replace(wants_fix=True)
            elif word == "show":
                said.shown.append(bytes.fromhex(rest).decode("utf-8", "replace"))
            else:
                raise HostDeviceError(f"the device said {line[:80]!r}")
        except ValueError:
            raise HostDeviceError(f"the device said {line[:80]!r}") from None
    return said


class HostDevice:
    """The program as a child process, spoken to line by line."""

    def __init__(
        self,
        program: Path,
        device_id: str,
        key: bytes,
        *,
        slots: int = 256,
        fault: str = "",
        root: bytes = b"",
    ) -> None:
        more = [fault or "none", root.hex()] if root else [fault] if fault else []
        self._process = subprocess.Popen(
            [str(program), device_id, key.hex(), str(slots), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.first = self._answer()

    def say(self, line: str) -> Said:
        """Say one line and read the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            raise HostDeviceError("the device has ended") from None
        return self._answer()

    def _answer(self) -> Said:
        assert self._process.stdout is not None
        lines: list[str] = []
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise HostDeviceError("the device has ended")
            if line.rstrip("\n") == END:
                return read_said(lines)
            lines.append(line.rstrip("\n"))

    def close(self) -> int:
        """End it; return its exit code."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
