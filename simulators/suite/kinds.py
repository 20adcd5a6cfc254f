"""What one run of the scenario suite is: people, devices, orders, and what truly happened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from simulators.geo import LocalPlane
from simulators.network import Outage
from simulators.paths import Path
from simulators.scenario import Shape
from simulators.scene import outline
from simulators.truth import (
    Area,
    Interval,
    inside_intervals,
    outside_intervals,
    within_intervals,
)

TOUCH_M: Final = 30.0
PLAN_ID: Final = "suite"
START_MS: Final = 1_767_250_800_000  # Thursday 1 January 2026, 08:00 in Amsterdam
YEAR_MS: Final = 365 * 86_400_000
MINUTE_MS: Final = 60_000
BASE_INTERVAL_S: Final = 60

WEARER: Final = "wearer"
PROTECTED: Final = "protected"


class Breach(NamedTuple):
    """One true breach of one order, from the true paths of the persons.

    `touch_ms`: when the two were first within `TOUCH_M` of each other (None: never, or no pair).
    `by_devices`: the devices made the same journey, so that their reports can show it; false when a
    device was left behind. `coincidence`: why it is no approach (motorway, train, festival); ""
    when it is one.
    """

    order_id: str
    kind: str
    wearer_id: str
    other_id: str
    from_ms: float
    to_ms: float
    touch_ms: float | None
    by_devices: bool
    coincidence: str


class Tamper(NamedTuple):
    """A strap that was truly cut."""

    person_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Carried:
    """One device: who should carry it and where it truly goes (`path`), in the run's plane."""

    person_id: str
    role: str
    path: Path
    outages: tuple[Outage, ...] = ()
    interval_s: int = BASE_INTERVAL_S


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `zones` and `orders` are plain data in the import format; times are Unix ms.

    `persons` are the true paths by person id, `devices` those of the devices (the same, unless left
    behind).
    """

    family: str
    name: str
    place: str
    seed: int
    plane: LocalPlane
    start_ms: int
    end_ms: int
    persons: dict[str, Path]
    devices: tuple[Carried, ...]
    zones: tuple[dict[str, Any], ...]
    orders: tuple[dict[str, Any], ...]
    breaches: tuple[Breach, ...]
    tampers: tuple[Tamper, ...] = ()

    @property
    def innocent(self) -> bool:
        """Whether every confirmed alarm of this run is a false one."""
        return not self.breaches

    @property
    def device_days(self) -> float:
        """Days that wearers' devices were out."""
        wearers = sum(device.role == WEARER for device in self.devices)
        return wearers * (self.end_ms - self.start_ms) / 86_400_000


def zone(zone_id: str, geometry: dict[str, Any]) -> dict[str, Any]:
    """Return a zone in the import format."""
    return {"id": zone_id, "version": 1, "geometry": geometry}


def circle(
    zone_id: str, plane: LocalPlane, middle: tuple[float, float], radius_m: float
) -> dict[str, Any]:
    """Return a round zone in the import format."""
    return zone(zone_id, outline(plane, middle, Shape.CIRCLE, radius_m))


def polygon(
    zone_id: str, plane: LocalPlane, rings: Sequence[Sequence[tuple[float, float]]]
) -> dict[str, Any]:
    """Return a zone of rings in metres (the first one outside, the others holes)."""
    coordinates = []
    for ring in rings:
        places = []
        for x, y in ring:
            lat, lon = plane.degrees(x, y)
            places.append([round(lon, 7), round(lat, 7)])
        coordinates.append([*places, places[0]])
    return zone(zone_id, {"type": "Polygon", "coordinates": coordinates})


