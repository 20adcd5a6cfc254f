"""Snapshots of a watch, in files.

A file is written whole under another name, synced and renamed, so a name that exists is a snapshot
that was complete. It begins with the SHA-256 of all that follows: its format, the program that
wrote it, the rules that the state was made by, and the id of the last folded entry. One that is
torn is passed over for the one before it (a replica may start from any snapshot and reach the same
state), never repaired. One of other rules is refused, unless a migration is known.
"""

import os
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from afstand.limits import SNAPSHOTS_KEPT
from afstand.watch.fold import RULES, RULES_1, Watch
from ingest.store import EntryId

SNAPSHOT_FORMAT: Final = 2
_SUFFIX: Final = ".snapshot"
_DIGEST_BYTES: Final = 32

Migration = Callable[[bytes], bytes]
"""Makes a state of these rules of a state of others. Raises ValueError."""

MIGRATIONS: Final[Mapping[str, Migration]] = {RULES_1: Watch.of_format_1}
"""By the rules that a state was made by; each has a test that goes on from a real snapshot."""


class Snapshot(NamedTuple):
    """The state of a watch after the entry `entry_id`."""

    entry_id: EntryId
    program: str
    state: bytes
    rules: str = RULES


class _File(msgspec.Struct, frozen=True, array_like=True):
    format: int
    partition: str
    entry_id: str
    program: str
    rules: str
    state: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    format: int


class SnapshotError(ValueError):
    """A file that cannot be used, and why."""


class SnapshotRefusedError(SnapshotError):
    """A whole snapshot that this program must not go on from.

    Its rules or its format are others: a person decides what is to become of it.
    """


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
                snapshot.rules,
                zlib.compress(snapshot.state, 1),
            )
        )
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(sha256(raw).digest())
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
        """Read one, whatever its rules.

        Raises SnapshotError with the reason when it is torn or another partition's, and
        SnapshotRefusedError when it is of another format.
        """
        try:
            whole = path.read_bytes()
        except OSError as error:
            raise SnapshotError(f"{path.name}: {error}") from None
        raw = whole[_DIGEST_BYTES:]
        if sha256(raw).digest() != whole[:_DIGEST_BYTES]:
            raise SnapshotError(f"{path.name}: torn or changed: it is not what was written")
        try:
            head = msgspec.msgpack.decode(raw, type=_Head)
            if head.format != SNAPSHOT_FORMAT:
                reason = f"format {head.format}, this program reads {SNAPSHOT_FORMAT}"
                raise SnapshotRefusedError(f"{path.name}: {reason}")
            found = msgspec.msgpack.decode(raw, type=_File)
            state = zlib.decompress(found.state)
        except (msgspec.MsgspecError, zlib.error) as error:
            raise SnapshotError(f"{path.name}: {error}") from None
        if found.partition != self._partition:
            raise SnapshotError(f"{path.name}: of partition {found.partition}")
        return Snapshot(EntryId.parse(found.entry_id), found.program, state, found.rules)

    def read_usable(self, path: Path) -> Snapshot:
        """Read one whose state is of these rules, or was made so by a migration.

        Raises SnapshotError as `read` does, and SnapshotRefusedError for other rules.
        """
        found = self.read(path)
        if found.rules == RULES:
            return found
        migrate = MIGRATIONS.get(found.rules)
        if migrate is None:
            raise SnapshotRefusedError(
                f"{path.name}: made by program {found.program} under the rules {found.rules!r}; "
                f"this program has the rules {RULES!r} and no migration from those"
            )
        try:
            return found._replace(state=migrate(found.state), rules=RULES)
        except ValueError as error:
            raise SnapshotRefusedError(f"{path.name}: migration failed: {error}") from None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
