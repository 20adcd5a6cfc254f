"""Changing a zone while people report: how long the fold stands still.

A watch folds entries of fixes, and in between a zone of 19,000 vertices is put in and changed, with
one order about it and with many. `in the fold` is a command that carries the geometry alone, so the
watch compiles it between two entries; `compiled before` is what `afstand orders import` writes.
The pause is the processor time of the entry that brings the zone; `reading` what taking the command
out of the store's bytes costs of it. Times are processor time, the median and worst of the rounds.
"""

import math
import statistics
import time
from typing import Any, Final, NamedTuple

import numpy as np

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    decode_command,
    define_zone,
    encode_command,
)
from afstand.watch.fold import Watch
from benchmarks.common import parser, report
from firmware_contracts.frames import encode_fixes, fix_records
from geofence.orders import Order, Role, Zone
from geofence.verdicts import OrderKind
from geofence.warming import warm_up
from ingest.entries import Entry, EntryKind, FrameBatch, FrameFlag, FrameRecord, LaneCode
from ingest.store import EntryId

START_MS: Final = 1_790_000_000_000
LAT, LON = 51.92, 4.48
KEY: Final = bytes(16)
PERSONS: Final = 200


def polygon(vertices: int, seed: int) -> dict[str, Any]:
    """A ragged island of about 20 km."""
    rng = np.random.default_rng(seed)
    turns = np.arange(vertices) * 2 * math.pi / vertices
    radius = 0.1 * (1 + 0.2 * np.sin(5 * turns) + rng.uniform(-2e-4, 2e-4, vertices))
    ring = np.column_stack([LON + 1.6 * radius * np.cos(turns), LAT + radius * np.sin(turns)])
    rows = ring.round(9).tolist()
    return {"type": "Polygon", "coordinates": [[*rows, rows[0]]]}


class Line:
    """A watch and the entries that it is given, each measured."""

    def __init__(self, users: int) -> None:
        self.watch = Watch("bench")
        self.now_ms = START_MS
        self.sequence = 0
        self.rng = np.random.default_rng(1)
        for k in range(1, max(PERSONS, users) + 1):
            self.command(DefinePerson(person_id=f"w{k}", role=Role.WEARER))
            device = DefineDevice(
                handle=k, device_id=f"tag-{k}", person_id=f"w{k}", role=Role.WEARER
            )
            self.command(device)

    def step(self, kind: EntryKind, blob: bytes) -> float:
        """Fold one entry; its processor time in milliseconds."""
        self.now_ms += 5
        entry = Entry(EntryId(self.now_ms, 0), kind, blob)
        started = time.thread_time()
        self.watch.step(entry)
        return (time.thread_time() - started) * 1000

    def command(self, command: JournalCommand) -> float:
        """Fold a command."""
        return self.step(EntryKind.COMMAND, encode_command(command))

    def fixes(self, count: int = 50) -> float:
        """Fold an entry with a fix of each of some devices."""
        records = []
        for handle in self.rng.choice(PERSONS, count, replace=False).tolist():
            self.sequence += 1
            row = fix_records(1)
            row["lat_e7"] = round((LAT + self.rng.uniform(-0.15, 0.15)) * 1e7)
            row["lon_e7"] = round((LON + self.rng.uniform(-0.2, 0.2)) * 1e7)
            row["accuracy_dm"], row["speed_cm_s"], row["heading_cdeg"] = 50, 65_535, 65_535
            raw = encode_fixes(
                f"tag-{handle + 1}",
                KEY,
                boot=1,
                sequence=self.sequence,
                device_time_ms=self.now_ms,
                records=row,
            )
            records.append(
                FrameRecord(handle + 1, LaneCode.FIX, FrameFlag.AUTHENTICATED, self.now_ms, raw)
            )
        return self.step(EntryKind.FRAMES, FrameBatch.build(records))

    def order(self, k: int) -> None:
        """One area ban about the zone."""
        order = Order(
            id=f"o{k}",
            kind=OrderKind.AREA_BAN,
            wearer_id=f"w{k}",
            zone_ids=("zone",),
            valid_from_ms=START_MS - 1,
            signed_at_ms=START_MS - 1,
            served_at_ms=START_MS - 1,
            plan_id="default",
        )
        self.command(DefineOrder(order=order))


class Pauses(NamedTuple):
    """Milliseconds of processor time: entries that bring a zone, and all others."""

    zone: list[float]
    reading: list[float]
    fixes: list[float]
    command_kib: float


def measure(vertices: int, users: int, rounds: int, *, before: bool) -> Pauses:
    """Add the zone, then change it `rounds` times, with fixes in between."""
    line = Line(users)
    zones, reading, fixes, size = [], [], [], 0
    for version in range(1, rounds + 2):
        zone = Zone(id="zone", version=version, geometry=polygon(vertices, version))
        command = define_zone(zone) if before else DefineZone(zone=zone)
        blob = encode_command(command)
        size = len(blob)
        started = time.thread_time()
        decode_command(blob)
        reading.append((time.thread_time() - started) * 1000)
        zones.append(line.step(EntryKind.COMMAND, blob))
        if version == 1:
            for k in range(1, users + 1):
                line.order(k)
        fixes += [line.fixes() for _ in range(20)]
    return Pauses(zones, reading, fixes, size / 1024)


def plot(figure: Any, rows: list[dict[str, object]]) -> None:
    """The longest pause of each way, by number of orders."""
    axes = figure.subplots()
    places = np.arange(len(rows))
    axes.bar(places, [row["longest ms"] for row in rows])
    axes.set_xticks(places, [f"{row['way']}\n{row['orders']:,} orders" for row in rows])
    axes.set_ylabel("longest pause of the fold, ms")


def main(argv: list[str]) -> int:
    """Run and report."""
    options = parser("zones", "The pause of the fold while a zone is put in and changed.")
    options.add_argument("--vertices", type=int, default=19_000)
    options.add_argument("--orders", type=int, nargs="+", default=[1, 100, 1000])
    options.add_argument("--rounds", type=int, default=9)
    args = options.parse_args(argv)
    warm_up()
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for before in (False, True):
        way = "compiled before" if before else "in the fold"
        for users in args.orders:
            pauses = measure(args.vertices, users, args.rounds, before=before)
            rows.append(
                {
                    "way": way,
                    "orders": users,
                    "longest ms": max(pauses.zone),
                    "median ms": statistics.median(pauses.zone),
                    "reading ms": statistics.median(pauses.reading),
                    "entry of 50 fixes ms": statistics.median(pauses.fixes),
                    "command KiB": pauses.command_kib,
                }
            )
            name = "prepared" if before else "inline"
            figures[f"zone_pause_ms_{name}_{users}"] = max(pauses.zone)
    report("zones", figures, rows, lambda figure: plot(figure, rows), args)
    return 0
