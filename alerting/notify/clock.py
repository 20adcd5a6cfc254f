"""Time for the notifier: handed in, so that a test of ten minutes of back-off takes no time."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Wall time in Unix ms, and waiting."""

    def now_ms(self) -> int:
        """Give the time; it may step, and no decision needs it to be more than roughly right."""
        ...

    def steady_ms(self) -> int:
        """Give a time that never steps, for waiting: a retry must not wait for a clock set back."""
        ...

    async def sleep_ms(self, duration_ms: int) -> None:
        """Wait; 0 or less gives the loop one turn."""
        ...


class SystemClock:
    """The machine's time."""

    def now_ms(self) -> int:
        """Give Unix time in ms."""
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        """Give the event loop's time in ms."""
        return int(asyncio.get_running_loop().time() * 1000)

    async def sleep_ms(self, duration_ms: int) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0, duration_ms) / 1000)


async def within(clock: Clock, limit_ms: int, work: Awaitable[T]) -> T:
    """Await `work` for at most `limit_ms`; TimeoutError after that.

    Work that does not end when it is cancelled is left behind, never waited for: it would hold up
    its target's lane.
    """
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep_ms(limit_ms))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        alarm.cancel()
        if task.done():  # also with an error, while this was itself cancelled
            _forget(task)
        else:
            task.cancel()
            task.add_done_callback(_forget)


def _forget(task: asyncio.Future[T]) -> None:
    """Take the result of abandoned work, so that the loop does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()


async def wait_any(clock: Clock, event: asyncio.Event, limit_ms: int | None) -> None:
    """Wait until the event is set or `limit_ms` have passed; None waits for the event alone."""
    if limit_ms is None:
        await event.wait()
        return
    waiting = asyncio.ensure_future(event.wait())
    alarm = asyncio.ensure_future(clock.sleep_ms(limit_ms))
    try:
        await asyncio.wait((waiting, alarm), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        alarm.cancel()
