"""Snapshots of a watch, in files.

A file is written whole under another name, synced and renamed, so a name that exists is a snapshot
that was complete. It carries its format, the program that wrote it, the id of the last folded entry
and a checksum; one that does not read is passed over for the one before it (a replica may start
from any snapshot and reach the same state), never repaired.
"""

import os
import zlib
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from afstand.limits import SNAPSHOTS_KEPT
from ingest.store import EntryId

SNAPSHOT_FORMAT: Final = 1
_SUFFIX: Final = ".snapshot"


class Snapshot(NamedTuple):
    """The state of a watch after the entry `entry_id`."""

    entry_id: EntryId
    program: str
    state: bytes


class _File(msgspec.Struct, frozen=True, array_like=True):
    format: int
    partition: str
    entry_id: str
    program: str
    crc32: int
    state: bytes


def _checksum(entry_id: str, program: str, state: bytes) -> int:
    return zlib.crc32(state, zlib.crc32(f"{entry_id} {program}".encode()))


class SnapshotError(ValueError):
    """A file that cannot be used, and why."""


class Snapshots:
    """The snapshots of one replica of one partition, in one folder."""

    def __init__(self, folder: Path, partition: str) -> None:
        self._folder = folder / partition
        self._partition = partition

    def write(self, snapshot: Snapshot) -> Path:
        """Store durably, then remove all but the newest few. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ms, seq = snapshot.entry_id
        path = self._folder / f"{ms:020d}-{seq:010d}{_SUFFIX}"
        raw = msgspec.msgpack.encode(
            _File(
                SNAPSHOT_FORMAT,
                self._partition,
                str(snapshot.entry_id),
                snapshot.program,
                _checksum(str(snapshot.entry_id), snapshot.program, snapshot.state),
                zlib.compress(snapshot.state, 1),
            )
        )
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        self._sync_folder()
        for old in self._files()[SNAPSHOTS_KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def candidates(self) -> list[Path]:
        """All snapshots, newest first."""
        return self._files()

    def read(self, path: Path) -> Snapshot:
        """Read one. Raises SnapshotError with the reason when it is torn.

        Of another format or another partition's.
        """
        try:
            found = msgspec.msgpack.decode(path.read_bytes(), type=_File)
            state = zlib.decompress(found.state)
        except (OSError, msgspec.MsgspecError, zlib.error) as error:
            raise SnapshotError(f"{path.name}: {error}") from None
        if found.format != SNAPSHOT_FORMAT:
            raise SnapshotError(f"{path.name}: format {found.format}, this program reads 1")
        if found.partition != self._partition:
            raise SnapshotError(f"{path.name}: of partition {found.partition}")
        if _checksum(found.entry_id, found.program, state) != found.crc32:
            raise SnapshotError(f"{path.name}: wrong checksum")
        return Snapshot(EntryId.parse(found.entry_id), found.program, state)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
