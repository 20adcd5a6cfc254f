"""The names of the archive's files and folders, and the error of a file that is not what it was."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from ingest.store import EntryId

_NAME: Final = re.compile(r"(\d{20})-(\d{10,20})_(\d{20})-(\d{10,20})\.([0-9a-f]{64})\.parquet")
UNFINISHED: Final = ".unfinished"
DAMAGED: Final = ".damaged"


class ArchiveError(Exception):
    """A file of the archive that is not what it was when it was written.

    `last_good` is the last entry of it that can be relied on, None for not one.
    """

    def __init__(self, path: Path, reason: str, last_good: EntryId | None = None) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason
        self.last_good = last_good


class GapError(Exception):
    """Entries that were trimmed are in no archive that this machine can read."""

    def __init__(self, stream: str, after: EntryId, floor: EntryId, why: str) -> None:
        super().__init__(
            f"{stream} entries behind {after} and before {floor} are neither in the store nor "
            f"in the archive: {why}"
        )
        self.after = after
        self.floor = floor


class ArchiveFile(NamedTuple):
    """A file by its name."""

    first: EntryId
    last: EntryId
    digest: str
    path: Path

    @classmethod
    def of(cls, path: Path) -> ArchiveFile | None:
        """Return what a name says, None for a name that is none of ours."""
        found = _NAME.fullmatch(path.name)
        if found is None:
            return None
        numbers = [int(found[k]) for k in range(1, 5)]
        return cls(EntryId(*numbers[:2]), EntryId(*numbers[2:]), found[5], path)


def day_of(entry_id: EntryId) -> str:
    """Return the day of an entry, in UTC."""
    return datetime.fromtimestamp(entry_id.ms / 1000, UTC).strftime("%Y-%m-%d")


def padded(entry_id: EntryId) -> str:
    """Return an id so that names sort as ids do."""
    return f"{entry_id.ms:020d}-{entry_id.seq:010d}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
