"""One file of the archive: consecutive entries of a stream of one day, as compressed columns.

A file has the name `{first id}_{last id}.{SHA-256 of its bytes}.parquet`, so that every single byte
of it is covered by its name. It is written whole under another name, synced, read back, compared
with what was to be written, and renamed: a name that exists is a file that was complete. Any
Parquet reader can open it; the schema is `SCHEMA`, what belongs to the whole file stands as JSON
under the key `afstand`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from afstand.limits import ARCHIVE_ROW_GROUP_ENTRIES
from ingest.archive.chain import (
    HASH_BYTES,
    SALT_BYTES,
    Link,
    StreamName,
    digest_of,
    digest_of_leaves,
    follows,
    hash_of,
)
from ingest.archive.keys import Keys, KeysError
from ingest.archive.names import UNFINISHED, ArchiveError, ArchiveFile, padded, sync_folder
from ingest.archive.sealing import NO_SALT, Opened, SealedError, unseal
from ingest.columns import KIND_CODES, KINDS, EntryColumns, Ints, Item
from ingest.store import EntryId

FORMAT: Final = "afstand.archive/3"
_FORMATS: Final = ("afstand.archive/2", FORMAT)
"""Those that can be read: in a file of format 2 nothing is sealed."""
SCHEMA: Final = pa.schema(
    [
        pa.field("ms", pa.int64(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("blob", pa.binary(), nullable=False),
        pa.field("salt", pa.binary(SALT_BYTES), nullable=False),
        pa.field("hash", pa.binary(HASH_BYTES), nullable=False),
        pa.field("sealed", pa.bool_(), nullable=False),
    ]
)
_KEY: Final = b"afstand"
# What reading columns out of altered bytes raises.
_UNREADABLE: Final = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError),
)


_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. Hashes in hexadecimal."""

    format: str
    partition: str
    stream: StreamName
    entries: int
    first: str
    last: str
    previous: _Hash
    """The hash of the entry before the first."""
    head: _Hash
    """The hash of the last entry."""


class Rows:
    """A part of a file: entries with their links, and what the keys opened of sealed ones."""

    __slots__ = ("columns", "hashes", "opened", "salts")

    def __init__(
        self,
        columns: EntryColumns,
        salts: npt.NDArray[np.void],
        hashes: npt.NDArray[np.void],
        opened: Mapping[int, Opened],
    ) -> None:
        self.columns = columns
        self.salts = salts
        self.hashes = hashes
        self.opened = opened

    def __len__(self) -> int:
        return len(self.columns)

    def item(self, index: int) -> Item:
        """Return one entry."""
        return self.columns.item(index)

    def link(self, index: int) -> Link:
        """Return the link of one; the salt of a sealed one is not known."""
        return Link(
            self.columns.id(index), self.salts[index].tobytes(), self.hashes[index].tobytes()
        )

    def follows(self, previous: bytes, index: int) -> bool:
        """Whether an entry is the one that was chained behind `previous`: needs no key."""
        item, its, opened = self.item(index), self.link(index), self.opened.get(index)
        if opened is None:
            return follows(previous, item, its)
        return hash_of(previous, item.id, digest_of_leaves(item.kind, opened.leaves)) == its.hash


def write_file(
    folder: Path,
    partition: str,
    stream: StreamName,
    previous: bytes,
    items: Sequence[Item],
    links: Sequence[Link],
    sealed: Sequence[bytes] = (),
) -> ArchiveFile:
    """Write entries durably; returns when file and folder are synced and the file reads back.

    `sealed`: the sealed blob of each entry, empty for one that stands as it is (`sealing.seal`).
    Raises OSError, and ArchiveError when what was read back is not what was written.
    """
    sealed = sealed or [b""] * len(items)
    folder.mkdir(parents=True, exist_ok=True)
    first, last = items[0].id, items[-1].id
    unfinished = folder / f"{padded(first)}{UNFINISHED}"
    meta = Meta(
        format=FORMAT,
        partition=partition,
        stream=stream,
        entries=len(items),
        first=str(first),
        last=str(last),
        previous=previous.hex(),
        head=links[-1].hash.hex(),
    )
    with unfinished.open("wb") as file:
        _write_table(file, meta, items, links, sealed)
        file.flush()
        os.fsync(file.fileno())
    raw = unfinished.read_bytes()
    digest = sha256(raw).hexdigest()
    path = folder / f"{padded(first)}_{padded(last)}.{digest}.parquet"
    made = ArchiveFile(first, last, digest, path)
    _compare(made, raw, previous, items)
    unfinished.rename(path)
    sync_folder(folder)
    return made


