"""A sign of life of every replica, for those who only read: the console above all.

The outbox is silent when there is nothing to say, so its silence does not tell whether a watch
lives. Each process says every second how far its replicas are, under a key that expires by itself.
Nobody's decision depends on it.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from afstand.limits import WATCH_BEAT_EXPIRES_MS, WATCH_BEAT_MS
from afstand.watch.replica import Replica
from ingest.store import EntryId, Pipeline, Store, StoreUnavailableError, command, pipeline

log = structlog.get_logger()


class Beat(NamedTuple):
    """One replica: the last entry it folded, and why it is not ready ("": it is)."""

    entry_id: EntryId
    not_ready: str


class _Said(msgspec.Struct):
    at: str
    not_ready: str


def beat_key(partition: str, index: int) -> str:
    """The key under which a replica says that it lives."""
    return f"watch:{{{partition}}}:{index}"


async def keep_beating(store: Store, replicas: Sequence[Replica]) -> None:
    """Say so every second, for ever. A store that does not answer is somebody else's news."""
    while True:
        try:
            await pipeline(store, lambda pipe: _say(pipe, replicas))
        except StoreUnavailableError as error:
            log.debug("no sign of life written", error=str(error))
        await asyncio.sleep(WATCH_BEAT_MS / 1000)


def _say(pipe: Pipeline, replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        said = msgspec.json.encode(_Said(str(replica.at), replica.not_ready))
        key = beat_key(replica.partition, replica.index)
        pipe.execute_command("SET", key, said, "PX", WATCH_BEAT_EXPIRES_MS)


async def read_beats(store: Store, partition: str, replicas_max: int) -> list[Beat]:
    """The replicas that live. Raises StoreUnavailableError."""
    keys = [beat_key(partition, index) for index in range(replicas_max)]
    found: list[Beat] = []
    for raw in await command(store, "MGET", *keys):
        if raw is None:
            continue
        try:
            said = msgspec.json.decode(raw, type=_Said)
            found.append(Beat(EntryId.parse(said.at), said.not_ready))
        except (msgspec.MsgspecError, ValueError):
            continue
    return found
