"""The whole engine: fixes in, verdicts out, with ten zones a person, at 20,000 and 200,000 persons.

Every person has one area ban about ten zones around home: eight circles and polygons of 64
vertices, 200 to 800 m in radius, and two long polygons of 2,000 vertices, 16 by 3 km, whose boxes
are mostly empty. A third moves about, the rest sits still with GPS noise. A round is one fix a
minute from everybody, in the order of arrival, in batches; it counts from `Engine.observe` to its
findings. "All in" begins at the bytes of the frames of contract version 1 and adds their decoding
(tags are checked at the intake, not here). Times are processor time of this thread, the best of
several rounds. Beside them: how many of the checks of a fix against a zone are not ended by the
box.
"""

import gc
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.common import parser, report
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import TAG_BYTES, Kind
from firmware_contracts.table import HEADER_DTYPE, dtype_of
from geofence.engine import Engine, FixBatch
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind
from geofence.warming import warm_up

START_MS: Final = 1_750_000_000_000
MINUTE_MS: Final = 60_000
SOUTH, WEST = 510_000_000, 40_000_000
SIDE_E7 = 20_000_000  # two degrees: 220 by 140 km
GRID = 64
LARGE_GRID = 24
ZONES_PER_PERSON = 10
SEED = 7

Ints = npt.NDArray[np.int64]


class Town(NamedTuple):
    """An engine with its persons, and where they are."""

    engine: Engine
    lat: Ints
    lon: Ints
    moving: npt.NDArray[np.bool_]
    heading: npt.NDArray[np.float64]
    past_box_pct: float


class Site(NamedTuple):
    """A zone of the grid: an ellipse, more or less. Half axes in metres, its turn in radians."""

    name: str
    lat: int
    lon: int
    long_m: float
    short_m: float
    turn: float

    def contains(self, lat: int, lon: int) -> bool:
        """Whether a position is in the zone or about to be."""
        north, east = (lat - self.lat) * 0.01112, (lon - self.lon) * 0.0069
        along = east * math.cos(self.turn) + north * math.sin(self.turn)
        across = north * math.cos(self.turn) - east * math.sin(self.turn)
        return math.hypot(along / self.long_m, across / self.short_m) < 1.4

    def polygon(self, rng: np.random.Generator, vertices: int) -> dict[str, Any]:
        """The ellipse with a jagged edge."""
        t = np.arange(vertices) * 2.0 * np.pi / vertices
        jag = 1.0 + sum(0.1 / k * np.sin(k * t + rng.uniform(0.0, 6.0)) for k in range(3, 9))
        along, across = self.long_m * np.cos(t) * jag, self.short_m * np.sin(t) * jag
        east = along * math.cos(self.turn) - across * math.sin(self.turn)
        north = along * math.sin(self.turn) + across * math.cos(self.turn)
        x, y = (self.lon + east / 0.0069) / 1e7, (self.lat + north / 0.01112) / 1e7
        ring = np.column_stack([x, y]).round(7).tolist()
        return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def put_zones(engine: Engine, rng: np.random.Generator) -> dict[str, list[Site]]:
    """A grid of small zones over the country and a coarser one of large zones, row by row."""
    sites: dict[str, list[Site]] = {"s": [], "l": []}
    for grid, kind in ((GRID, "s"), (LARGE_GRID, "l")):
        step = SIDE_E7 // grid
        for cell in range(grid * grid):
            lat = SOUTH + cell // grid * step + int(rng.integers(step))
            lon = WEST + cell % grid * step + int(rng.integers(step))
            radius = int(rng.integers(200, 800))
            size = (8000.0, 1500.0) if kind == "l" else (float(radius), float(radius))
            site = Site(f"{kind}{cell}", lat, lon, *size, turn=float(rng.uniform(0, math.pi)))
            if kind == "s" and cell % 2:
                circle = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=radius)
                engine.put_zone(Zone(id=site.name, circle=circle), START_MS)
            else:
                shape = site.polygon(rng, 2000 if kind == "l" else 64)
                engine.put_zone(Zone(id=site.name, geometry=shape), START_MS)
            sites[kind].append(site)
    return sites


