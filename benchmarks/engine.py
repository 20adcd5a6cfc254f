"""The whole engine: fixes in, verdicts out, ten zones a person, 20,000 and 200,000 persons.

The country is that of `benchmarks.town`: real municipalities and neighbourhoods, circles and small
polygons of one's own, people at home, at work, on foot and in cars, some of them next to a zone. It
is loaded with `Engine.put_many`, as an import does, and restored from a dump, as a replica does;
both are timed. A round is one fix a minute from everybody, in the order of arrival, in batches; it
counts from `Engine.observe` to its findings. "All in" begins at the bytes of the frames of contract
version 1 and adds their decoding (tags are checked at the intake, not here). Times are processor
time of this thread, the best of several rounds. Where checks end is counted on a small country of
the same kind (see `benchmarks.shares`).
"""

import gc
import math
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.common import data_folder, parser, report
from benchmarks.shares import Shares, count_shares
from benchmarks.town import MINUTE_MS, START_MS, ZONES_PER_PERSON, Country
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import TAG_BYTES, Kind
from firmware_contracts.frames import encode_fixes
from firmware_contracts.table import HEADER_DTYPE, dtype_of
from geofence.engine import Engine, FixBatch
from geofence.warming import warm_up

SEED: Final = 7
SETTLE_MINUTES: Final = 8  # everybody is seen for the first time, doubts come and go
SHARES_PERSONS: Final = 1_500

Ints = npt.NDArray[np.int64]


class Loaded(NamedTuple):
    """An engine with everybody in it, and what that took."""

    engine: Engine
    load_s: float
    rss_mb: float


