"""How fast a watch is back: with a million entries since its snapshot, and in pure replay.

A partition of wearers with an area ban about three zones each, one fix a minute from everybody; the
zones lie around the homes, a third of the people walk, and two in a thousand live at the edge of
a zone. Everybody was seen before the snapshot. Every entry holds ONE fix, as an intake
writes at a few hundred fixes a second, which is the hardest for a reader; beside it the same fixes
in entries of 256.

Replay: from the archive's files (read, checked against their names, unpacked) through the fold to
the outputs, on one core, processor time. Recovery: the process `afstand watch` on an embedded store
with a million entries behind its snapshot and the outbox of another replica, which it compares;
wall time from its start until it says that it is ready. Beside it: the same with nothing to catch
up, and how fast the store alone gives the entries.
"""

import asyncio
import gc
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    encode_command,
)
from afstand.embedded import Endpoint, store
from afstand.roles import open_store
from afstand.site import Site, warm_up_apart, write_config
from afstand.watch.fold import Watch
from afstand.watch.snapshots import Snapshot, Snapshots
from afstand.watch.warming import warm_up
from benchmarks import common
from firmware_contracts.codes import TAG_BYTES, Kind
from firmware_contracts.table import HEADER_DTYPE, dtype_of
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind
from ingest.archive.chain import StreamName, genesis, link
from ingest.archive.files import read_file, write_file
from ingest.archive.names import ArchiveFile
from ingest.bulk_read import BulkReader
from ingest.columns import KIND_CODES, EntryColumns
from ingest.entries import (
    FRAMES_HEAD,
    RECORD,
    Entry,
    EntryKind,
    FrameFlag,
    LaneCode,
    assemble_frames,
    fixes_table,
)
from ingest.resp import encode_commands, parse_address
from ingest.store import BEGINNING, EntryId, journal_key, outbox_key
from ingest.where import OneServer

SEED: Final = 5
PARTITION: Final = "0"
MINUTE_MS: Final = 60_000
SOUTH, WEST, SIDE_E7 = 510_000_000, 40_000_000, 20_000_000
GRID: Final = 40
ZONES_PER_PERSON: Final = 3
AROUND: Final = ((0, 0), (0, 1), (1, 0), (1, 1), (-1, 0), (0, -1), (-1, -1), (1, -1), (-1, 1))
RESTLESS_SHARE: Final = 0.002  # of the people live at the edge of a zone: they give the outputs
AT_AN_EDGE_E7: Final = 45_000  # north of the middle of a zone: 500 m
LARGE_ENTRY: Final = 256
PIPELINE: Final = 2_000
FRAME: Final = np.dtype(
    [("header", HEADER_DTYPE), ("fix", dtype_of(Kind.FIX)), ("tag", f"V{TAG_BYTES}")]
)
ENTRY: Final = np.dtype([("head", FRAMES_HEAD), ("record", RECORD), ("frame", FRAME)])

Ints = npt.NDArray[np.int64]


class Town(NamedTuple):
    """Where people are, and the state of a watch that knows them."""

    state: bytes
    lat: Ints
    lon: Ints
    walks: npt.NDArray[np.bool_]


class Fixes(NamedTuple):
    """Fixes in the order in which they arrived, one frame each."""

    arrived_ms: Ints
    handles: Ints
    frames: npt.NDArray[np.void]


# --- a town -----------------------------------------------------------------------------------


def definitions(
    persons: int, start_ms: int, rng: np.random.Generator, zones: int = ZONES_PER_PERSON
) -> Iterator[JournalCommand]:
    """Zones on a grid, and persons with an order about the zones (1 to 9) around their home."""
    step = SIDE_E7 // GRID
    for cell in range(GRID * GRID):
        lat, lon = SOUTH + cell // GRID * step + step // 2, WEST + cell % GRID * step + step // 2
        shape = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=int(rng.integers(200, 800)))
        yield DefineZone(zone=Zone(id=f"z{cell}", circle=shape))
    rows, columns = rng.integers(1, GRID - 1, (2, persons))
    for k in range(persons):
        yield DefinePerson(person_id=f"p{k}", role=Role.WEARER)
        yield DefineDevice(handle=k + 1, device_id=f"d{k}", person_id=f"p{k}", role=Role.WEARER)
        near = [(rows[k] + a) * GRID + columns[k] + b for a, b in AROUND]
        yield DefineOrder(
            order=Order(
                id=f"o{k}",
                kind=OrderKind.AREA_BAN,
                wearer_id=f"p{k}",
                zone_ids=tuple(f"z{cell}" for cell in near[:zones]),
                buffer_m=100,
                valid_from_ms=start_ms,
                signed_at_ms=start_ms,
                served_at_ms=start_ms,
                plan_id="bench",
            )
        )


