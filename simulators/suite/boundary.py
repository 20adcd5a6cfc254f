"""One wearer and one zone.

Parked outside, living next to it, walking in, driving through, drifting indoors.
"""

from typing import Any, Final

import numpy as np

from simulators.network import Outage
from simulators.paths import SPEED_M_S, Environment, Mode, Path, PathBuilder, standing
from simulators.people import DailyLife, draw_habits, time_zone
from simulators.seeds import stream
from simulators.suite.kinds import (
    MINUTE_MS,
    START_MS,
    WEARER,
    Carried,
    Run,
    circle,
    finish,
    order,
    polygon,
)
from simulators.suite.places import PLACES, Place
from simulators.world import Point, Town

DAY_MS: Final = 86_400_000
ZONE_M: Final = 250.0
PARKED_M: Final = (20, 50, 100)
CAR_M_S: Final = 50.0 / 3.6


def _run(
    name: str,
    place: Place,
    seed: int,
    path: Path,
    *,
    zone: dict[str, Any],
    wearer: str,
    end_ms: int,
    kind: str = "area-ban",
    outages: tuple[Outage, ...] = (),
    buffer_m: int = 0,
) -> Run:
    terms = {"zone_ids": [zone["id"]], "buffer_m": buffer_m}
    return finish(
        family="boundary", name=name, place=place.name, seed=seed, plane=place.plane,
        start_ms=START_MS, end_ms=end_ms, persons={wearer: path},
        devices=[Carried(wearer, WEARER, path, outages)], zones=[zone],
        orders=[order(f"{wearer}-order", kind, wearer, START_MS, **terms)],
    )  # fmt: skip


def _square(wearer: str, place: Place) -> dict[str, Any]:
    """A square zone whose near side is the line x = 0: whoever is at x < 0 is outside."""
    corners = [(0.0, -400.0), (800.0, -400.0), (800.0, 400.0), (0.0, 400.0)]
    return polygon(f"{wearer}-zone", place.plane, [corners])


def parked(seed: int, outside_m: int, place: Place = PLACES[1], hours: float = 24.0) -> Run:
    """A device that lies still `outside_m` metres outside a zone for a day.

    Every alarm is false.
    """
    wearer = f"b{seed}-parked{outside_m}-{place.name}"
    path = standing(START_MS, -float(outside_m), 0.0, place.outdoors)
    end_ms = START_MS + round(hours * 3_600_000)
    zone = _square(wearer, place)
    return _run(f"parked-{outside_m}", place, seed, path, zone=zone, wearer=wearer, end_ms=end_ms)


def next_door(seed: int, place: Place = PLACES[1]) -> Run:
    """A wearer who lives 40 to 90 m from the zone and goes about his day."""
    wearer = f"b{seed}-next-door"
    rng = stream(seed, "next-door")
    home = (-float(rng.uniform(40.0, 90.0)), float(rng.uniform(-200.0, 200.0)))
    town = Town(place.plane, seed)
    life = DailyLife(
        town, wearer, draw_habits(town, wearer, 4_000.0, home), time_zone("Europe/Amsterdam")
    )
    path = life.path(START_MS, START_MS + DAY_MS)
    # Streets cross the zone; what is truly inside is in the truth, like everywhere.
    zone = _square(wearer, place)
    return _run("next-door", place, seed, path, zone=zone, wearer=wearer, end_ms=START_MS + DAY_MS)


def indoor_drift(seed: int) -> Run:
    """A wearer who keeps to a location order, behind a window, for a night.

    Every alarm is false.
    """
    place = PLACES[2]
    wearer = f"b{seed}-indoors"
    home = standing(START_MS, 0.0, 0.0, Environment.WINDOW)
    zone = circle(f"{wearer}-home", place.plane, (0.0, 0.0), 60.0)
    end_ms = START_MS + 12 * 3_600_000
    return _run(
        "indoor-drift", place, seed, home, zone=zone, wearer=wearer, end_ms=end_ms,
        kind="location-order", buffer_m=50,
    )  # fmt: skip


def _visit(
    name: str,
    seed: int,
    place: Place,
    *,
    depth_m: float,
    stays_s: float = 0.0,
    inside_s: float = 0.0,
) -> tuple[str, Path]:
    """Walk from outside straight into the square zone, stay, and leave the same way.

    With `inside_s` at a right angle, and so long that exactly this time is spent inside.
    """
    rng = stream(seed, name, place.name)
    wearer = f"b{seed}-{name}-{place.name}"
    speed = SPEED_M_S[Mode.WALK] * float(rng.uniform(0.85, 1.15))
    start = (-float(rng.uniform(400.0, 900.0)), float(rng.uniform(-200.0, 200.0)))
    goal = (depth_m, start[1] if inside_s else float(rng.uniform(-200.0, 200.0)))
    stays_ms = round((stays_s or inside_s - 2.0 * depth_m / speed) * 1000.0)
    route = PathBuilder(START_MS, *start, place.outdoors)
    route.stay(START_MS + round(float(rng.uniform(5.0, 8.0)) * MINUTE_MS))
    route.go([goal], speed, Mode.WALK, place.outdoors).stay(route.now_ms + stays_ms)
    return wearer, route.go([start], speed, Mode.WALK, place.outdoors).build()