def resident_mb() -> float:
    """Memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024.0
    raise RuntimeError("no VmRSS in /proc/self/status")


def load(country: Country) -> Loaded:
    """Put everything that defines the country into an engine."""
    engine = Engine()
    before_mb, spent = resident_mb(), 0.0
    for part in country.definitions():
        started = time.thread_time()
        told = engine.put_many(part, START_MS)
        spent += time.thread_time() - started
        assert not told.rejected, told.rejected[0]
    gc.collect()
    return Loaded(engine, spent, resident_mb() - before_mb)


def frames(batch: FixBatch) -> tuple[bytes, Ints, Ints]:
    """The same fixes as frames of one record each: payload, offsets, lengths."""
    record = dtype_of(Kind.FIX)
    whole = np.dtype([("header", HEADER_DTYPE), ("record", record), ("tag", f"V{TAG_BYTES}")])
    made = np.zeros(len(batch.person), whole)
    header, body = made["header"], made["record"]
    sample = _sample_header(record)
    for name in HEADER_DTYPE.names or ():
        header[name] = sample[name]
    header["device_time_ms"] = batch.time_ms
    for name in ("lat_e7", "lon_e7", "accuracy_dm", "speed_cm_s", "heading_cdeg", "mechanism"):
        body[name] = getattr(batch, name)
    body["battery_pct"] = 80
    lengths = np.full(len(made), whole.itemsize, np.int64)
    return made.tobytes(), np.arange(len(made), dtype=np.int64) * whole.itemsize, lengths


def _sample_header(record: np.dtype[Any]) -> Any:
    one = np.zeros(1, record)
    frame = encode_fixes("sample", bytes(16), boot=1, sequence=1, device_time_ms=0, records=one)
    return np.frombuffer(frame, HEADER_DTYPE, count=1)[0]


def observe_frames(
    engine: Engine, person: Ints, sent: tuple[bytes, Ints, Ints], now_ms: int
) -> int:
    """Decode and observe; the number of findings."""
    fixes = decode_batch(*sent).fixes
    batch = FixBatch(
        person[fixes.frame],
        fixes.time_ms,
        fixes.lat_e7,
        fixes.lon_e7,
        fixes.accuracy_dm,
        fixes.speed_cm_s,
        fixes.heading_cdeg,
        fixes.mechanism,
    )
    return len(engine.observe(batch, now_ms))


class Measured(NamedTuple):
    """The best of several rounds, microseconds of processor time per fix."""

    engine_us: float
    all_in_us: float
    findings_pct: float


def measure(country: Country, engine: Engine, rounds: int, size: int) -> Measured:
    """Rounds of a minute each, alternately from columns and from frames."""
    now_ms = START_MS
    for _ in range(SETTLE_MINUTES):
        now_ms += MINUTE_MS
        for batch in country.minute(now_ms, size):
            engine.observe(batch, now_ms)
    best = [math.inf, math.inf]
    findings = fixes = 0
    for turn in range(2 * rounds):
        now_ms += MINUTE_MS
        batches = country.minute(now_ms, size)
        sent = [frames(batch) for batch in batches] if turn % 2 else []
        started = time.thread_time()
        if turn % 2:
            for batch, one in zip(batches, sent, strict=True):
                findings += observe_frames(engine, batch.person, one, now_ms)
        else:
            for batch in batches:
                findings += len(engine.observe(batch, now_ms))
        spent = time.thread_time() - started
        count = sum(len(batch.person) for batch in batches)
        fixes += count
        best[turn % 2] = min(best[turn % 2], spent / count * 1e6)
    return Measured(best[0], best[1], 100.0 * findings / fixes)


def restored(engine: Engine) -> tuple[float, float, float]:
    """Seconds to dump and to load again, and the size of the dump in MB."""
    started = time.thread_time()
    raw = engine.dump()
    dumped = time.thread_time()
    Engine.load(raw)
    return dumped - started, time.thread_time() - dumped, len(raw) / 2**20


def shares(folder: Path) -> Shares:
    """Where checks end, in a small country after it has settled."""
    country = Country(folder, SHARES_PERSONS, SEED)
    engine = load(country).engine
    minutes = []
    for turn in range(1, SETTLE_MINUTES + 1):
        now_ms = START_MS + turn * MINUTE_MS
        (fixes,) = country.minute(now_ms, 1 << 20)
        minutes.append((now_ms, fixes))
    for now_ms, fixes in minutes[:-2]:
        engine.observe(fixes, now_ms)
    return count_shares(engine, minutes[-2], minutes[-1])


def plot(figure: Any, rows: list[dict[str, object]], counted: Shares) -> None:
    """Microseconds per fix by number of persons; where checks end."""
    left, right = figure.subplots(1, 2)
    places = np.arange(len(rows))
    for k, name in enumerate(("engine us", "all in us")):
        left.bar(places + 0.4 * k - 0.2, [row[name] for row in rows], 0.4, label=name)
    left.set_xticks(places, [f"{row['persons']:,} persons" for row in rows])
    left.set_ylabel("microseconds per fix, one core")
    left.axhline(0.5, linestyle=":", color="grey")
    left.axhline(1.0, linestyle=":", color="grey")
    left.legend()
    names = ["clearing", "box", "circle", "lipschitz", "exact"]
    values = [100.0 * getattr(counted, name) / counted.checks for name in names]
    right.bar(names, values)
    right.set_yscale("log")
    right.set_ylabel("% of the checks of a fix against a zone end here")


def main(argv: list[str]) -> int:
    """Run and report."""
    options = parser("engine", "The whole engine with ten zones a person.")
    options.add_argument("--persons", type=int, nargs="+", default=[20_000, 200_000])
    options.add_argument("--rounds", type=int, default=6, help="measured rounds of each kind (6)")
    options.add_argument("--batch", type=int, default=4096, help="fixes in one call (4096)")
    args = options.parse_args(argv)
    folder = data_folder()
    warm_up()
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for persons in args.persons:
        print(f"{persons:,} persons, {ZONES_PER_PERSON} zones each", flush=True)
        country = Country(folder, persons, SEED)
        loaded = load(country)
        print(f"  loaded in {loaded.load_s:.1f} s, {loaded.rss_mb:,.0f} MB", flush=True)
        found = measure(country, loaded.engine, args.rounds, args.batch)
        dump_s, restore_s, dump_mb = restored(loaded.engine)
        short = f"{persons // 1000}k"
        figures |= {
            f"us_per_fix_{short}": found.engine_us,
            f"us_per_fix_{short}_all_in": found.all_in_us,
            f"load_s_{short}": loaded.load_s,
            f"restore_s_{short}": restore_s,
            f"kb_per_person_{short}": loaded.rss_mb * 1024.0 / persons,
        }
        rows.append(
            {
                "persons": persons,
                "engine us": found.engine_us,
                "all in us": found.all_in_us,
                "fixes/s, one core": round(1e6 / found.engine_us),
                "findings %": found.findings_pct,
                "load s": loaded.load_s,
                "memory MB": round(loaded.rss_mb),
                "dump MB": round(dump_mb),
                "dump s": dump_s,
                "restore s": restore_s,
            }
        )
        del country, loaded
        gc.collect()
    counted = shares(folder)
    report("engine", figures, rows, lambda figure: plot(figure, rows, counted), args)
    print(f"\nwhere {counted.checks:,} checks of a fix against a zone end:")
    for name in ("clearing", "box", "circle", "lipschitz", "exact"):
        print(f"  {name:10} {100.0 * getattr(counted, name) / counted.checks:6.2f} %")
    print(f"  and {counted.further:,} distances more, along paths and for explanations")
    return 0
