"""Persons who live: home, work, errands and sleep, with the rhythm of a week.

A day runs from 04:00 to 04:00 local time and begins and ends at home, so that every day is a pure
function of (seed, person, day) and days can be put together in any order.
"""

import datetime as dt
import importlib.resources
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from simulators.paths import SPEED_M_S, Environment, Mode, Path, PathBuilder, Truth, joined
from simulators.seeds import stream
from simulators.world import Point, Town

DAY_STARTS_H: Final = 4
WALK_WITHIN_M: Final = 900.0
CYCLE_WITHIN_M: Final = 5_000.0
TRAM_STOP_M: Final = 560.0
TRAM_DWELL_MS: Final = 25_000
HOUR_MS: Final = 3_600_000


@lru_cache(maxsize=8)
def time_zone(name: str) -> ZoneInfo:
    """Return a time zone from the pinned `tzdata` package.

    So that every machine simulates the same day.
    """
    *folders, last = ("zoneinfo", *name.split("/"))
    place = importlib.resources.files("tzdata")
    for folder in folders:
        place = place / folder
    with (place / last).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def day_of(t_ms: int, zone: ZoneInfo) -> dt.date:
    """Return the day (04:00 to 04:00 local time) that an instant belongs to."""
    local = dt.datetime.fromtimestamp(t_ms / 1000.0, tz=zone)
    return local.date() - dt.timedelta(days=1) if local.hour < DAY_STARTS_H else local.date()


def local_ms(day: dt.date, hours: float, zone: ZoneInfo) -> int:
    """Return the Unix time in ms of a local wall-clock hour of a day (may pass 24)."""
    extra, hours = divmod(hours, 24.0)
    wall = dt.datetime.combine(day + dt.timedelta(days=int(extra)), dt.time(), tzinfo=zone)
    return round((wall + dt.timedelta(hours=hours)).timestamp() * 1000.0)


@dataclass(frozen=True, slots=True)
class Habits:
    """What one person does on which days; drawn once per person."""

    home: Point
    work: Point | None
    home_environment: Environment
    work_environment: Environment
    has_car: bool
    wakes_h: float
    leaves_h: float
    works_h: float
    errand_chance: float
    outing_chance: float


def draw_habits(town: Town, person_id: str, radius_m: float, home: Point | None = None) -> Habits:
    """Draw the habits of a person who lives within `radius_m` of the centre."""
    rng = stream(town.seed, "habits", person_id)
    dwelling = town.address(rng, radius_m)
    work = town.address(rng, radius_m * 1.1) if rng.random() < 0.72 else None
    wakes_h = float(np.clip(rng.normal(7.0, 0.7), 5.0, 9.5))
    return Habits(
        home=home if home is not None else dwelling,
        work=work,
        home_environment=Environment.WINDOW,
        work_environment=Environment.DEEP_INDOOR if rng.random() < 0.25 else Environment.WINDOW,
        has_car=bool(rng.random() < 0.45),
        wakes_h=wakes_h,
        leaves_h=wakes_h + float(rng.uniform(0.6, 1.6)),
        works_h=float(np.clip(rng.normal(8.3, 0.8), 4.0, 10.0)),
        errand_chance=float(rng.uniform(0.3, 0.8)),
        outing_chance=float(rng.uniform(0.1, 0.5)),
    )


