"""Many entries as columns over one buffer, so that a page of them costs no object per entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.entries import Entry, EntryKind
from ingest.store import EntryId

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

OUTPUTS: Final = "outputs"
"""The kind of every outbox entry."""
KINDS: Final[tuple[str, ...]] = (*(kind.value for kind in EntryKind), OUTPUTS)
"""A kind's code in a column is its place here."""
KIND_CODES: Final = {kind: code for code, kind in enumerate(KINDS)}


class Item(NamedTuple):
    """An entry of either stream: `kind` is of `EntryKind`, or `outputs` in the outbox."""

    id: EntryId
    kind: str
    blob: bytes


class EntryColumns:
    """Entries in their order: id, kind, and where in `data` the blob is."""

    __slots__ = ("data", "kind", "length", "ms", "seq", "start")

    def __init__(
        self,
        ms: Ints,
        seq: Ints,
        kind: npt.NDArray[np.uint8],
        start: Ints,
        length: Ints,
        data: Bytes,
    ) -> None:
        self.ms = ms
        self.seq = seq
        self.kind = kind
        self.start = start
        self.length = length
        self.data = data

    def __len__(self) -> int:
        return len(self.ms)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self)))

    def id(self, index: int) -> EntryId:
        """Return the id of one."""
        return EntryId(int(self.ms[index]), int(self.seq[index]))

    def blob(self, index: int) -> bytes:
        """Return what one holds."""
        start = int(self.start[index])
        return self.data[start : start + int(self.length[index])].tobytes()

    def entry(self, index: int) -> Entry:
        """Return one as an entry of the journal."""
        return Entry(self.id(index), EntryKind(KINDS[self.kind[index]]), self.blob(index))

    def item(self, index: int) -> Item:
        """Return one as an entry of either stream."""
        return Item(self.id(index), KINDS[self.kind[index]], self.blob(index))

    def part(self, first: int, end: int) -> EntryColumns:
        """Return those from `first` to before `end`, over the same buffer."""
        rows = slice(first, end)
        return EntryColumns(
            self.ms[rows],
            self.seq[rows],
            self.kind[rows],
            self.start[rows],
            self.length[rows],
            self.data,
        )

    def after(self, entry_id: EntryId) -> EntryColumns:
        """Return those behind an id."""
        first = self._count_until(entry_id)
        return self if first == 0 else self.part(first, len(self))

    def until(self, entry_id: EntryId | None) -> EntryColumns:
        """Return those up to and with an id; all for None."""
        if entry_id is None or (len(self) and self.id(len(self) - 1) <= entry_id):
            return self
        return self.part(0, self._count_until(entry_id))

    def _count_until(self, entry_id: EntryId) -> int:
        count = int(np.searchsorted(self.ms, entry_id.ms))
        while count < len(self) and self.id(count) <= entry_id:
            count += 1
        return count

    @classmethod
    def of(cls, entries: Sequence[Entry | Item]) -> EntryColumns:
        """Return entries as columns."""
        lengths = np.fromiter((len(e.blob) for e in entries), np.int64, len(entries))
        data: Any = b"".join(entry.blob for entry in entries)
        return cls(
            np.fromiter((e.id.ms for e in entries), np.int64, len(entries)),
            np.fromiter((e.id.seq for e in entries), np.int64, len(entries)),
            np.fromiter((KIND_CODES[e.kind] for e in entries), np.uint8, len(entries)),
            np.cumsum(lengths) - lengths,
            lengths,
            np.frombuffer(data, np.uint8),
        )
