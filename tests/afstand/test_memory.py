"""What lives when a role becomes ready is taken out of later collections, and not before."""

import asyncio
import gc

import pytest

from afstand import memory
from afstand.memory import settled


@pytest.fixture(autouse=True)
def thawed():
    usual = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*usual)


async def test_frozen_once_the_role_is_ready(monkeypatch):
    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.001)
    why = "replaying the journal"
    before, usual = gc.get_freeze_count(), gc.get_threshold()
    async with settled(lambda: why):
        await asyncio.sleep(0.01)
        assert gc.get_freeze_count() == before
        assert gc.get_threshold() == usual
        why = ""
        for _ in range(1_000):
            if gc.get_freeze_count() > before:
                break
            await asyncio.sleep(0.005)
        assert gc.get_freeze_count() > before
        assert gc.get_threshold() == memory.THRESHOLDS
    assert gc.get_threshold() == usual


async def test_a_role_that_ends_before_it_is_ready_leaves_nothing_waiting():
    async with settled(lambda: "no broker"):
        pass
    assert len(asyncio.all_tasks()) == 1