@dataclass(frozen=True, slots=True)
class DailyLife:
    """A person with habits in a town; a `Mover`."""

    town: Town
    person_id: str
    habits: Habits
    zone: ZoneInfo
    _days: dict[dt.date, Path] = field(default_factory=dict, compare=False, repr=False)

    def path(self, from_ms: int, to_ms: int) -> Path:
        """Return the true motion in a window."""
        day, last = day_of(from_ms, self.zone), day_of(to_ms, self.zone)
        parts = []
        while day <= last:
            parts.append(self.day(day))
            day += dt.timedelta(days=1)
        return joined(parts).window(from_ms, to_ms)

    def at(self, t_ms: int) -> Truth:
        """Return the true state at an instant."""
        return self.day(day_of(t_ms, self.zone)).at(t_ms)

    def day(self, day: dt.date) -> Path:
        """Return the motion of one day (04:00 to 04:00 local time)."""
        known = self._days.get(day)
        if known is None:
            known = self._days[day] = self._plan(day)
            if len(self._days) > 8:
                del self._days[next(iter(self._days))]
        return known

    def charging(self, day: dt.date) -> tuple[int, int] | None:
        """Return from when to when (ms) the device is on its charger that evening; None: forgotten.

        Two hours a day is the usual order (domain.md 7.3); people keep to it on 93 % of days.
        """
        rng = stream(self.town.seed, "charging", self.person_id, day.toordinal())
        if rng.random() > 0.93:
            return None
        starts_ms = local_ms(day, float(rng.uniform(21.0, 23.5)), self.zone)
        return starts_ms, starts_ms + round(float(rng.uniform(1.2, 2.5)) * HOUR_MS)

    def _plan(self, day: dt.date) -> Path:
        rng = stream(self.town.seed, "day", self.person_id, day.toordinal())
        habits = self.habits
        start_ms = local_ms(day, DAY_STARTS_H, self.zone)
        end_ms = local_ms(day, DAY_STARTS_H + 24.0, self.zone)
        route = PathBuilder(start_ms, *habits.home, habits.home_environment)
        weekend = day.weekday() >= 5
        if habits.work is not None and not weekend:
            self._working_day(route, day, rng)
        else:
            self._free_day(route, day, rng, weekend=weekend)
        evening_ms = local_ms(day, float(rng.uniform(18.5, 20.0)), self.zone)
        if rng.random() < habits.outing_chance and route.now_ms < evening_ms:
            self._visit(route, rng, evening_ms, round(rng.uniform(0.8, 2.4) * HOUR_MS), 4_000.0)
        if route.now_ms > end_ms:
            raise AssertionError(f"{self.person_id} is not home at the end of {day}")
        return route.stay(end_ms, habits.home_environment).build()

    def _working_day(self, route: PathBuilder, day: dt.date, rng: np.random.Generator) -> None:
        habits = self.habits
        assert habits.work is not None
        leaves_ms = local_ms(day, habits.leaves_h + float(rng.normal(0.0, 0.15)), self.zone)
        route.stay(leaves_ms, habits.home_environment)
        self._travel(route, habits.work, rng)
        leaves_work_ms = leaves_ms + round((habits.works_h + float(rng.normal(0.0, 0.3))) * HOUR_MS)
        if rng.random() < 0.3:
            noon_ms = local_ms(day, 12.2 + float(rng.random()), self.zone)
            if route.now_ms < noon_ms:
                route.stay(noon_ms, habits.work_environment)
                around = self.town.address(rng, 500.0, habits.work)
                self._travel(route, around, rng)
                self._travel(route, habits.work, rng)
        route.stay(leaves_work_ms, habits.work_environment)
        if rng.random() < habits.errand_chance * 0.5:
            self._travel(route, self.town.address(rng, 1_500.0, habits.home), rng)
            route.stay(route.now_ms + round(rng.uniform(0.2, 0.6) * HOUR_MS), Environment.WINDOW)
        self._travel(route, habits.home, rng)

    def _free_day(
        self, route: PathBuilder, day: dt.date, rng: np.random.Generator, *, weekend: bool
    ) -> None:
        starts_h = self.habits.wakes_h + float(rng.uniform(1.0, 2.5)) + (0.8 if weekend else 0.0)
        for wanted_h in (starts_h, starts_h + float(rng.uniform(2.5, 5.0))):
            if rng.random() < self.habits.errand_chance:
                leaves_ms = local_ms(day, wanted_h, self.zone)
                self._visit(route, rng, leaves_ms, round(rng.uniform(0.3, 1.8) * HOUR_MS), 2_500.0)

    def _visit(
        self,
        route: PathBuilder,
        rng: np.random.Generator,
        leaves_ms: int,
        stays_ms: int,
        within_m: float,
    ) -> None:
        """Go somewhere near home and come back."""
        route.stay(leaves_ms, self.habits.home_environment)
        self._travel(route, self.town.address(rng, within_m, self.habits.home), rng)
        there = Environment.WINDOW if rng.random() < 0.7 else Environment.SUBURB
        route.stay(route.now_ms + stays_ms, there)
        self._travel(route, self.habits.home, rng)

    def _travel(self, route: PathBuilder, goal: Point, rng: np.random.Generator) -> None:
        distance_m = float(np.hypot(goal[0] - route.place[0], goal[1] - route.place[1]))
        travel(self.town, route, goal, choose_mode(distance_m, self.habits.has_car, rng), rng)


def choose_mode(distance_m: float, has_car: bool, rng: np.random.Generator) -> Mode:
    """Choose how somebody covers a distance in a Dutch town."""
    if distance_m < WALK_WITHIN_M:
        return Mode.WALK
    if distance_m < CYCLE_WITHIN_M and rng.random() < 0.6:
        return Mode.CYCLE
    if has_car:
        return Mode.CAR
    return Mode.TRAM if rng.random() < 0.6 else Mode.CYCLE


def travel(
    town: Town, route: PathBuilder, goal: Point, mode: Mode, rng: np.random.Generator
) -> None:
    """Follow the streets from where the route is to a goal.

    A tram stops on the way, a car waits at lights.
    """
    points = town.route(route.place, goal, rng)
    environments = town.environments(points, mode)
    speed_m_s = SPEED_M_S[mode] * float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3))
    since_stop_m, before = 0.0, route.place
    for point, environment in zip(points, environments, strict=True):
        since_stop_m += float(np.hypot(point[0] - before[0], point[1] - before[1]))
        before = point
        route.go([point], speed_m_s, mode, environment)
        if mode is Mode.TRAM and since_stop_m >= TRAM_STOP_M:
            route.stay(route.now_ms + TRAM_DWELL_MS)
            since_stop_m = 0.0
        elif mode is Mode.CAR and rng.random() < 0.08:
            route.stay(route.now_ms + int(rng.integers(5_000, 45_000)))
