"""Memory of a role that runs for months: what a start built is not looked through again and again.

Python's collector stops a process for as long as it takes to look at every object that lives. What
a start has built (registry, orders, the state that a journal gave) lives as long as the process and
holds no garbage worth finding, so once a role is ready it is taken out of later collections.

What is left is little, and the interpreter looks through all of it again whenever it has grown by a
quarter: under load that was two fifths of an intake's time (docs/adr/0040). So a ready role is
looked through seldom. Nearly nothing here waits for the collector: cycles come from connections and
errors, not from fixes.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Final

LOOK_EVERY_S: Final = 0.5
THRESHOLDS: Final = (50_000, 20, 20)
"""Of `gc.set_threshold`: objects with references, made and not gone; then collections."""


@contextlib.asynccontextmanager
async def settled(not_ready: Callable[[], str]) -> AsyncIterator[None]:
    """While the block runs: from the first moment that the role is ready, collect less.

    What lives then is frozen, and what comes after is looked through by `THRESHOLDS`.
    """
    before = gc.get_threshold()
    waiting = asyncio.create_task(_freeze_when_ready(not_ready))
    try:
        yield
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        gc.set_threshold(*before)


async def _freeze_when_ready(not_ready: Callable[[], str]) -> None:
    while not_ready():  # noqa: ASYNC110 - readiness is asked for, nobody tells it
        await asyncio.sleep(LOOK_EVERY_S)
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
