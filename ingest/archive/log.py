"""The chain log: the links of the entries that are still in the stream.

Whoever changes an entry in the store, or loses one, contradicts this log, which lies elsewhere.
Links move into the archive with their entries; then their segment is removed. A segment is a file
`{first id}.chain`: a head (format, the hash before the first link) and links of one size, each with
a checksum. A torn tail is cut at the last whole link.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from afstand.limits import CHAIN_SEGMENT_LINKS
from ingest.archive.chain import HASH_BYTES, SALT_BYTES, Link
from ingest.archive.names import sync_folder
from ingest.store import EntryId

_MAGIC: Final = b"AFCHAIN2"
_HEAD: Final = struct.Struct(f"<8s{HASH_BYTES}sI")
_LINK: Final = struct.Struct(f"<QQ{SALT_BYTES}s{HASH_BYTES}sI")
_SUFFIX: Final = ".chain"


class Segment(NamedTuple):
    """One file, as far as it is whole. `torn_bytes` of it are not."""

    path: Path
    previous: bytes
    links: list[Link]
    torn_bytes: int


class ChainLog:
    """The links of one stream. One writer; anybody may read."""

    LINK_BYTES: Final = _LINK.size

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, previous: bytes, links: Sequence[Link]) -> None:
        """Store links durably; `previous` is the hash before the first of them.

        Raises OSError, after which some of them may be there: read before going on.
        """
        path = self._newest()
        fresh = path is None or path.stat().st_size >= _HEAD.size + CHAIN_SEGMENT_LINKS * _LINK.size
        raw = b"".join(map(_packed, links))
        if path is None or fresh:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{links[0].id.ms:020d}-{links[0].id.seq:010d}{_SUFFIX}"
            raw = _packed_head(previous) + raw
        with path.open("ab") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync_folder(self._folder)

    def segments(self) -> Iterator[Segment]:
        """Return all segments, oldest first."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            yield _read(path)

    def mend(self) -> list[str]:
        """Cut torn tails, and drop what does not follow what is before it. Say what was done."""
        said: list[str] = []
        head: bytes | None = None
        for segment in list(self.segments()):
            if head is not None and segment.previous != head:
                segment.path.unlink()
                said.append(f"{segment.path.name} does not follow the segment before it: removed")
            elif not segment.links:
                segment.path.unlink()
                said.append(f"{segment.path.name} has no whole link: removed")
            else:
                if segment.torn_bytes:
                    _cut(segment.path, len(segment.links))
                    end = segment.links[-1].id
                    said.append(f"{segment.path.name}: {segment.torn_bytes} bytes behind {end} cut")
                head = segment.links[-1].hash
        return said

    def rewind(self, last: EntryId) -> None:
        """Forget every link behind `last`."""
        for segment in reversed(list(self.segments())):
            kept = sum(1 for one in segment.links if one.id <= last)
            if kept == len(segment.links):
                return
            if kept:
                _cut(segment.path, kept)
            else:
                segment.path.unlink()

    def forget(self, until: EntryId) -> None:
        """Remove the segments that hold nothing behind an id: their links are in the archive."""
        for segment in self.segments():
            if segment.links and segment.links[-1].id > until:
                return
            segment.path.unlink()

    def _newest(self) -> Path | None:
        return max(self._folder.glob(f"*{_SUFFIX}"), default=None)


def _packed(one: Link) -> bytes:
    raw = _LINK.pack(one.id.ms, one.id.seq, one.salt, one.hash, 0)[:-4]
    return raw + zlib.crc32(raw).to_bytes(4, "little")


def _packed_head(previous: bytes) -> bytes:
    raw = _HEAD.pack(_MAGIC, previous, 0)[:-4]
    return raw + zlib.crc32(raw).to_bytes(4, "little")


def _read(path: Path) -> Segment:
    raw = path.read_bytes()
    if len(raw) < _HEAD.size or not raw.startswith(_MAGIC) or not _sound(raw[: _HEAD.size]):
        return Segment(path, b"", [], len(raw))
    _, previous, _ = _HEAD.unpack_from(raw)
    links: list[Link] = []
    end = _HEAD.size
    while end + _LINK.size <= len(raw) and _sound(raw[end : end + _LINK.size]):
        ms, seq, salt, hash_, _ = _LINK.unpack_from(raw, end)
        links.append(Link(EntryId(ms, seq), salt, hash_))
        end += _LINK.size
    return Segment(path, previous, links, len(raw) - end)


def _sound(raw: bytes) -> bool:
    return zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little")


def _cut(path: Path, links: int) -> None:
    with path.open("r+b") as file:
        file.truncate(_HEAD.size + links * _LINK.size)
        os.fsync(file.fileno())
