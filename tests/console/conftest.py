"""Fixtures of the console's tests."""

import asyncio
import contextlib

import pytest

from tests.console.live import LiveSite
from tests.console.site import ConsoleSite


@pytest.fixture
def site(tmp_path):
    made = ConsoleSite(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def live(tmp_path, request):
    """A room in which nothing has happened; with a parameter, it began so many seconds ago."""
    made = LiveSite(tmp_path, since_s=getattr(request, "param", 0))
    made.people()
    ticking = asyncio.create_task(made.keep_ticking())
    try:
        async with made.serving():
            yield made
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        made.close()