def _write_table(
    file: Any, meta: Meta, items: Sequence[Item], links: Sequence[Link], sealed: Sequence[bytes]
) -> None:
    codes = pa.array([KIND_CODES[item.kind] for item in items], pa.int8())
    table = pa.table(
        [
            pa.array([item.id.ms for item in items], pa.int64()),
            pa.array([item.id.seq for item in items], pa.int64()),
            pa.DictionaryArray.from_arrays(codes, pa.array(KINDS)),
            pa.array(
                [shut or one.blob for one, shut in zip(items, sealed, strict=True)], pa.binary()
            ),
            pa.array(
                [NO_SALT if shut else one.salt for one, shut in zip(links, sealed, strict=True)],
                pa.binary(SALT_BYTES),
            ),
            pa.array([one.hash for one in links], pa.binary(HASH_BYTES)),
            pa.array([bool(shut) for shut in sealed], pa.bool_()),
        ],
        schema=SCHEMA.with_metadata({_KEY: msgspec.json.encode(meta)}),
    )
    pq.write_table(
        table,
        file,
        row_group_size=ARCHIVE_ROW_GROUP_ENTRIES,
        compression="zstd",
        use_dictionary=["kind"],
        write_statistics=["ms", "seq"],
        column_encoding={"ms": "DELTA_BINARY_PACKED", "seq": "DELTA_BINARY_PACKED"},
        write_page_checksum=True,
    )


def _compare(made: ArchiveFile, raw: bytes, previous: bytes, items: Sequence[Item]) -> None:
    at = 0
    for rows in _parts(made, raw):
        for index in range(len(rows)):
            item, its = rows.item(index), rows.link(index)
            if item != items[at] or not rows.follows(previous, index):
                raise ArchiveError(made.path, f"entry {items[at].id} does not read back")
            previous = its.hash
            at += 1
    if at != len(items):
        raise ArchiveError(made.path, f"{at} of {len(items)} entries read back")


def read_file(file: ArchiveFile) -> Iterator[Rows]:
    """Return the entries of a file, part by part.

    Raises ArchiveError before the first part when a byte of the file is not as it was written.
    """
    raw = _read_bytes(file)
    if sha256(raw).hexdigest() != file.digest:
        raise ArchiveError(file.path, *_last_good(file, raw))
    yield from _parts(file, raw)


def read_meta(file: ArchiveFile) -> Meta:
    """Return what a file says of itself. Raises ArchiveError."""
    return _meta(file, _open(file, _read_bytes(file)))


class Salvaged(NamedTuple):
    """The hash before the first entry of a damaged file, and its entries up to the last good."""

    previous: bytes
    items: list[Item]
    links: list[Link]
    sealed: list[bytes]


def salvage(file: ArchiveFile) -> Salvaged:
    """Return what is good of a file that `read_file` refuses."""
    raw = _read_bytes(file)
    found = Salvaged(b"", [], [], [])
    try:
        previous = bytes.fromhex(_meta(file, _open(file, raw)).previous)
    except (ArchiveError, ValueError):
        return found
    for item, its, sealed in _good(file, raw, previous):
        found.items.append(item)
        found.links.append(its)
        found.sealed.append(sealed)
    return found._replace(previous=previous)


def _read_bytes(file: ArchiveFile) -> bytes:
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise ArchiveError(file.path, f"cannot be read: {error}") from None


def _open(file: ArchiveFile, raw: bytes) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise ArchiveError(file.path, f"torn, or not a file of the archive: {reason}") from None


