"""Memory of a role that runs for months: what a start built is not looked through again and again.

Python's collector stops a process for as long as it takes to look at every object that lives. What
a start has built (registry, orders, the state that a journal gave) lives as long as the process and
holds no garbage worth finding, so once a role is ready it is taken out of later collections.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Final

LOOK_EVERY_S: Final = 0.5


@contextlib.asynccontextmanager
async def settled(not_ready: Callable[[], str]) -> AsyncIterator[None]:
    """While the block runs: at the first moment that the role is ready, freeze what lives then."""
    waiting = asyncio.create_task(_freeze_when_ready(not_ready))
    try:
        yield
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


async def _freeze_when_ready(not_ready: Callable[[], str]) -> None:
    while not_ready():  # noqa: ASYNC110 - readiness is asked for, nobody tells it
        await asyncio.sleep(LOOK_EVERY_S)
    gc.freeze()
