"""What was delivered is remembered over restarts, and losing the memory costs copies only."""

import asyncio
from typing import Any

import pytest

from afstand.delivery_log import StoreDeliveryLog, delivered_key
from alerting.book.types import AlarmClass, ReceiptStatus
from alerting.notify import LaneSettings
from ingest.store import StoreUnavailableError, connect_store
from tests.alerting.notify_support import DELIVERED, Rig, VirtualClock, World, entry, notice
from tests.servers import RedisServer

pytestmark = pytest.mark.servers
KEY = "p0-1764500000000-0-3"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
async def store(server):
    client = connect_store(server.url)
    await client.execute_command("FLUSHALL")
    yield client
    await client.aclose()


async def test_another_process_knows_what_was_delivered(store):
    assert await StoreDeliveryLog(store).settled(KEY) is None
    await StoreDeliveryLog(store).note(KEY, "meldkamer", ReceiptStatus.DELIVERED)
    again = StoreDeliveryLog(store)
    assert await again.settled(KEY) is ReceiptStatus.DELIVERED
    assert await again.target_of(KEY) == "meldkamer"
    assert await again.settled(KEY + "4") is None


async def test_the_last_word_counts_and_rows_go_away_by_themselves(store):
    log = StoreDeliveryLog(store)
    await log.note(KEY, "meldkamer", ReceiptStatus.DELIVERED)
    await log.note(KEY, "meldkamer", ReceiptStatus.ACKNOWLEDGED)
    assert await StoreDeliveryLog(store).settled(KEY) is ReceiptStatus.ACKNOWLEDGED
    left_s = await store.execute_command("TTL", delivered_key(KEY))
    assert 6 * 86_400 < left_s <= 7 * 86_400


@pytest.mark.parametrize("row", [b"", b"9 delivered a", b"1 eaten a", b"\xff\xfe", b"1"])
async def test_a_row_that_cannot_be_read_is_none(store, row):
    await store.execute_command("SET", delivered_key(KEY), row)
    assert await StoreDeliveryLog(store).settled(KEY) is None
    assert await StoreDeliveryLog(store).target_of(KEY) is None


async def test_a_store_that_is_away_is_an_error_and_this_process_still_remembers(tmp_path):
    with RedisServer(tmp_path) as server:
        client = connect_store(server.url)
        log = StoreDeliveryLog(client)
    with pytest.raises(StoreUnavailableError):
        await log.note(KEY, "a", ReceiptStatus.REFUSED)
    assert await log.settled(KEY) is ReceiptStatus.REFUSED
    with pytest.raises(StoreUnavailableError):
        await log.settled(KEY + "4")
    await client.aclose()


async def test_a_notifier_that_died_before_its_acknowledgement_sends_no_copy(store):
    """Killed between the log and the outbox: the next one is given the entry again."""
    entries = [entry(1, notice(AlarmClass.PANIC, target="a"))]
    world: Any = World(entries)
    clock = VirtualClock()
    behave: dict[str, Any] = {"a": lambda delivery, attempt: DELIVERED}
    for life in range(2):
        world.log = StoreDeliveryLog(store)  # of a new process: nothing is in its memory
        rig = Rig(behave, world, clock, LaneSettings())
        if not life:
            rig.source.acknowledge = _never  # it never gets there
        rig.task = asyncio.create_task(rig.notifier.run())
        for _ in range(400):
            await asyncio.sleep(0.005)
            if world.all_acknowledged or (not life and await _noted(store, entries[0].key_of(0))):
                break
        await rig.kill()
    assert world.all_acknowledged
    assert [key for _, key, _ in world.got] == [entries[0].key_of(0)]


async def _never(entries):
    await asyncio.Event().wait()


async def _noted(store, key):
    return await store.execute_command("GET", delivered_key(key)) is not None
