"""Entries of a stream with their links, from the archive and behind it from the chain log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from afstand.limits import ARCHIVE_READ_ENTRIES_MAX
from afstand.proof.past import ProofError
from ingest.archive.chain import (
    Link,
    StreamName,
    digest_of_leaves,
    genesis,
    hash_of,
    leaves_of,
    part_salt,
)
from ingest.archive.files import read_file, read_meta
from ingest.archive.folder import ArchiveFolder
from ingest.archive.history import read_stream
from ingest.archive.log import ChainLog
from ingest.archive.parts import split
from ingest.archive.sealing import Opened
from ingest.columns import Item
from ingest.store import EntryId, Store


class Chained(NamedTuple):
    """An entry, its link, the hash that it follows, and its leaves.

    `salts` of the parts; None for a part that was erased.
    """

    previous: bytes
    item: Item
    link: Link
    leaves: list[bytes]
    salts: list[bytes | None]


async def chained(
    store: Store, root: Path, partition: str, stream: StreamName, after: EntryId, until: EntryId
) -> AsyncIterator[Chained]:
    """Yield the entries in (after, until], each held against its link.

    Raises ProofError for one that is not as it was chained or not chained yet, ArchiveError.
    """
    folder = ArchiveFolder(root, partition, stream)
    last, previous = after, b""
    for file in list(folder.files(after)):
        if file.first > until:
            return
        head = bytes.fromhex(read_meta(file).previous)
        parts = read_file(file)
        while (rows := await asyncio.to_thread(next, parts, None)) is not None:
            for index in range(len(rows)):
                item, its = rows.item(index), rows.link(index)
                if after < item.id <= until:
                    yield _checked(head, item, its, rows.opened.get(index))
                    last = item.id
                head = previous = its.hash
    links = await asyncio.to_thread(lambda: list(_links(folder, previous)))
    async for one in _held(store, partition, stream, links, last, until):
        yield one


def _links(folder: ArchiveFolder, previous: bytes) -> Iterator[tuple[bytes, Link]]:
    """The links of the log, each with the hash before it."""
    head = previous or genesis(folder.partition, folder.stream)
    for segment in ChainLog(folder.base / "chain").segments():
        head = segment.previous
        for one in segment.links:
            yield head, one
            head = one.hash


async def _held(
    store: Store,
    partition: str,
    stream: StreamName,
    links: list[tuple[bytes, Link]],
    after: EntryId,
    until: EntryId,
) -> AsyncIterator[Chained]:
    by_id = {one.id: (head, one) for head, one in links}
    while after < until:
        page = await read_stream(store, partition, stream, after, ARCHIVE_READ_ENTRIES_MAX)
        for item in page:
            if item.id > until:
                return
            if item.id not in by_id:
                raise ProofError(
                    f"{stream} entry {item.id} is not chained yet: is the archiver running?"
                )
            head, one = by_id[item.id]
            yield _checked(head, item, one)
        if not page:
            return
        after = page[-1].id


def _checked(head: bytes, item: Item, its: Link, opened: Opened | None = None) -> Chained:
    if opened is None:
        leaves = leaves_of(its.salt, split(item.kind, item.blob))
        salts = [part_salt(its.salt, place) for place in range(len(leaves))]
        one = Chained(head, item, its, leaves, [*salts])
    else:
        one = Chained(head, item, its, opened.leaves, opened.salts)
    if hash_of(head, item.id, digest_of_leaves(item.kind, one.leaves)) != its.hash:
        raise ProofError(f"entry {item.id} is not what was chained; see `afstand verify`")
    return one


class Shown(NamedTuple):
    """An entry as it stands in a proof."""

    line: dict[str, object]
    parts: dict[int, bytes]


def shown(one: Chained, places: set[int]) -> Shown:
    """Make the line of a proof: `places` of its parts are shown, the others are leaves."""
    parts, leaves = split(one.item.kind, one.item.blob), one.leaves
    salts = {place: salt for place, salt in enumerate(one.salts) if salt is not None}
    places = places & salts.keys()
    if not places:
        digest = digest_of_leaves(one.item.kind, leaves)
        return Shown({"id": str(one.item.id), "digest": digest.hex()}, {})
    told = {
        str(place): {
            "salt": salts[place].hex(),
            "part": parts[place].hex(),
        }
        for place in sorted(places)
    }
    hidden = [None if place in places else leaf.hex() for place, leaf in enumerate(leaves)]
    line: dict[str, object] = {
        "id": str(one.item.id),
        "kind": one.item.kind,
        "leaves": hidden,
        "parts": told,
    }
    return Shown(line, {place: parts[place] for place in places})
