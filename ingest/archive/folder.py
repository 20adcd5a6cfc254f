"""The files of one stream of one partition: `partition=P/stream=S/day=YYYY-MM-DD/...parquet`.

The folder names are those that data frame libraries know as Hive partitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ingest.archive.chain import StreamName
from ingest.archive.names import DAMAGED, UNFINISHED, ArchiveFile, day_of, sync_folder
from ingest.store import BEGINNING, EntryId


class ArchiveFolder:
    """Where the files of a stream are. Holds no state: what it says is what is on the disk."""

    def __init__(self, root: Path, partition: str, stream: StreamName) -> None:
        self.root = root
        self.partition = partition
        self.stream = stream
        self.base = root / f"partition={partition}" / f"stream={stream}"

    def files(self, after: EntryId = BEGINNING) -> Iterator[ArchiveFile]:
        """Return the files that hold anything behind an id, oldest first."""
        for day in self._days():
            if day.name >= f"day={day_of(after)}":
                yield from (file for file in self._files_of(day) if file.last > after)

    def last(self) -> ArchiveFile | None:
        """Return the newest file."""
        for day in reversed(self._days()):
            files = self._files_of(day)
            if files:
                return files[-1]
        return None

    def last_id(self) -> EntryId:
        """Return the id of the newest archived entry, `0-0` for none."""
        last = self.last()
        return BEGINNING if last is None else last.last

    def folder_of(self, entry_id: EntryId) -> Path:
        """Return where a file that begins with an entry belongs; its folder is there then."""
        folder = self.base / f"day={day_of(entry_id)}"
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(missing):
            sync_folder(path.parent)
        return folder

    def remove_unfinished(self) -> list[Path]:
        """Remove what a writer that died has left. Nobody else may be writing."""
        found = sorted(self.base.glob(f"day=*/*{UNFINISHED}"))
        for path in found:
            path.unlink()
        return found

    def set_aside(self, file: ArchiveFile) -> Path:
        """Rename a damaged file, so that nobody takes it for a good one."""
        damaged = file.path.with_name(file.path.name + DAMAGED)
        file.path.rename(damaged)
        sync_folder(damaged.parent)
        return damaged

    def _days(self) -> list[Path]:
        return sorted(self.base.glob("day=????-??-??"))

    @staticmethod
    def _files_of(day: Path) -> list[ArchiveFile]:
        return sorted(file for path in day.iterdir() if (file := ArchiveFile.of(path)) is not None)