def build(persons: int, start_ms: int, zones: int = ZONES_PER_PERSON) -> Town:
    """A watch with everybody in it, some kilometres from the zones of their orders."""
    rng = np.random.default_rng(SEED)
    watch = Watch(PARTITION)
    entry_id = EntryId(start_ms, 0)
    cells: list[tuple[int, int]] = []
    for command in definitions(persons, start_ms, rng, zones):
        if isinstance(command, DefineOrder):
            cells.append(divmod(int(command.order.zone_ids[0][1:]), GRID))
        watch.step(Entry(entry_id, EntryKind.COMMAND, encode_command(command)))
        entry_id = entry_id.next()
    step = SIDE_E7 // GRID
    row, column = np.array(cells).T
    lat = SOUTH + row * step + step - rng.integers(step // 8, step // 4, persons)
    lon = WEST + column * step + step - rng.integers(step // 8, step // 4, persons)
    restless = rng.random(persons) < RESTLESS_SHARE
    lat[restless] = (SOUTH + row * step + step // 2 + AT_AN_EDGE_E7)[restless]
    lon[restless] = (WEST + column * step + step // 2)[restless]
    town = Town(b"", lat, lon, rng.random(persons) < 1 / 3)
    first = single_entries(fixes_of(town, persons, start_ms + 1, sequence=1))
    for _ in watch.fold(first):
        pass
    return town._replace(state=watch.dump())


def fixes_of(town: Town, count: int, start_ms: int, sequence: int) -> Fixes:
    """One fix a minute from everybody, a walker a few metres on each time."""
    rng = np.random.default_rng(SEED + sequence)
    persons = len(town.lat)
    arrived, handles, parts = [], [], []
    for minute in range(-(-count // persons)):
        sent = np.sort(rng.integers(0, MINUTE_MS, persons)) + start_ms + minute * MINUTE_MS
        who = rng.permutation(persons)
        wander = np.where(town.walks, rng.integers(-1500, 1501, (2, persons)), 0)
        noise = rng.integers(-300, 301, (2, persons))
        town.lat[:] += wander[0]
        town.lon[:] += wander[1]
        frames = np.zeros(persons, FRAME)
        header, fix = frames["header"], frames["fix"]
        for name, value in sample_header().items():
            header[name] = value
        header["sequence"], header["device_time_ms"] = minute + sequence, sent - 400
        fix["lat_e7"] = (town.lat + noise[0])[who]
        fix["lon_e7"] = (town.lon + noise[1])[who]
        fix["accuracy_dm"] = rng.integers(30, 150, persons)
        fix["speed_cm_s"] = fix["heading_cdeg"] = 65_535
        fix["mechanism"], fix["battery_pct"] = 1, 80
        frames["tag"] = np.frombuffer(rng.bytes(persons * TAG_BYTES), f"V{TAG_BYTES}")
        arrived.append(sent)
        handles.append(who + 1)
        parts.append(frames)
    rows = slice(0, count)
    arrived_ms, who = np.concatenate(arrived)[rows], np.concatenate(handles)[rows]
    return Fixes(arrived_ms, who, np.concatenate(parts)[rows])


def sample_header() -> dict[str, Any]:
    """The fields of a frame of one fix."""
    from firmware_contracts.frames import encode_fixes, fix_records  # noqa: PLC0415 - of one frame

    row = fix_records(1)
    row["accuracy_dm"], row["lat_e7"], row["lon_e7"], row["mechanism"] = 50, 1, 1, 1
    raw = encode_fixes(
        "d", bytes(16), boot=1, sequence=1, device_time_ms=1_700_000_000_000, records=row
    )
    header = np.frombuffer(raw, HEADER_DTYPE, 1)[0]
    return {name: header[name] for name in HEADER_DTYPE.names or ()}


# --- entries ----------------------------------------------------------------------------------


def single_entries(fixes: Fixes) -> EntryColumns:
    """An entry a fix."""
    count = len(fixes.handles)
    entries = np.zeros(count, ENTRY)
    record = entries["record"]
    record["handle"], record["lane"] = fixes.handles, LaneCode.FIX
    record["flags"], record["received_ms"] = FrameFlag.AUTHENTICATED, fixes.arrived_ms
    record["length"] = FRAME.itemsize
    entries["frame"] = fixes.frames
    head = entries["head"]
    head["version"], head["records"], head["payload_bytes"] = 1, 1, FRAME.itemsize
    raw = memoryview(entries.tobytes())
    size, crc_at, body = ENTRY.itemsize, FRAMES_HEAD.itemsize - 4, FRAMES_HEAD.itemsize
    head["crc32"] = [
        zlib.crc32(raw[at + body : at + size], zlib.crc32(raw[at : at + crc_at]))
        for at in range(0, count * size, size)
    ]
    data = np.frombuffer(entries.tobytes(), np.uint8)
    starts = np.arange(count, dtype=np.int64) * size
    kind = np.full(count, KIND_CODES[EntryKind.FRAMES], np.uint8)
    ms = fixes.arrived_ms
    first = np.searchsorted(ms, ms)
    return EntryColumns(ms, np.arange(count) - first, kind, starts, np.full(count, size), data)


def large_entries(fixes: Fixes) -> EntryColumns:
    """The same fixes, 256 to an entry."""
    made = []
    for at in range(0, len(fixes.handles), LARGE_ENTRY):
        part = slice(at, at + LARGE_ENTRY)
        ms = int(fixes.arrived_ms[part][-1])
        table = fixes_table(fixes.handles[part].tolist(), ms, FRAME.itemsize)
        blob = assemble_frames([table], [], [fixes.frames[part].tobytes()])
        made.append(Entry(EntryId(ms, at), EntryKind.FRAMES, blob))
    return EntryColumns.of(made)


# --- replay -----------------------------------------------------------------------------------


class Replayed(NamedTuple):
    """Processor time, what came out, and what the reading alone took."""

    spent_s: float
    read_s: float
    outputs: list[tuple[EntryId, bytes]]
    state: bytes


def archive(folder: Path, entries: EntryColumns, size: int) -> list[ArchiveFile]:
    """Write entries into files as the archiver does."""
    files = []
    previous = genesis(PARTITION, StreamName.JOURNAL)
    for first in range(0, len(entries), size):
        part = entries.part(first, min(first + size, len(entries)))
        items = [part.item(k) for k in range(len(part))]
        links = link(previous, items)
        files.append(write_file(folder, PARTITION, StreamName.JOURNAL, previous, items, links))
        previous = links[-1].hash
    return files


def replay(town: Town, files: list[ArchiveFile]) -> Replayed:
    """Fold everything that the files hold."""
    watch = Watch.load(PARTITION, town.state)
    outputs = []
    read_s = 0.0
    gc.collect()
    began = time.process_time()
    for file in files:
        parts = read_file(file)
        while True:
            reads = time.process_time()
            rows = next(parts, None)
            read_s += time.process_time() - reads
            if rows is None:
                break
            for folded in watch.fold(rows.columns):
                if folded.blob is not None:
                    outputs.append((folded.id, folded.blob))  # noqa: PERF401 - as it is used
    return Replayed(time.process_time() - began, read_s, outputs, watch.dump())


# --- recovery ---------------------------------------------------------------------------------


async def put_streams(
    endpoint: Endpoint, entries: EntryColumns, outputs: list[tuple[EntryId, bytes]]
) -> None:
    """Fill journal and outbox of the store under the ids that entries have."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    key, out_key = journal_key(PARTITION), outbox_key(PARTITION)

    async def send(commands: list[tuple[Any, ...]]) -> None:
        writer.write(encode_commands(commands))
        left = len(commands)
        while left:
            line = await reader.readuntil(b"\r\n")
            if line.startswith(b"-"):
                raise SystemExit(line.decode())
            if not line.startswith(b"$"):
                raise SystemExit(f"not an id: {line!r}")
            await reader.readuntil(b"\r\n")
            left -= 1

    for first in range(0, len(entries), PIPELINE):
        rows = range(first, min(first + PIPELINE, len(entries)))
        await send(
            [
                ("XADD", key, str(entries.id(k)), "v", 1, "k", "frames", "b", entries.blob(k))
                for k in rows
            ]
        )
    for first in range(0, len(outputs), PIPELINE):
        part = outputs[first : first + PIPELINE]
        await send([("XADD", out_key, str(entry_id), "v", 1, "b", blob) for entry_id, blob in part])
    writer.close()


async def ready_s(site: Site) -> float:
    """Start a replica and wait until it says that it is ready."""
    began = time.perf_counter()
    site.start(["watch-0"])
    await site.ready(["watch-0"])
    spent = time.perf_counter() - began
    await site.stop()
    return spent


async def store_alone_s(endpoint: Endpoint) -> float:
    """Read the journal in pages and do nothing with it."""
    reader = BulkReader(OneServer(parse_address(f"redis://127.0.0.1:{endpoint.port}/0")))
    after = BEGINNING
    began = time.perf_counter()
    while len(page := await reader.read(PARTITION, after)):
        after = page.id(len(page) - 1)
    spent = time.perf_counter() - began
    await reader.aclose()
    return spent


class Recovered(NamedTuple):
    """Wall time of a restart, of a start with nothing to catch up, and of reading alone."""

    seconds: float
    start_s: float
    store_s: float


async def recover(
    town: Town, entries: EntryColumns, outputs: list[tuple[EntryId, bytes]], start_ms: int
) -> Recovered:
    """Restart a replica whose snapshot is as old as the entries are many."""
    with tempfile.TemporaryDirectory() as name, store(Path(name)) as endpoint:
        folder = Path(name)
        url = f"redis://127.0.0.1:{endpoint.port}/0"
        site = write_config(folder, url, Endpoint("none", 1), [], replicas=1)
        snapshots = Snapshots(Path(site.config.watch.data_dir) / "replica-0", PARTITION)
        at = EntryId(start_ms + MINUTE_MS, 1_000_000)  # behind the first minute
        seconds = []
        for given in (entries.part(0, 0), entries):
            for path in snapshots.candidates():
                path.unlink()
            snapshots.write(Snapshot(at, "benchmark", town.state))
            async with open_store(site.config) as client:
                await client.execute_command("FLUSHALL")
                key = journal_key(PARTITION)
                await client.execute_command("XADD", key, str(at), "v", 1, "k", "tick", "b", "")
            await put_streams(endpoint, given, outputs if len(given) else [])
            seconds.append(await ready_s(site))
        return Recovered(seconds[1], seconds[0], await store_alone_s(endpoint))


def main(argv: list[str]) -> int:
    """Run and report."""
    options = common.parser("recovery", "Restart and replay of a watch.")
    options.add_argument("--persons", type=int, default=10_000)
    options.add_argument("--entries", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=2, help="of the replay, the best counts (2)")
    args = options.parse_args(argv)
    warm_up()
    start_ms = time.time_ns() // 1_000_000 - (args.entries // args.persons + 5) * MINUTE_MS
    print(f"{args.persons:,} persons, {args.entries:,} fixes", flush=True)
    town = build(args.persons, start_ms)
    fixes = fixes_of(town, args.entries, start_ms + MINUTE_MS + 1, sequence=2)
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    singles = single_entries(fixes)
    shapes = (("1", singles, 200_000), (str(LARGE_ENTRY), large_entries(fixes), 4_000))
    found: dict[str, Replayed] = {}
    for shape, entries, file_entries in shapes:
        with tempfile.TemporaryDirectory() as name:
            files = archive(Path(name), entries, file_entries)
            size = sum(file.path.stat().st_size for file in files)
            runs = [replay(town, files) for _ in range(args.rounds)]
        best = found[shape] = min(runs, key=lambda run: run.spent_s)
        rows.append(
            {
                "fixes in an entry": shape,
                "fixes/s, one core": round(args.entries / best.spent_s),
                "us per fix": best.spent_s / args.entries * 1e6,
                "of it reading": best.read_s / args.entries * 1e6,
                "bytes per fix in the archive": size / args.entries,
                "entries with outputs": len(best.outputs),
            }
        )
        print(common.table(rows[-1:]), flush=True)
    figures["replay_fixes_per_s"] = args.entries / found["1"].spent_s
    figures["replay_fixes_per_s_large_entries"] = args.entries / found[str(LARGE_ENTRY)].spent_s
    asyncio.run(warm_up_apart())
    recovered = asyncio.run(recover(town, singles, found["1"].outputs, start_ms))
    figures["seconds"] = recovered.seconds
    figures["seconds_of_a_start_alone"] = recovered.start_s
    figures["seconds_of_the_store_alone"] = recovered.store_s
    common.report("recovery", figures, rows, None, args)
    return 0
