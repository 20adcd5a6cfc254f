"""The outbox.

What a partition's watch has decided, under the ids of the journal entries it follows from.

Redis refuses an id that is not greater than the stream's last one. Replicas compute the same
outbox, so whoever writes an entry first counts and the copy of the other is refused: no lease, no
leader. The notifier and the archive read by consumer group.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

import redis.exceptions

from ingest.devices import check_partition
from ingest.entries import ENTRY_VERSION, EntryVersionError
from ingest.journal import last_id, newest_until
from ingest.store import (
    BEGINNING,
    EntryId,
    Store,
    StoreUnavailableError,
    command,
    outbox_key,
)

# The exact words of Redis 5 to 8 and Valkey 7 to 9 (t_stream.c); the client takes the leading "ERR
# " off.
_REFUSED = "The ID specified in XADD is equal or smaller than the target stream top item"


class Appended(Enum):
    """What became of an entry: `REFUSED` = the outbox has this id, or a later one, already."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class OutboxEntry(NamedTuple):
    """One entry as read.

    `id` is that of the journal entry it follows from; `blob` holds all outputs, as the watch wrote
    them.

    An empty blob stands for a pending entry that no longer exists (somebody deleted it by hand):
    acknowledge it and say so.
    """

    id: EntryId
    blob: bytes


class Outbox:
    """The outboxes of all partitions. Cheap: holds no connection of its own and no state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, partition: str, entry_id: EntryId, blob: bytes) -> Appended:
        """Append the outputs of one journal entry under its id.

        Raises StoreUnavailableError, after which it may be written or not: read `last_id` and go on
        from there.
        """
        key = outbox_key(check_partition(partition))
        try:
            await self._store.execute_command(
                "XADD", key, str(entry_id), b"v", ENTRY_VERSION, b"b", blob
            )
        except redis.exceptions.ResponseError as error:
            if str(error).removeprefix("ERR ").startswith(_REFUSED):
                return Appended.REFUSED
            raise StoreUnavailableError(f"XADD {key}: {error}") from error
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(f"XADD {key}: {type(error).__name__}: {error}") from error
        return Appended.ACCEPTED

    async def last_id(self, partition: str) -> EntryId:
        """Return the greatest id ever written (trimmed or not); `0-0` of an empty outbox."""
        return await last_id(self._store, outbox_key(partition))

    async def newest_until(self, partition: str, entry_id: EntryId) -> EntryId:
        """Return the id of the newest entry held up to an id; `0-0` for none."""
        return await newest_until(self._store, outbox_key(partition), entry_id)

    async def read(
        self, partition: str, after: EntryId, count: int, block_ms: int | None = None
    ) -> list[OutboxEntry]:
        """Return up to `count` entries behind `after`, oldest first, without any group."""
        block = () if block_ms is None else ("BLOCK", block_ms)
        key = outbox_key(partition)
        args = ("XREAD", "COUNT", count, *block, "STREAMS", key, str(after))
        return _entries(await command(self._store, *args))

    async def ensure_group(self, partition: str, group: str) -> None:
        """Create the consumer group, from the outbox's first entry on, when it does not exist."""
        args = ("XGROUP", "CREATE", outbox_key(partition), group, "0", "MKSTREAM")
        try:
            await command(self._store, *args)
        except StoreUnavailableError as error:
            if not str(error.__cause__).startswith("BUSYGROUP"):
                raise

    async def read_group(
        self, partition: str, group: str, consumer: str, count: int, block_ms: int | None = None
    ) -> list[OutboxEntry]:
        """Return up to `count` entries that no consumer of the group was given before.

        They are pending until `ack`.
        """
        return await self._read_group(partition, group, consumer, count, block_ms, ">")

    async def read_pending(
        self, partition: str, group: str, consumer: str, count: int, after: EntryId = BEGINNING
    ) -> list[OutboxEntry]:
        """Return this consumer's own entries behind `after` that it never acknowledged.

        A restart under the same name first reads these to the end (`after` = the last one
        returned), then `read_group`.
        """
        return await self._read_group(partition, group, consumer, count, None, str(after))

    async def claim(
        self, partition: str, group: str, consumer: str, min_idle_ms: int, count: int
    ) -> list[OutboxEntry]:
        """Take over up to `count` entries that another consumer left pending for `min_idle_ms`."""
        key = outbox_key(partition)
        args = ("XAUTOCLAIM", key, group, consumer, min_idle_ms, "0-0", "COUNT", count)
        answer = await command(self._store, *args)
        return [OutboxEntry(EntryId.parse(raw), _blob(fields)) for raw, fields in answer[1]]

    async def ack(self, partition: str, group: str, entry_ids: Iterable[EntryId]) -> None:
        """Mark entries as done for the group. Acknowledging twice is harmless."""
        ids = [str(entry_id) for entry_id in entry_ids]
        if ids:
            await command(self._store, "XACK", outbox_key(partition), group, *ids)

    async def groups(self, partition: str) -> list[str]:
        """Return the names of the consumer groups."""
        infos = await self._info("GROUPS", outbox_key(partition))
        return [info[b"name"].decode("utf-8", "replace") for info in infos]

    async def _info(self, *what: Any) -> list[dict[bytes, Any]]:
        try:
            answer = await command(self._store, "XINFO", *what)
        except StoreUnavailableError as error:
            if str(error.__cause__) == "no such key":
                return []
            raise
        return [dict(zip(raw[::2], raw[1::2], strict=True)) for raw in answer]

    async def taken_up_to(self, partition: str, group: str) -> EntryId:
        """Return the last entry that a group was given; `0-0` when it does not exist."""
        for info in await self._info("GROUPS", outbox_key(partition)):
            if info[b"name"].decode("utf-8", "replace") == group:
                return EntryId.parse(info[b"last-delivered-id"])
        return BEGINNING

    async def done_before(self, partition: str) -> EntryId:
        """Return the id that every group has passed.

        Each entry below it was acknowledged by every group.

        `0-0` when there is no group, because then nobody has read anything.
        """
        key = outbox_key(partition)
        floor: EntryId | None = None
        for info in await self._info("GROUPS", key):
            passed = EntryId.parse(info[b"last-delivered-id"]).next()
            if info[b"pending"]:
                summary = await command(self._store, "XPENDING", key, info[b"name"])
                if summary["min"] is not None:
                    passed = min(passed, EntryId.parse(summary["min"]))
            floor = passed if floor is None else min(floor, passed)
        return BEGINNING if floor is None else floor

    async def trim(self, partition: str, before: EntryId) -> int:
        """Remove entries older than `before`, but none that a group has still to acknowledge.

        Return how many went.
        """
        floor = min(before, await self.done_before(partition))
        return int(await command(self._store, "XTRIM", outbox_key(partition), "MINID", str(floor)))

    async def _read_group(
        self,
        partition: str,
        group: str,
        consumer: str,
        count: int,
        block_ms: int | None,
        start: str,
    ) -> list[OutboxEntry]:
        block = () if block_ms is None else ("BLOCK", block_ms)
        key = outbox_key(partition)
        args = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *block)
        return _entries(await command(self._store, *args, "STREAMS", key, start))


def _entries(answer: Any) -> list[OutboxEntry]:
    if not answer:
        return []
    return [OutboxEntry(EntryId.parse(raw), _blob(fields)) for raw, fields in answer[0][1]]


def _blob(fields: dict[bytes, bytes] | None) -> bytes:
    if not fields:
        return b""
    if fields.get(b"v") != ENTRY_VERSION:
        raise EntryVersionError(f"outbox entry of format {fields.get(b'v')!r}")
    return fields.get(b"b", b"")