def around(
    rng: np.random.Generator, lat: int, lon: int, sites: list[Site], grid: int, count: int
) -> list[str]:
    """Zones of this cell and its neighbours that do not contain a home."""
    row, column = ((at - low) * grid // SIDE_E7 for at, low in ((lat, SOUTH), (lon, WEST)))
    found: dict[str, None] = {}
    while len(found) < count:
        reach = 1 + len(found) // 4
        off = rng.integers(-reach, reach + 1, 2)
        cell = [at + int(by) for at, by in zip((row, column), off, strict=True)]
        if min(cell) < 0 or max(cell) >= grid:
            continue
        site = sites[cell[0] * grid + cell[1]]
        if not site.contains(lat, lon):
            found[site.name] = None
    return list(found)


def build(persons: int, tell: Callable[[str], None]) -> Town:
    """An engine with everybody in it."""
    rng = np.random.default_rng(SEED)
    engine = Engine()
    sites = put_zones(engine, rng)
    by_name = {site.name: site for group in sites.values() for site in group}
    past = 0
    lat = SOUTH + rng.integers(SIDE_E7, size=persons)
    lon = WEST + rng.integers(SIDE_E7, size=persons)
    gc.disable()
    for k in range(persons):
        if k and k % 20_000 == 0:
            tell(f"  {k:,} persons of {persons:,}")
        name = f"p{k}"
        engine.put_person(name, Role.WEARER)
        home = int(lat[k]), int(lon[k])
        zones = [
            *around(rng, *home, sites["s"], GRID, 8),
            *around(rng, *home, sites["l"], LARGE_GRID, 2),
        ]
        past += sum(_in_box(by_name[name], *home) for name in zones)
        ban = Order(
            id=name,
            kind=OrderKind.AREA_BAN,
            wearer_id=name,
            zone_ids=tuple(zones),
            buffer_m=100,
            valid_from_ms=START_MS,
            signed_at_ms=START_MS,
            served_at_ms=START_MS,
            plan_id="bench",
        )
        engine.put_order(ban, START_MS)
    gc.collect()
    gc.freeze()
    gc.enable()
    moving, heading = rng.random(persons) < 1 / 3, rng.uniform(0, 6.28, persons)
    past_pct = 100.0 * past / (persons * ZONES_PER_PERSON)
    return Town(engine, lat, lon, moving, heading, past_pct)


def _in_box(site: Site, lat: int, lon: int) -> bool:
    """Whether a fix of 9 m accuracy at rest is in the box of a zone, with its buffer of 100 m."""
    half_east = math.hypot(site.long_m * math.cos(site.turn), site.short_m * math.sin(site.turn))
    half_north = math.hypot(site.long_m * math.sin(site.turn), site.short_m * math.cos(site.turn))
    reach = 100 + 6 * 9 + 30
    north, east = abs(lat - site.lat) * 0.01112, abs(lon - site.lon) * 0.0069
    return north < half_north + reach and east < half_east + reach


def minute(town: Town, rng: np.random.Generator, now_ms: int, size: int) -> list[FixBatch]:
    """One fix from everybody in the minute before `now_ms`, in batches of about `size`."""
    count = len(town.lat)
    town.heading[:] += rng.normal(0, 0.3, count)
    step = np.where(town.moving, rng.uniform(0, 10_000, count), 0.0)  # up to 19 m/s
    town.lat[:] += (step * np.sin(town.heading)).astype(np.int64)
    town.lon[:] += (step * np.cos(town.heading)).astype(np.int64)
    noise = rng.integers(-600, 601, (2, count))
    sent = now_ms - MINUTE_MS + rng.integers(0, MINUTE_MS, count)
    batches = []
    for rows in np.array_split(np.argsort(sent), max(count // size, 1)):
        ones = np.ones(len(rows), np.int64)
        batches.append(
            FixBatch(
                person=rows,
                time_ms=sent[rows],
                lat_e7=town.lat[rows] + noise[0, rows],
                lon_e7=town.lon[rows] + noise[1, rows],
                accuracy_dm=rng.integers(30, 150, len(rows)),
                speed_cm_s=65535 * ones,
                heading_cdeg=65535 * ones,
                mechanism=ones,
            )
        )
    return batches


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
    from firmware_contracts.frames import encode_fixes  # noqa: PLC0415 - only the shape of one frame

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
    findings: int


def measure(town: Town, rounds: int, size: int) -> Measured:
    """Rounds of a minute each, alternately from columns and from frames."""
    rng = np.random.default_rng(SEED + 1)
    count = len(town.lat)
    now_ms = START_MS
    best = [math.inf, math.inf]
    findings = 0
    for turn in range(2 * rounds + 2):
        now_ms += MINUTE_MS
        batches = minute(town, rng, now_ms, size)
        sent = [frames(batch) for batch in batches] if turn % 2 else []
        start = time.thread_time()
        if turn % 2:
            for batch, one in zip(batches, sent, strict=True):
                findings += observe_frames(town.engine, batch.person, one, now_ms)
        else:
            for batch in batches:
                findings += len(town.engine.observe(batch, now_ms))
        spent = time.thread_time() - start
        if turn >= 2:  # before that everybody is seen for the first time
            best[turn % 2] = min(best[turn % 2], spent / count * 1e6)
    return Measured(best[0], best[1], findings)


def plot(figure: Any, rows: list[dict[str, object]]) -> None:
    """Microseconds per fix by number of persons."""
    axes = figure.subplots()
    places = np.arange(len(rows))
    for k, name in enumerate(("engine us", "all in us")):
        axes.bar(places + 0.4 * k - 0.2, [row[name] for row in rows], 0.4, label=name)
    axes.set_xticks(places, [f"{row['persons']:,} persons" for row in rows])
    axes.set_ylabel("microseconds per fix, one core")
    axes.axhline(0.5, linestyle=":", color="grey")
    axes.legend()


def main(argv: list[str]) -> int:
    """Run and report."""
    options = parser("engine", "The whole engine with ten zones a person.")
    options.add_argument("--persons", type=int, nargs="+", default=[20_000, 200_000])
    options.add_argument("--rounds", type=int, default=5, help="measured rounds of each kind (5)")
    options.add_argument("--batch", type=int, default=4096, help="fixes in one call (4096)")
    args = options.parse_args(argv)
    warm_up()
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for persons in args.persons:
        print(f"{persons:,} persons, {ZONES_PER_PERSON} zones each", flush=True)
        town = build(persons, lambda text: print(text, flush=True))
        found = measure(town, args.rounds, args.batch)
        short = f"{persons // 1000}k"
        figures[f"us_per_fix_{short}"] = found.engine_us
        figures[f"us_per_fix_{short}_all_in"] = found.all_in_us
        rows.append(
            {
                "persons": persons,
                "past box %": town.past_box_pct,
                "engine us": found.engine_us,
                "all in us": found.all_in_us,
                "fixes/s, one core": round(1e6 / found.engine_us),
                "findings": found.findings,
            }
        )
    report("engine", figures, rows, lambda figure: plot(figure, rows), args)
    return 0
