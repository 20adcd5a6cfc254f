"""Command lines about the past: `verify`, `replay`, `readers`."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from afstand.config import Config
from afstand.roles import open_store
from afstand.watch.snapshots import SnapshotError, Snapshots
from ingest.archive.chain import StreamName
from ingest.archive.verify import Finding, verify_stream
from ingest.readers import NOTHING_NEEDED, Readers
from ingest.store import BEGINNING, EntryId


def moment(text: str) -> EntryId:
    """Read `ms-seq` or a time (ISO 8601; without an offset it is UTC) as an id.

    Raises argparse.ArgumentTypeError.
    """
    try:
        return EntryId.parse(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = f"neither an entry id (ms-seq) nor a time: {text!r}"
        raise argparse.ArgumentTypeError(message) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return EntryId(round(at.timestamp() * 1000), 0)


def _chosen(config: Config, partition: str | None) -> tuple[str, ...]:
    if partition is None:
        return config.partitions
    if partition not in config.partitions:
        print(f"no partition {partition}: not in the configuration", file=sys.stderr)
        return ()
    return (partition,)


async def verify(config: Config, options: argparse.Namespace) -> int:
    """Check archive, streams and snapshots; 1 when anything is not as it was written."""
    root = Path(config.archive.dir)
    partitions = _chosen(config, options.partition)
    found: list[Finding] = []
    async with open_store(config) as store:
        for partition in partitions:
            for stream in StreamName:
                checked = await verify_stream(
                    store, root, partition, stream, options.since or BEGINNING, options.until
                )
                found += [
                    Finding(f"partition {partition} {one.where}", one.what)
                    for one in checked.findings
                ]
                print(
                    f"partition {partition} {stream}: {checked.archived} entries in the archive, "
                    f"{checked.in_stream} in the store, {checked.unchained} not chained yet; "
                    f"{checked.erased} parts erased; "
                    f"head {checked.head.hex()[:16]} at {checked.end}"
                )
    snapshots, damaged = check_snapshots(Path(config.watch.data_dir), partitions)
    found += damaged
    print(f"{snapshots} snapshots in {config.watch.data_dir}")
    for one in found:
        print(one, file=sys.stderr)
    print("not as it was written" if found else "everything is as it was written")
    return 1 if found or not partitions else 0


def check_snapshots(folder: Path, partitions: tuple[str, ...]) -> tuple[int, list[Finding]]:
    """Read all snapshots of all replicas below a folder: how many, and which are damaged."""
    count, found = 0, []
    for replica in sorted(path for path in folder.glob("*") if path.is_dir()):
        for partition in partitions:
            snapshots = Snapshots(replica, partition)
            for path in snapshots.candidates():
                count += 1
                try:
                    snapshots.read(path)
                except SnapshotError as error:
                    found.append(Finding(f"snapshot {replica.name}/{partition}", str(error)))
    return count, found


async def list_readers(config: Config) -> int:
    """Print who reads what, and how far each is."""
    async with open_store(config) as store:
        for partition in config.partitions:
            for reader in await Readers(store).all(partition):
                seen = datetime.fromtimestamp(reader.seen_ms / 1000, UTC)
                positions = "  ".join(
                    "needs nothing" if at >= NOTHING_NEEDED else f"needs what is behind {at}"
                    for at in (reader.journal, reader.outbox)
                )
                print(
                    f"{partition}  {reader.name:12}  {seen:%Y-%m-%d %H:%M:%S}Z  {positions}"
                    f"{'  ' + reader.problem if reader.problem else ''}"
                )
    return 0


async def forget_reader(config: Config, options: argparse.Namespace) -> int:
    """Take a reader out, so that nothing is kept for it."""
    async with open_store(config) as store:
        readers = Readers(store)
        known = [await readers.forget(name, options.name) for name in config.partitions]
    if not any(known):
        print(f"no reader {options.name}", file=sys.stderr)
        return 1
    print("done")
    return 0
