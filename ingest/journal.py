"""The journal: everything a partition ever accepted, in one order, stamped by the server.

The intake and the watch append; every replica reads. An entry's id is given by the server (`XADD
*`), so its millisecond part never runs backwards. Whoever appends counts an entry as stored only
when its id came back; with `appendfsync always` (the shipped configuration) it is on disk by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from afstand.limits import JOURNAL_BLOB_BYTES_MAX
from ingest.devices import check_partition
from ingest.entries import Entry, EntryKind, entry_fields, read_entry
from ingest.store import (
    BEGINNING,
    EntryId,
    Pipeline,
    Store,
    StoreUnavailableError,
    command,
    journal_key,
    pipeline,
)


class Append(NamedTuple):
    """One entry to be appended."""

    partition: str
    kind: EntryKind
    blob: bytes


class Journal:
    """The journals of all partitions. Cheap: holds no connection of its own and no state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, partition: str, kind: EntryKind, blob: bytes) -> EntryId:
        """Append one entry and return its id.

        Raises StoreUnavailableError, after which it may be in the journal or not.
        """
        answer = await command(self._store, *xadd_command(Append(partition, kind, blob)))
        return EntryId.parse(answer)

    async def append_many(
        self, appends: Sequence[Append], also: Sequence[tuple[Any, ...]] = ()
    ) -> tuple[list[EntryId | StoreUnavailableError], list[Any]]:
        """Append entries of any partitions, and run the commands `also` (quarantine), in one write.

        Returns one result per entry, in order, and the answers to `also`: an element that is an
        exception failed alone. Raises StoreUnavailableError when the connection failed, after which
        any of them may have been done.
        """
        commands = [xadd_command(append) for append in appends]

        def fill(pipe: Pipeline) -> None:
            for args in (*commands, *also):
                pipe.execute_command(*args)

        answers = await pipeline(self._store, fill)
        return [_entry_id(answer) for answer in answers[: len(commands)]], answers[len(commands) :]

    async def aclose(self) -> None:
        """Do nothing: the store's connections are its owner's."""

    async def read(
        self, partition: str, after: EntryId, count: int, block_ms: int | None = None
    ) -> list[Entry]:
        """Return up to `count` entries behind `after`, oldest first.

        Waits up to `block_ms` for the first one.

        Raises StoreUnavailableError, and EntryVersionError at an entry of a later format.
        """
        block = () if block_ms is None else ("BLOCK", block_ms)
        answer = await command(
            self._store,
            *("XREAD", "COUNT", count, *block, "STREAMS", journal_key(partition), str(after)),
        )
        return [read_entry(raw, fields) for raw, fields in answer[0][1]] if answer else []

    async def last_id(self, partition: str) -> EntryId:
        """Return the id of the newest entry ever appended (trimmed or not).

        `0-0` of an empty journal.
        """
        return await last_id(self._store, journal_key(partition))

    async def newest_until(self, partition: str, entry_id: EntryId) -> EntryId:
        """Return the id of the newest entry held up to an id; `0-0` for none."""
        return await newest_until(self._store, journal_key(partition), entry_id)

    async def first_id(self, partition: str) -> EntryId | None:
        """Return the id of the oldest entry still held, None when there is none."""
        answer = await command(self._store, "XRANGE", journal_key(partition), "-", "+", "COUNT", 1)
        return EntryId.parse(answer[0][0]) if answer else None

    async def length(self, partition: str) -> int:
        """Return how many entries are held."""
        return int(await command(self._store, "XLEN", journal_key(partition)))

    async def trim(self, partition: str, before: EntryId) -> int:
        """Remove the entries older than `before` and return how many.

        The caller knows that every reader has passed them.

        Never by length: XADD MAXLEN drops what a reader has not seen.
        """
        return int(
            await command(self._store, "XTRIM", journal_key(partition), "MINID", str(before))
        )


async def last_id(store: Store, key: str) -> EntryId:
    """Return the greatest id a stream has ever had; `0-0` when it does not exist."""
    try:
        answer = await command(store, "XINFO", "STREAM", key)
    except StoreUnavailableError as error:
        if str(error.__cause__) == "no such key":
            return BEGINNING
        raise
    info = dict(zip(answer[::2], answer[1::2], strict=True))
    return EntryId.parse(info[b"last-generated-id"])


async def newest_until(store: Store, key: str, entry_id: EntryId) -> EntryId:
    """Return the id of the newest entry that a stream holds up to an id; `0-0` for none."""
    answer = await command(store, "XREVRANGE", key, str(entry_id), "-", "COUNT", 1)
    return EntryId.parse(answer[0][0]) if answer else BEGINNING


def xadd_command(append: Append) -> tuple[Any, ...]:
    """Return the command that appends an entry; raises ValueError for what can be none."""
    if len(append.blob) > JOURNAL_BLOB_BYTES_MAX:
        raise ValueError(
            f"an entry of {len(append.blob)} bytes; at most {JOURNAL_BLOB_BYTES_MAX} allowed"
        )
    key = journal_key(check_partition(append.partition))
    return ("XADD", key, "*", *entry_fields(append.kind, append.blob))


def _entry_id(answer: Any) -> EntryId | StoreUnavailableError:
    if isinstance(answer, Exception):
        return StoreUnavailableError(f"XADD: {type(answer).__name__}: {answer}")
    return EntryId.parse(answer)