def order(order_id: str, kind: str, wearer_id: str, start_ms: int, **terms: Any) -> dict[str, Any]:
    """Return an order in the import format, in force around a start time."""
    entry: dict[str, Any] = {
        "id": order_id,
        "version": 1,
        "kind": kind,
        "wearer_id": wearer_id,
        "valid_from_ms": start_ms - 30 * 86_400_000,
        "valid_to_ms": start_ms + YEAR_MS,
        "signed_at_ms": start_ms - 31 * 86_400_000,
        "served_at_ms": start_ms - 30 * 86_400_000,
        "immediately_enforceable": True,
        "risk_class": 1,
        "plan_id": PLAN_ID,
    }
    if kind == "location-order":
        week = [{"day": day, "start": "00:00", "end": "24:00"} for day in range(7)]
        entry["schedule"] = {"timezone": "Europe/Amsterdam", "weekly": week}
    return entry | terms


def finish(
    *,
    family: str,
    name: str,
    place: str,
    seed: int,
    plane: LocalPlane,
    start_ms: int,
    end_ms: int,
    persons: dict[str, Path],
    devices: Iterable[Carried],
    zones: Iterable[dict[str, Any]] = (),
    orders: Iterable[dict[str, Any]] = (),
    tampers: Iterable[Tamper] = (),
    coincidence: str = "",
) -> Run:
    """Return a run with its truth: paths cut to its time, breaches of every order computed."""
    cut = {one: path.window(start_ms, end_ms) for one, path in persons.items()}
    carried = tuple(
        Carried(d.person_id, d.role, d.path.window(start_ms, end_ms), d.outages, d.interval_s)
        for d in devices
    )
    zones, orders = tuple(zones), tuple(orders)
    breaches: list[Breach] = []
    for each in orders:
        breaches += _breaches(each, zones, cut, carried, plane, coincidence)
    breaches.sort(key=lambda breach: (breach.from_ms, breach.order_id, breach.other_id))
    return Run(
        family, name, place, seed, plane, start_ms, end_ms, cut, carried, zones, orders,
        tuple(breaches), tuple(tampers),
    )  # fmt: skip


def _breaches(
    order_: dict[str, Any],
    zones: tuple[dict[str, Any], ...],
    persons: dict[str, Path],
    devices: tuple[Carried, ...],
    plane: LocalPlane,
    coincidence: str,
) -> list[Breach]:
    wearer = order_["wearer_id"]
    by_person = {device.person_id: device.path for device in devices}
    found = []
    for other in order_.get("protected_ids") or order_["zone_ids"]:
        spans = _spans(order_, other, zones, persons, plane)
        seen = _spans(order_, other, zones, by_person, plane) if wearer in by_person else []
        for span in spans:
            touch_ms = None
            if order_["kind"] == "contact-ban":
                touch_ms = _touch(persons[wearer], persons[other], span, plane)
            by_devices = any(s.from_ms < span.to_ms and span.from_ms < s.to_ms for s in seen)
            breach = Breach(
                order_id=order_["id"],
                kind=order_["kind"],
                wearer_id=wearer,
                other_id=other,
                from_ms=span.from_ms,
                to_ms=span.to_ms,
                touch_ms=touch_ms,
                by_devices=by_devices,
                coincidence=coincidence,
            )
            found.append(breach)
    return found


def _spans(
    order_: dict[str, Any],
    other: str,
    zones: tuple[dict[str, Any], ...],
    paths: dict[str, Path],
    plane: LocalPlane,
) -> list[Interval]:
    wearer = paths[order_["wearer_id"]]
    if order_["kind"] == "contact-ban":
        return within_intervals(wearer, paths[other], order_["radius_m"], plane)
    geometry = next(z["geometry"] for z in zones if z["id"] == other)
    area = Area.from_geojson(geometry, plane)
    inside = order_["kind"] == "area-ban"
    return (inside_intervals if inside else outside_intervals)(wearer, area)


def _touch(one: Path, other: Path, span: Interval, plane: LocalPlane) -> float | None:
    for touching in within_intervals(one, other, TOUCH_M, plane):
        if touching.to_ms >= span.from_ms and touching.from_ms <= span.to_ms:
            return touching.from_ms
    return None