def _meta(file: ArchiveFile, opened: pq.ParquetFile) -> Meta:
    try:
        meta = msgspec.json.decode((opened.metadata.metadata or {})[_KEY], type=Meta)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(file.path, f"does not say what it holds: {error}") from None
    if meta.format not in _FORMATS:
        raise ArchiveError(file.path, f"format {meta.format}; this program reads {FORMAT}")
    return meta


def _parts(file: ArchiveFile, raw: bytes) -> Iterator[Rows]:
    opened = _open(file, raw)
    _meta(file, opened)
    for group in range(opened.num_row_groups):
        try:
            table = opened.read_row_group(group)
            yield _rows(file, table)
        except (KeysError, SealedError) as error:
            raise ArchiveError(file.path, f"row group {group}: {error}") from None
        except _UNREADABLE as error:
            reason = str(error).partition("\n")[0]
            raise ArchiveError(file.path, f"row group {group}: {reason}") from None


def _rows(file: ArchiveFile, table: pa.Table) -> Rows:
    """Take a row group apart, without a copy of the blobs where none is sealed."""
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    kind = columns["kind"]
    names = np.array([KIND_CODES[name] for name in kind.dictionary.to_pylist()], np.uint8)
    blob = columns["blob"]
    _, ends, data = blob.buffers()
    bounds = np.frombuffer(ends, np.int32)[blob.offset : blob.offset + len(blob) + 1]
    starts: Ints = bounds[:-1].astype(np.int64)
    found = EntryColumns(
        columns["ms"].to_numpy(),
        columns["seq"].to_numpy(),
        names[kind.indices.to_numpy()],
        starts,
        bounds[1:] - starts,
        np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8),
    )
    salts, hashes = _fixed(columns["salt"], SALT_BYTES), _fixed(columns["hash"], HASH_BYTES)
    if "sealed" not in columns or not (sealed := columns["sealed"].to_numpy(False)).any():
        return Rows(found, salts, hashes, {})
    keys = Keys.of_file(file)
    items = [found.item(index) for index in range(len(found))]
    opened = {
        index: unseal(items[index].id, items[index].kind, items[index].blob, keys)
        for index in np.flatnonzero(sealed).tolist()
    }
    plain = [
        item._replace(blob=opened[index].blob) if index in opened else item
        for index, item in enumerate(items)
    ]
    return Rows(EntryColumns.of(plain), salts, hashes, opened)


def _fixed(column: Any, width: int) -> npt.NDArray[np.void]:
    raw = np.frombuffer(column.buffers()[1], f"V{width}")
    return raw[column.offset : column.offset + len(column)]


def _good(file: ArchiveFile, raw: bytes, previous: bytes) -> Iterator[tuple[Item, Link, bytes]]:
    """The entries up to the first that cannot be read or does not follow the one before.

    Each with its sealed blob, empty for one that is not sealed.
    """
    try:
        for rows in _parts(file, raw):
            for index in range(len(rows)):
                item, its = rows.item(index), rows.link(index)
                if not rows.follows(previous, index):
                    return
                previous = its.hash
                opened = rows.opened.get(index)
                yield item, its, b"" if opened is None else opened.raw
    except (ArchiveError, UnicodeDecodeError):  # a kind that is no text any more
        return


def _last_good(file: ArchiveFile, raw: bytes) -> tuple[str, EntryId | None]:
    """Why a file whose bytes changed is refused, and how far it can be relied on."""
    try:
        previous = bytes.fromhex(_meta(file, _open(file, raw)).previous)
    except ArchiveError as error:
        return error.reason, None
    except ValueError:
        return "does not say what it follows", None
    last: EntryId | None = None
    count = 0
    for item, _, _ in _good(file, raw, previous):
        last, count = item.id, count + 1
    if last == file.last:
        return "a byte outside its entries has changed", last
    return f"changed or torn after {count} good entries", last


def rechained(previous: bytes, item: Item, salt: bytes) -> Link:
    """Return the link of an entry behind another hash, with the salt that it has."""
    return Link(item.id, salt, hash_of(previous, item.id, digest_of(salt, item.kind, item.blob)))
