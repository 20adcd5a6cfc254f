"""A rig: lets a conformance test restart a device, press its button, cut its link.

Text lines over TCP. The rig begins with what it is able to do:

    afstand-rig/1 boot;link cut;link up;press;fix;fix none;clock unset;clock set

then each line is one thing to do ("boot", "press 1", "fix 3"), answered by "ok" or "cannot REASON".
Whoever has a bench for real devices can write one in an afternoon.
"""

import asyncio
from typing import Final, Protocol

from firmware_contracts.conformance import Stimulus

GREETING: Final = "afstand-rig/1"
LINE_BYTES_MAX: Final = 1_024
ANSWER_S: Final = 60.0
_BY_LENGTH: Final = sorted(Stimulus, key=lambda one: -len(one.value))


class RigError(Exception):
    """The rig cannot be reached, or speaks another language."""


class Rigged(Protocol):
    """What a rig acts on."""

    able: frozenset[Stimulus]

    async def do(self, what: Stimulus, argument: int) -> str:
        """Let it happen; return "" or why it cannot be."""
        ...


def greeting(able: frozenset[Stimulus]) -> str:
    """The first line of a rig."""
    return f"{GREETING} {';'.join(one.value for one in Stimulus if one in able)}"


def read_greeting(line: str) -> frozenset[Stimulus]:
    """What a rig is able to do. Raises RigError."""
    name, _, rest = line.strip().partition(" ")
    if name != GREETING:
        raise RigError(f"this is no rig: {line[:80]!r}")
    known = {one.value: one for one in Stimulus}
    return frozenset(known[word] for word in rest.split(";") if word in known)


def read_line(line: str) -> tuple[Stimulus, int] | None:
    """What a line asks for; None for what no rig knows."""
    line = line.strip()
    for stimulus in _BY_LENGTH:
        rest = line.removeprefix(stimulus.value)
        if rest != line and (not rest or (rest[0] == " " and rest[1:].isdigit())):
            return stimulus, int(rest or 0)
    return None


async def serve_rig(rigged: Rigged, host: str, port: int) -> asyncio.Server:
    """Serve a rig; the caller closes the server. Port 0 gives any free one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write((greeting(rigged.able) + "\n").encode())
            while line := await reader.readline():
                asked = read_line(line.decode("utf-8", "replace"))
                if asked is None:
                    answer = f"cannot {line[:80]!r}: not known"
                else:
                    reason = await rigged.do(*asked)
                    answer = f"cannot {reason}" if reason else "ok"
                writer.write((answer + "\n").encode())
                await writer.drain()
        except (OSError, ValueError):  # the test ended, or sent a line without an end
            return
        finally:
            writer.close()

    return await asyncio.start_server(talk, host, port, limit=LINE_BYTES_MAX)


class RigClient:
    """The test's end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        able: frozenset[Stimulus],
    ) -> None:
        self.able = able
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int) -> "RigClient":
        """Connect to a rig. Raises RigError."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
                line = await reader.readline()
        except (OSError, TimeoutError, ValueError) as error:
            raise RigError(f"no rig at {host}:{port}: {error}") from None
        return cls(reader, writer, read_greeting(line.decode("utf-8", "replace")))

    async def do(self, what: Stimulus, argument: int) -> str:
        """Let something happen; return "" or why it cannot be. Raises RigError."""
        self._writer.write(f"{what.value}{f' {argument}' if argument else ''}\n".encode())
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = (await self._reader.readline()).decode("utf-8", "replace").strip()
        except (OSError, TimeoutError, ValueError) as error:
            raise RigError(f"the rig does not answer to {what.value!r}: {error}") from None
        if answer == "ok":
            return ""
        if not answer:
            raise RigError("the rig has gone")
        return answer.removeprefix("cannot ")

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
