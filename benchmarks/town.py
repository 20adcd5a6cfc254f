"""A country of persons under orders, as the benchmark of the engine needs it: made up, not easy.

Everybody has ten zones. Seven are one's own, drawn for the case: five circles of 100 to 1,000 m
around addresses and two polygons of 5 to 12 corners. Three are shared: two neighbourhoods (the real
ones of Rotterdam and Amsterdam, 12 to 3,163 vertices, copied all over the country) and a
municipality (the real 352) beside one's own. They lie at 0.1 to 100 km from home, most within ten.
One person in twelve lives 15 to 80 m outside a zone, one in twenty-five works there. One in five
has one of the ten as a location order: be at home, which every fix is measured against.

In the measured minutes 64 % are at home, 12 % at work, 10 % walk, 14 % drive, straight through
whatever lies there. Errors wander (Gauss-Markov, 60 s) with a sigma of 4 to 15 m; 3 % of fixes
come from Wi-Fi, 0.3 % jump by 50 to 300 m and 0.05 % by 6 to 30 km, 0.5 % come late by 2 to 30
minutes, 0.5 % come twice. Four of five devices tell their speed.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from benchmarks.oracle import REPAIRS
from geofence.engine import Definition, FixBatch
from geofence.orders import CircleShape, Order, Person, Role, Zone
from geofence.schedule import Schedule, Window
from geofence.verdicts import OrderKind

START_MS: Final = 1_750_000_000_000
MINUTE_MS: Final = 60_000
ZONES_PER_PERSON: Final = 10
NEIGHBOURHOODS: Final = 2_000
_CIRCLES, _POLYGONS = 5, 2
_OWN: Final = _CIRCLES + _POLYGONS
_AT_ONCE: Final = 1_000  # persons in one call of the engine
_M_LAT: Final = 89.93  # a metre in degrees x 1e7
_HOME, _WORK, _WALK, _DRIVE = range(4)
_SHARES: Final = (0.64, 0.12, 0.10, 0.14)
_NIGHTS: Final = Schedule(
    "Europe/Amsterdam", tuple(Window(day, "21:00", "06:00") for day in range(7))
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Shared(NamedTuple):
    """The zones that many have in common, and where they are in degrees."""

    zones: list[Zone]
    centres: Floats
    reach_m: Floats
    municipalities: int
    polygons: list[Any]


def _m_lon(lat_deg: Floats | float) -> Any:
    """A metre in degrees x 1e7, eastwards."""
    return _M_LAT / np.cos(np.radians(lat_deg))


def shared_zones(folder: Path, rng: np.random.Generator) -> Shared:
    """The municipalities, then the neighbourhoods all over the country."""
    zones, polygons = [], []
    for k, shape in enumerate(_shapes(folder, "nl_gemeenten_352")):
        polygons.append(shapely.geometry.shape(shape))
        zones.append(Zone(id=f"gemeente-{k}", geometry=shape, repairs=REPAIRS))
    quarters = [
        shapely.make_valid(shapely.geometry.shape(shape))
        for name in ("rotterdam", "amsterdam")
        for shape in _shapes(folder, name)
    ]
    municipalities = len(zones)
    for k, (lon, lat) in enumerate(_places(rng, polygons, NEIGHBOURHOODS)):
        quarter = quarters[k % len(quarters)]
        centre = quarter.centroid
        moved = affinity.translate(quarter, lon - centre.x, lat - centre.y)
        zones.append(Zone(id=f"wijk-{k}", geometry=_geojson(moved), repairs=("winding-reversed",)))
        polygons.append(moved)
    bounds = np.array([polygon.bounds for polygon in polygons])
    centres = np.column_stack([bounds[:, [0, 2]].mean(axis=1), bounds[:, [1, 3]].mean(axis=1)])
    half = np.column_stack([bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]]) * 5e6
    reach = np.hypot(half[:, 0] / _m_lon(centres[:, 1]), half[:, 1] / _M_LAT)
    return Shared(zones, centres, reach, municipalities, polygons[:municipalities])


def _shapes(folder: Path, file: str) -> list[dict[str, Any]]:
    collection = json.loads((folder / "zones" / f"{file}.geojson").read_text())
    return [feature["geometry"] for feature in collection["features"]]


def _geojson(shape: Any) -> dict[str, Any]:
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (part.exterior, *part.interiors)]
        for part in parts
    ]
    return {"type": "MultiPolygon", "coordinates": polygons}


def _places(rng: np.random.Generator, polygons: list[Any], count: int) -> Floats:
    """Random places in the country, every municipality as likely as any other."""
    found = np.empty((count, 2))
    which = rng.integers(len(polygons), size=count)
    for k in np.unique(which):
        rows = np.flatnonzero(which == k)
        x0, y0, x1, y1 = polygons[k].bounds
        shapely.prepare(polygons[k])
        while len(rows):
            points = rng.uniform((x0, y0), (x1, y1), (len(rows), 2))
            found[rows] = points
            rows = rows[~shapely.contains_xy(polygons[k], points)]
    return found


class Country:
    """Persons, where they live and what is around them; then minutes of their lives."""

    def __init__(self, folder: Path, persons: int, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self.persons = persons
        self.shared = shared_zones(folder, rng)
        home = _places(rng, self.shared.polygons, persons)
        self._home = np.round(home * 1e7).astype(np.int64)
        self._scale = np.column_stack([_m_lon(home[:, 1]), np.full(persons, _M_LAT)])
        self._municipality = self._beside(home, slice(0, self.shared.municipalities), 7)
        self._quarters = self._beside(home, slice(self.shared.municipalities, None), 8)
        self._work = self._home + self._off(rng.lognormal(8.8, 0.7, persons))
        self._own, self._size = self._own_zones()
        self.at_home_orders = rng.random(persons) < 0.2
        self._doing = rng.choice(4, persons, p=_SHARES)
        self._lives = _Lives(rng, self._start(), self._scale, self._doing)

    def _off(self, metres: Floats) -> Ints:
        """Steps of so many metres in random directions, degrees x 1e7."""
        turn = self._rng.uniform(0, 2 * np.pi, len(metres))
        step = np.column_stack([np.cos(turn), np.sin(turn)]) * metres[:, None]
        found: Ints = np.round(step * self._scale).astype(np.int64)
        return found

    def _beside(self, home: Floats, group: slice, count: int) -> Ints:
        """Of the shared zones that surely do not hold a home the nearest few, by index."""
        first = group.start
        centres, reach = self.shared.centres[group], self.shared.reach_m[group]
        found = np.empty((len(home), count), np.int64)
        for start in range(0, len(home), 2_000):
            part = slice(start, start + 2_000)
            apart = (home[part, None] - centres[None]) * 1e7 / self._scale[part, None]
            distance = np.hypot(apart[..., 0], apart[..., 1])
            # A municipality is not round: its neighbour's people may live within its reach.
            inside = 0.75 if first == 0 else 1.0
            distance[distance < inside * reach] = np.inf
            found[part] = np.argpartition(distance, count, axis=1)[:, :count] + first
        return found

    def _own_zones(self) -> tuple[Ints, Floats]:
        """Centres [n, own, 2] and radii in metres [n, own] of the zones of each person."""
        rng, count = self._rng, self.persons
        radius = rng.choice([100, 150, 200, 300, 500, 1000], (count, _OWN))
        centre = np.empty((count, _OWN, 2), np.int64)
        for k in range(_OWN):
            base = self._home
            distance = radius[:, k] * 1.2 + 100 + rng.lognormal(8.3, 1.2, count)
            beside = rng.uniform(15, 80, count) + radius[:, k]
            if k == 0:
                distance = np.where(rng.random(count) < 1 / 12, beside, distance)
            if k == 1:
                near = rng.random(count) < 1 / 25
                base = np.where(near[:, None], self._work, self._home)
                distance = np.where(near, beside, distance)
            centre[:, k] = base + self._off(np.minimum(distance, 100_000))
        return centre, radius.astype(np.float64)

    def _start(self) -> Floats:
        """Where everybody is in the first minute."""
        trip = self._off(self._rng.lognormal(8.5, 0.8, self.persons))
        away = (self._doing == _WALK) | (self._doing == _DRIVE)
        place = np.where((self._doing == _WORK)[:, None], self._work, self._home)
        return (place + np.where(away[:, None], trip, 0)).astype(np.float64)

    # --- definitions --------------------------------------------------------------------------

    def definitions(self) -> Iterator[list[Definition]]:
        """Everything as an import brings it, in parts."""
        yield list(self.shared.zones)
        for first in range(0, self.persons, _AT_ONCE):
            part: list[Definition] = []
            for k in range(first, min(first + _AT_ONCE, self.persons)):
                part += self._person(k)
            yield part

    def _person(self, k: int) -> list[Definition]:
        name = f"p{k}"
        person = Person(id=name, role=Role.WEARER)
        zones = self._zones_of(k)
        ids = [zone.id for zone in zones]
        quarters = self._rng.permutation(self._quarters[k])[:2]
        ids += [self.shared.zones[z].id for z in quarters]
        at_home = bool(self.at_home_orders[k])
        ids.append(self.shared.zones[self._rng.choice(self._municipality[k])].id)
        orders = [_order(f"{name}-ban", name, ids[1:] if at_home else ids, OrderKind.AREA_BAN, k)]
        if at_home:
            orders.append(_order(f"{name}-home", name, ids[:1], OrderKind.LOCATION_ORDER, k))
        return [person, *zones, *orders]

    def _zones_of(self, k: int) -> list[Zone]:
        zones = []
        for j in range(_OWN):
            lon, lat = self._own[k, j].tolist()
            radius = self._size[k, j]
            if j == 0 and self.at_home_orders[k]:
                lon, lat = self._home[k].tolist()
            if j < _CIRCLES:
                shape = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=int(radius))
                zones.append(Zone(id=f"p{k}-{j}", circle=shape))
            else:
                ring = self._ring(lon, lat, radius, self._scale[k])
                polygon = {"type": "Polygon", "coordinates": [ring]}
                zones.append(Zone(id=f"p{k}-{j}", geometry=polygon))
        return zones

    def _ring(self, lon: int, lat: int, radius: float, scale: Floats) -> list[list[float]]:
        """Some street blocks, as drawn on a map: 5 to 12 corners, six decimals."""
        corners = int(self._rng.integers(5, 13))
        jag = self._rng.uniform(0.6, 1.0, corners).tolist()
        ring = []
        for i in range(corners):
            t, r = 2 * math.pi * i / corners, radius * jag[i]
            x, y = lon + r * math.cos(t) * scale[0], lat + r * math.sin(t) * scale[1]
            ring.append([round(float(x) / 1e7, 6), round(float(y) / 1e7, 6)])
        return [*ring, ring[0]]

    # --- fixes --------------------------------------------------------------------------------

    def minute(self, now_ms: int, size: int) -> list[FixBatch]:
        """One fix from everybody in the minute before `now_ms`, in batches of about `size`."""
        return self._lives.minute(now_ms, size)


def _order(order_id: str, person: str, zones: list[str], kind: OrderKind, k: int) -> Order:
    at_home = kind is OrderKind.LOCATION_ORDER
    return Order(
        id=order_id,
        kind=kind,
        wearer_id=person,
        zone_ids=tuple(zones),
        buffer_m=50 if at_home else (0, 100)[k % 2],
        schedule=_NIGHTS if at_home else None,
        risk_class=1 + k % 3,
        valid_from_ms=START_MS - 1,
        signed_at_ms=START_MS - 2,
        served_at_ms=START_MS - 2,
        plan_id="plan",
    )


class _Lives:
    """Where everybody goes, and what their devices make of it."""

    def __init__(
        self, rng: np.random.Generator, place: Floats, scale: Floats, doing: npt.NDArray[np.int64]
    ) -> None:
        count = len(doing)
        self._rng, self._place, self._scale = rng, place, scale
        walks, drives = doing == _WALK, doing == _DRIVE
        self._speed = np.where(walks, rng.uniform(0.8, 1.8, count), 0.0)
        self._speed = np.where(drives, rng.uniform(8, 33, count), self._speed)
        self._heading = rng.uniform(0, 2 * np.pi, count)
        self._sigma = rng.uniform(4, 15, count)
        self._error = rng.normal(0, 1, (count, 2)) * self._sigma[:, None]
        self._tells_speed = rng.random(count) < 0.8
        self._origin = place.copy()

    def minute(self, now_ms: int, size: int) -> list[FixBatch]:
        """Move on by a minute."""
        rng, count = self._rng, len(self._speed)
        self._heading += rng.normal(0, 0.25, count)
        # Nobody drives into the sea: after 30 km it goes back.
        home = (self._origin - self._place) / self._scale
        lost = np.hypot(home[:, 0], home[:, 1]) > 30_000
        self._heading = np.where(lost, np.arctan2(home[:, 1], home[:, 0]), self._heading)
        step = np.column_stack([np.cos(self._heading), np.sin(self._heading)])
        self._place += step * (self._speed * 60)[:, None] * self._scale
        kept = math.exp(-1.0)
        fresh = rng.normal(0, 1, (count, 2)) * self._sigma[:, None]
        self._error = kept * self._error + math.sqrt(1 - kept * kept) * fresh
        return self._batches(now_ms, size)

    def _batches(self, now_ms: int, size: int) -> list[FixBatch]:
        rng, count = self._rng, len(self._speed)
        error, accuracy = self._error.copy(), self._sigma * 1.515
        wifi = rng.random(count) < 0.03
        error[wifi] *= 3
        accuracy[wifi] = rng.uniform(30, 80, int(wifi.sum()))
        for share, low, high in ((0.003, 50, 300), (0.0005, 6_000, 30_000)):
            rows = np.flatnonzero(rng.random(count) < share)
            turn = rng.uniform(0, 2 * np.pi, len(rows))
            far = rng.uniform(low, high, len(rows))
            error[rows] += np.column_stack([np.cos(turn), np.sin(turn)]) * far[:, None]
        seen = np.round(self._place + error * self._scale).astype(np.int64)
        sent = now_ms - MINUTE_MS + rng.integers(0, MINUTE_MS, count)
        made = np.where(rng.random(count) < 0.005, sent - rng.integers(120_000, 1_800_000), sent)
        who = np.concatenate([np.arange(count), np.flatnonzero(rng.random(count) < 0.005)])
        who = who[np.argsort(sent[who], kind="stable")]
        speed = np.where(self._tells_speed, np.round(self._speed * 100), 65535).astype(np.int64)
        heading = np.round(np.degrees(np.pi / 2 - self._heading) % 360 * 100).astype(np.int64)
        return [
            FixBatch(
                person=rows,
                time_ms=made[rows],
                lat_e7=seen[rows, 1],
                lon_e7=seen[rows, 0],
                accuracy_dm=np.round(accuracy[rows] * 10).astype(np.int64),
                speed_cm_s=speed[rows],
                heading_cdeg=np.where(speed[rows] > 50, heading[rows], 65535),
                mechanism=np.where(wifi[rows], 2, 1),
            )
            for rows in np.array_split(who, max(len(who) // size, 1))
        ]
