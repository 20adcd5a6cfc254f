"""A small language for stories.

A wearer, a protected person, zones, orders, and fixes at minutes past noon.
"""

from typing import Any

import msgspec
import numpy as np

from geofence.engine import Engine, FixBatch
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.schedule import Schedule, ScheduleException, Window
from geofence.verdicts import (
    Finding,
    OrderKind,
    PositionRequest,
    Verdict,
    VerdictReason,
    VerdictState,
)

NOON = 1_750_000_000_000
"""An instant without meaning: 2025-06-15 15:06:40 UTC."""
LAT, LON = 519_200_000, 44_700_000
"""The middle of every story, in Rotterdam."""
M_LAT = 1e7 / 111_260.0
M_LON = 1e7 / 68_750.0
"""A metre in degrees x 1e7, there."""
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
UNKNOWN_SPEED = 65535


def at(north_m: float, east_m: float = 0.0) -> tuple[int, int]:
    """The position so many metres from the middle."""
    return round(LAT + north_m * M_LAT), round(LON + east_m * M_LON)


def square(half_m: float, north_m: float = 0.0, east_m: float = 0.0) -> dict[str, Any]:
    """A square zone around a point."""
    corners = [(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)]
    ring = []
    for n, e in corners:
        lat, lon = at(north_m + n * half_m, east_m + e * half_m)
        ring.append([lon / 1e7, lat / 1e7])
    return {"type": "Polygon", "coordinates": [ring]}


def circle(radius_m: int, north_m: float = 0.0, east_m: float = 0.0) -> CircleShape:
    lat, lon = at(north_m, east_m)
    return CircleShape(lat_e7=lat, lon_e7=lon, radius_m=radius_m)


def order(**fields: Any) -> Order:
    """An order in force since long before noon."""
    base: dict[str, Any] = {
        "id": "order",
        "kind": OrderKind.AREA_BAN,
        "wearer_id": "wearer",
        "valid_from_ms": NOON - 30 * DAY,
        "signed_at_ms": NOON - 31 * DAY,
        "served_at_ms": NOON - 31 * DAY,
        "risk_class": 1,
        "plan_id": "plan",
    }
    base.update(fields)
    if base["kind"] is OrderKind.CONTACT_BAN:
        base.setdefault("protected_ids", ("victim",))
        base.setdefault("radius_m", 500)
    else:
        base.setdefault("zone_ids", ("zone",))
    return Order(**base)


def weekly(*windows: tuple[int, str, str], exceptions: Any = ()) -> Schedule:
    return Schedule(
        "Europe/Amsterdam",
        tuple(Window(*w) for w in windows),
        tuple(ScheduleException(*e) for e in exceptions),
    )


def batch(rows: list[tuple[int, int, int, int, int, int, int, int]]) -> FixBatch:
    """Rows of person, time, lat, lon, accuracy, speed, heading, mechanism as a batch."""
    columns = np.array(rows, np.int64).reshape(-1, 8).T
    return FixBatch(*columns)


class Story:
    """An engine with the usual persons, and words for what happens to it."""

    def __init__(self, *, zone: Any = None) -> None:
        self.engine = Engine()
        self.engine.put_person("wearer", Role.WEARER)
        self.engine.put_person("victim", Role.PROTECTED)
        self.now = NOON
        self.told: list[Finding] = []
        if zone is None:
            zone = square(200)
        self.zone("zone", zone)

    def zone(self, zone_id: str, shape: Any, version: int = 1) -> list[Finding]:
        named = {"circle": shape} if isinstance(shape, CircleShape) else {"geometry": shape}
        return self._tell(
            self.engine.put_zone(Zone(id=zone_id, version=version, **named), self.now)
        )

    def order(self, **fields: Any) -> list[Finding]:
        return self._tell(self.engine.put_order(order(**fields), self.now))

    def put(self, an_order: Order) -> list[Finding]:
        return self._tell(self.engine.put_order(an_order, self.now))

    def row(
        self,
        person: str,
        north_m: float,
        east_m: float = 0.0,
        *,
        ago_ms: int = 0,
        time_ms: int | None = None,
        accuracy_m: float = 5.0,
        speed: int = UNKNOWN_SPEED,
        mechanism: int = 1,
    ) -> tuple[int, int, int, int, int, int, int, int]:
        handle = self.engine.person_handle(person)
        assert handle is not None
        lat, lon = at(north_m, east_m)
        time = self.now - ago_ms if time_ms is None else time_ms
        return handle, time, lat, lon, round(accuracy_m * 10), speed, 65535, mechanism

    def fix(self, person: str, north_m: float, east_m: float = 0.0, **more: Any) -> list[Finding]:
        """One fix, now."""
        return self.fixes(self.row(person, north_m, east_m, **more))

    def fixes(self, *rows: tuple[int, int, int, int, int, int, int, int]) -> list[Finding]:
        return self._tell(self.engine.observe(batch(list(rows)), self.now))

    def wait(self, ms: int) -> list[Finding]:
        """Let time pass, with a tick at its end."""
        self.now += ms
        return self._tell(self.engine.advance(self.now))

    def until(self, now_ms: int) -> list[Finding]:
        return self.wait(now_ms - self.now)

    def stay(
        self, person: str, north_m: float, east_m: float = 0.0, *, minutes: int
    ) -> list[Finding]:
        """A fix a minute at one place."""
        found = []
        for _ in range(minutes):
            found += self.wait(MINUTE)
            found += self.fix(person, north_m, east_m)
        return found

    def reload(self) -> None:
        """Go on with what a dump gives back."""
        self.engine = Engine.load(self.engine.dump())

    def _tell(self, found: list[Finding]) -> list[Finding]:
        self.told += found
        return found


def verdicts(found: list[Finding]) -> list[Verdict]:
    return [f for f in found if isinstance(f, Verdict)]


def requests(found: list[Finding]) -> list[PositionRequest]:
    return [f for f in found if isinstance(f, PositionRequest)]


def told(found: list[Finding]) -> list[tuple[VerdictState, VerdictReason]]:
    """The verdicts as (state, reason)."""
    return [(v.state, v.reason) for v in verdicts(found)]


def as_bytes(found: list[Finding]) -> bytes:
    return msgspec.msgpack.encode(found)