def walk_in(seed: int, place: Place) -> Run:
    """Walk into the zone and stay for a quarter of an hour."""
    wearer, path = _visit("walk-in", seed, place, depth_m=120.0, stays_s=900.0)
    end_ms = path.end_ms + 3 * MINUTE_MS
    return _run(
        "walk-in", place, seed, path, zone=_square(wearer, place), wearer=wearer, end_ms=end_ms
    )


def two_minutes(seed: int, place: Place) -> Run:
    """Be inside for two minutes: in, to the door, and out again."""
    wearer, path = _visit("two-minutes", seed, place, depth_m=40.0, inside_s=120.0)
    end_ms = path.end_ms + 3 * MINUTE_MS
    return _run(
        "two-minutes", place, seed, path, zone=_square(wearer, place), wearer=wearer, end_ms=end_ms
    )


def drive_through(seed: int, place: Place) -> Run:
    """Drive through the zone in a straight line at 50 km/h: inside for about a minute."""
    wearer = f"b{seed}-drive-through-{place.name}"
    return _drive("drive-through", seed, place, wearer, 400.0)


def drive_by(seed: int, place: Place) -> Run:
    """Drive along the zone, 25 to 60 m outside: every alarm is false."""
    rng = stream(seed, "drive-by", place.name)
    wearer = f"b{seed}-drive-by-{place.name}"
    return _drive("drive-by", seed, place, wearer, -float(rng.uniform(25.0, 60.0)))


def _drive(name: str, seed: int, place: Place, wearer: str, x_m: float) -> Run:
    rng = stream(seed, name, place.name, "times")
    waits_ms = START_MS + round(float(rng.uniform(5.0, 7.0)) * MINUTE_MS)
    route = PathBuilder(START_MS, x_m, -3_000.0, place.outdoors).stay(waits_ms)
    path = route.go([(x_m, 3_000.0)], CAR_M_S, Mode.CAR, Environment.VEHICLE).build()
    zone = _square(wearer, place)
    return _run(
        name, place, seed, path, zone=zone, wearer=wearer, end_ms=path.end_ms + 5 * MINUTE_MS
    )


def coverage_lost(seed: int, place: Place, *, returns_inside: bool) -> Run:
    """A walk-in during which the network is gone; the stored fixes come late, all at once.

    `returns_inside`: the network is back while the wearer is still there; otherwise after he has
    left.
    """
    name = "late-inside" if returns_inside else "late-after"
    wearer, path = _visit(name, seed, place, depth_m=120.0, stays_s=900.0)
    rng = stream(seed, name, "coverage")
    lost_ms = START_MS + round(float(rng.uniform(3.0, 4.5)) * MINUTE_MS)
    leaves_ms = path.end_ms - round((path.end_ms - path.start_ms) * 0.15)
    if returns_inside:
        leaves_ms = int(path.t_ms[2]) + 5 * MINUTE_MS
    outage = Outage(lost_ms, leaves_ms if returns_inside else path.end_ms + MINUTE_MS)
    return _run(
        name, place, seed, path, zone=_square(wearer, place), wearer=wearer,
        end_ms=path.end_ms + 8 * MINUTE_MS, outages=(outage,),
    )  # fmt: skip


def boundaries(seed: int) -> list[Run]:
    """Return the short runs of one seed, every place: visits, drives, coverage loss."""
    found = []
    for place in PLACES:
        found += [each(seed, place) for each in (walk_in, two_minutes, drive_through, drive_by)]
        found += [coverage_lost(seed, place, returns_inside=inside) for inside in (True, False)]
    return found


def long_days(seed: int, hours: float = 24.0) -> list[Run]:
    """Return the long innocent runs of one seed: parked outside, next door, indoors."""
    return [
        *(parked(seed, outside_m, hours=hours) for outside_m in PARKED_M),
        next_door(seed),
        indoor_drift(seed),
    ]


def corner(point: Point) -> float:
    """Return the true distance in metres of a point from the square zone (for tests)."""
    dx = max(-point[0], point[0] - 800.0, 0.0)
    dy = max(abs(point[1]) - 400.0, 0.0)
    return float(np.hypot(dx, dy))
