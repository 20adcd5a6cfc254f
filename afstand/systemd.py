"""What a role tells the manager that started it: ready, what it does, and that its loop turns.

The protocol is that of `sd_notify(3)`: one datagram to the socket named in NOTIFY_SOCKET. Without
that variable (Kubernetes, a terminal) nothing is sent. The sign of life comes from the event loop
itself: a loop that stands still sends none, and the manager kills the process and starts it again.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import structlog

from afstand.limits import MANAGER_TELL_S, MANAGER_TEXT_CHARACTERS_MAX

log = structlog.get_logger()
_SIGNS_PER_LIMIT: Final = 3  # so often within the manager's limit


class Manager:
    """The manager of this process, if it has one."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        found = os.environ if environ is None else environ
        address = found.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.every_s = MANAGER_TELL_S
        limit_us = found.get("WATCHDOG_USEC", "")
        meant = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watches = bool(self._address) and limit_us.isdecimal() and meant
        if self.watches:
            self.every_s = min(MANAGER_TELL_S, int(limit_us) / 1e6 / _SIGNS_PER_LIMIT)

    @property
    def there(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Send lines such as READY=1. A manager that is gone is no fault of the service."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        ):
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), self._address)


@contextlib.asynccontextmanager
async def managed(
    not_ready: Callable[[], str], manager: Manager | None = None
) -> AsyncIterator[None]:
    """Tell the manager how things are while the block runs, and that it ends."""
    manager = manager or Manager()
    telling = asyncio.create_task(_keep_telling(manager, not_ready)) if manager.there else None
    try:
        yield
    finally:
        manager.tell("STOPPING=1")
        if telling is not None:
            telling.cancel()


async def _keep_telling(manager: Manager, not_ready: Callable[[], str]) -> None:
    ready = False
    said: str | None = None
    while True:
        problem = not_ready()
        lines = ["WATCHDOG=1"] if manager.watches else []
        if not problem and not ready:
            ready = True
            lines.append("READY=1")
        if problem != said:
            said = problem
            text = " ".join((problem or "ready").split())
            lines.append(f"STATUS={text[:MANAGER_TEXT_CHARACTERS_MAX]}")
        if lines:
            manager.tell(*lines)
        await asyncio.sleep(manager.every_s)
