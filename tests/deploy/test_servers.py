"""Store and broker with the shipped files: what they promise they keep."""

import asyncio
import contextlib

import aiomqtt
import pytest
import redis.exceptions

from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.store import EntryId, StoreUnavailableError, connect_store
from tests.servers import MOSQUITTO_CONF, MosquittoServer, RedisServer

pytestmark = pytest.mark.servers
MESSAGES = 3_000  # the default of max_queued_messages is 1000, and drops the rest


def client(broker, name):
    return aiomqtt.Client(
        broker.host, broker.port, identifier=name, clean_session=False,
        protocol=aiomqtt.ProtocolVersion.V311, timeout=30, max_inflight_messages=500,
        max_queued_outgoing_messages=0,
    )  # fmt: skip


@pytest.mark.slow
async def test_the_broker_keeps_what_waits_for_an_intake_that_is_away(tmp_path):
    with MosquittoServer(tmp_path) as broker:
        async with client(broker, "intake") as away:
            await away.subscribe("em/+/fix", qos=1)
        async with client(broker, "device") as device:
            sent = [b"%d" % number for number in range(MESSAGES)]
            await asyncio.gather(*(device.publish("em/a/fix", one, qos=1) for one in sent))
        # A restart in good order, too: sessions and messages are in its file.
        broker.stop()
        broker.start()
        got = []
        async with client(broker, "intake") as back:
            async for message in back.messages:
                got.append(message.payload)
                if len(got) == MESSAGES:
                    break
    assert sorted(got) == sorted(sent)


@pytest.mark.slow
async def test_a_store_that_is_full_refuses_and_forgets_nothing(tmp_path):
    with RedisServer(tmp_path, extra=["--maxmemory", "6mb"]) as server:
        store = connect_store(server.url)
        journal = Journal(store)
        kept: list[EntryId] = []
        try:
            with contextlib.suppress(StoreUnavailableError):
                while len(kept) < 10_000:
                    kept.append(await journal.append("p0", EntryKind.SIGNAL, bytes(4_000)))
            assert len(kept) < 10_000
            assert len(kept) > 100
            assert await journal.length("p0") == len(kept)
            assert await journal.first_id("p0") == kept[0]
            with pytest.raises(redis.exceptions.ResponseError):
                await store.execute_command("SET", "more", "text" * 100)
        finally:
            await store.aclose()


def test_the_broker_is_set_up_to_keep_what_it_has_and_to_let_nobody_in_unknown():
    """What takes too long to be seen at work; the rest of it is above."""
    lines = (line.split(maxsplit=1) for line in MOSQUITTO_CONF.read_text().splitlines())
    said = {one[0]: one[1] for one in lines if len(one) == 2 and one[0] != "#"}
    assert (said["persistence"], said["autosave_interval"]) == ("true", "10")
    assert "autosave_on_changes" not in said
    assert int(said["max_queued_messages"]) >= 1_000_000
    assert int(said["max_inflight_messages"]) >= 1_000
    assert said["persistent_client_expiration"] == "14d"
    assert (said["allow_anonymous"], said["require_certificate"]) == ("false", "true")
    assert said["acl_file"] == "/etc/mosquitto/acl"


async def test_the_store_is_set_up_to_lose_nothing(tmp_path):
    wanted = {
        "appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction", "aof-load-truncated": "yes",
    }  # fmt: skip
    with RedisServer(tmp_path) as server:
        store = connect_store(server.url)
        try:
            for name, value in wanted.items():
                found = await store.execute_command("CONFIG", "GET", name)
                assert [str(one, "ascii") for one in found] == [name, value]
        finally:
            await store.aclose()
