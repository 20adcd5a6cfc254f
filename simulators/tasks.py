"""Ending asyncio tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

STOP_TIMEOUT_S: Final = 10.0
CANCEL_AGAIN_S: Final = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], within_s: float = STOP_TIMEOUT_S) -> None:
    """Cancel tasks until they end.

    More than once: on Python 3.11 `wait_for` swallows a cancellation that comes together with its
    result (CPython issue 86296), so that one `cancel` may be lost.
    """
    tasks = list(tasks)
    waiting = {task for task in tasks if not task.done()}
    attempts = max(1, round(within_s / CANCEL_AGAIN_S))
    for _ in range(attempts):
        for task in waiting:
            task.cancel()
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # Asked for, so that asyncio does not complain that nobody did.
