"""The world of the week: people and devices with realistic trouble, and what is true about them.

Wearers and protected persons live their days (`simulators.people`); positions carry the errors of
`simulators.gnss`; links break, batteries empty, straps cry wolf, a provider fails once. On top come
true events at known times. Everything is a pure function of the seed. Positions are metres east and
north of each person's own town; one sample a minute, straight lines between.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulators.geo import LocalPlane
from simulators.gnss import ErrorField, draw_rows
from simulators.paths import Environment
from simulators.people import DailyLife, draw_habits, time_zone
from simulators.world import Point, Town

START_MS: Final = 1_781_481_600_000
"""Monday 15 June 2026, 02:00 in Amsterdam."""
SLOT_MS: Final = 10_000
MINUTES: Final = 1440
DAY_MS: Final = 86_400_000
SLOTS: Final = DAY_MS // SLOT_MS

RADIUS_M: Final = 1000
WARNING_M: Final = 2000
ZONE_M: Final = 400
BUFFER_M: Final = 150
CURFEW_H: Final = (22, 6)

LOSSES_PER_DAY: Final = 2.0
"""Wisconsin, May 2017: the link of one device was lost twice a day (domain 2.7)."""
LOSS_MEDIAN_S: Final = 240.0
LOSS_SIGMA: Final = 0.9
"""How long: lognormal, our assumption. 85 % are over within 10 minutes, 1 % last 32 and more."""
BATTERY_H: Final = 40.0
CHARGE_H: Final = 2.0
FORGETS_TO_CHARGE: Final = 0.07
SAME_TOWN: Final = 0.06
"""Share of pairs that live within reach of each other: no court lets most of them (domain F19)."""
OUTAGE_SHARE: Final = 0.6
"""2018: 450 of 700 devices were lost when a provider failed (domain 3.1, F05)."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Trip(NamedTuple):
    """A true event that somebody moves for: from there to a place, a stay, and back."""

    person: int
    day: int
    minute: int
    goal: Point
    stay_min: int
    speed_m_min: float = 500.0


class Moment(NamedTuple):
    """Something a device reports at an instant."""

    at_ms: int
    person: int
    kind: str


class TrueEvent(NamedTuple):
    """What must not be lost: alarms of one of these classes about this person in this time."""

    kind: str
    person: int
    other: int
    from_ms: int
    to_ms: int
    classes: tuple[str, ...]


@dataclass(slots=True)
class People:
    """Everybody, as columns. `pair`: the number of the other one, -1 for none."""

    planes: list[LocalPlane]
    lives: list[DailyLife]
    wearer: Bools
    pair: Ints
    home: Floats
    work: Floats
    beacon: Bools
    zone: Floats
    """Centre of the forbidden circle of each wearer."""
    phase: Ints
    buttons: int
    """Panic buttons without positions."""
    degrees: Floats
    """Of each person's plane: latitude and longitude of its middle, metres per degree of both."""

    def places(self, person: Ints, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Latitude and longitude in degrees of points in the planes of persons."""
        lat, lon, lat_m, lon_m = self.degrees[person].T
        return lat + y / lat_m, lon + x / lon_m

    def metres(self, person: Ints, lat: Floats, lon: Floats) -> tuple[Floats, Floats]:
        """The reverse of `places`."""
        lat0, lon0, lat_m, lon_m = self.degrees[person].T
        return (lon - lon0) * lon_m, (lat - lat0) * lat_m

    def __len__(self) -> int:
        return len(self.planes)

    def name(self, person: int) -> str:
        """The id of a person."""
        return f"{'w' if self.wearer[person] else 'p'}{person}"


def populate(devices: int, seed: int) -> People:
    """Return everybody: 30 % wearers of a pair, 30 % their protected persons, 4 % buttons alone.

    The rest are wearers alone.
    """
    rng = np.random.default_rng((seed, 1))
    pairs, buttons = devices * 3 // 10, devices // 25
    alone = devices - 2 * pairs - buttons
    zone = time_zone("Europe/Amsterdam")
    planes: list[LocalPlane] = []
    lives: list[DailyLife] = []
    wearer, pair = [], []
    homes, works, zones = [], [], []

    def add(plane: LocalPlane, is_wearer: bool, home: Point | None = None) -> int:
        number = len(planes)
        town = Town(plane, seed * 100_003 + number)
        habits = draw_habits(town, f"{seed}-{number}", 4000.0, home)
        planes.append(plane)
        lives.append(DailyLife(town, f"{seed}-{number}", habits, zone))
        wearer.append(is_wearer)
        homes.append(habits.home)
        works.append(habits.work or habits.home)
        zones.append((0.0, 0.0))
        return number

    for _ in range(pairs):
        plane = LocalPlane(float(rng.uniform(51.5, 52.9)), float(rng.uniform(4.5, 6.3)))
        one = add(plane, True)
        same_town = rng.random() < SAME_TOWN
        if same_town:
            other = add(plane, False, _away(rng, [homes[one], works[one]], 4500.0, 9000.0))
        else:
            far_m, angle = rng.uniform(8_000.0, 60_000.0), rng.uniform(0.0, 2 * np.pi)
            lat, lon = plane.degrees(far_m * np.cos(angle), far_m * np.sin(angle))
            other = add(LocalPlane(lat, lon), False)
        pair += [other, one]
        # The zone is the protected person's home in the plane of the wearer.
        lat, lon = planes[other].degrees(*homes[other])
        zones[one] = metres(plane, lat, lon)
    for _ in range(alone):
        plane = LocalPlane(float(rng.uniform(51.5, 52.9)), float(rng.uniform(4.5, 6.3)))
        one = add(plane, True)
        zones[one] = _away(rng, [homes[one], works[one]], 1500.0, 6000.0)
        pair.append(-1)
    count = len(planes)
    return People(
        planes,
        lives,
        np.array(wearer),
        np.array(pair),
        np.array(homes),
        np.array(works),
        np.array(wearer) & (rng.random(count) < 0.4),
        np.array(zones),
        rng.integers(0, 6, count),
        buttons,
        np.array([(p.lat_deg, p.lon_deg, p.lat_m, p.lon_m) for p in planes]),
    )


def metres(plane: LocalPlane, lat_deg: float, lon_deg: float) -> Point:
    """A place in the metres of a plane."""
    return (
        (lon_deg - plane.lon_deg) * plane.lon_m,
        (lat_deg - plane.lat_deg) * plane.lat_m,
    )


def _away(rng: np.random.Generator, places: list[Point], near_m: float, far_m: float) -> Point:
    """A place between two distances of the first that is not near any."""
    while True:
        far, angle = rng.uniform(near_m, far_m), rng.uniform(0.0, 2 * np.pi)
        at = (places[0][0] + far * np.cos(angle), places[0][1] + far * np.sin(angle))
        if all(np.hypot(at[0] - x, at[1] - y) >= near_m for x, y in places):
            return float(at[0]), float(at[1])


# --- true events ----------------------------------------------------------------------------------


def plan_trips(people: People, days: int, seed: int) -> list[Trip]:
    """Entries, meetings, near-misses and absences that are meant, spread over the week."""
    rng = np.random.default_rng((seed, 2))
    wearers = np.flatnonzero(people.wearer)
    tied = np.flatnonzero(people.wearer & (people.pair >= 0))
    curfewed = np.flatnonzero(people.beacon)
    weeks = days / 7
    trips: list[Trip] = []

    def day_and(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(days)), int(rng.integers(low, high))

    for one in rng.choice(wearers, max(1, round(len(wearers) * 0.02 * weeks)), replace=False):
        goal = (float(people.zone[one][0]), float(people.zone[one][1]))
        trips.append(Trip(int(one), *day_and(600, 1000), goal, int(rng.integers(8, 40))))
    for one in rng.choice(tied, max(1, round(len(tied) * 0.02 * weeks)), replace=False):
        x, y = people.zone[one] + rng.uniform(-100, 100, 2)  # her home, in the evening
        trips.append(Trip(int(one), *day_and(1080, 1200), (x, y), int(rng.integers(5, 20)), 800))
    for one in rng.choice(tied, max(1, round(len(tied) * 0.03 * weeks)), replace=False):
        away = people.zone[one] - people.home[one]
        stop = people.zone[one] - away / np.hypot(*away) * rng.uniform(1300, 1800)
        trips.append(Trip(int(one), *day_and(600, 1000), (stop[0], stop[1]), 2, 800))
    for one in rng.choice(curfewed, max(1, round(len(curfewed) * 0.06 * weeks)), replace=False):
        x, y = people.home[one] + rng.uniform(1200, 3000, 2) * rng.choice([-1, 1], 2)
        # 22:00 is minute 1200 of a day that begins at 02:00
        trips.append(Trip(int(one), *day_and(1220, 1300), (x, y), int(rng.integers(40, 100))))
    return trips


class DayOfWeek(NamedTuple):
    """Where everybody is, minute by minute: (persons, 1441) arrays in metres; environments."""

    x: Floats
    y: Floats
    environment: npt.NDArray[np.uint8]


def live_day(people: People, day: int, trips: list[Trip]) -> DayOfWeek:
    """One day of everybody, true events included."""
    start_ms = START_MS + day * DAY_MS
    times = start_ms + np.arange(MINUTES + 1) * 60_000.0
    count = len(people)
    x, y = np.empty((count, MINUTES + 1)), np.empty((count, MINUTES + 1))
    places = np.empty((count, MINUTES + 1), dtype=np.uint8)
    for person, life in enumerate(people.lives):
        path = life.path(start_ms, start_ms + DAY_MS)
        x[person], y[person] = path.positions(times)
        places[person] = path.environments(times)
    for person in np.flatnonzero(people.beacon).tolist():
        _at_home(x[person], y[person], places[person], people.home[person])
    for trip in trips:
        if trip.day == day:
            _travel(x[trip.person], y[trip.person], places[trip.person], trip)
    return DayOfWeek(x, y, places)


def _at_home(x: Floats, y: Floats, places: npt.NDArray[np.uint8], home: Floats) -> None:
    """Whoever has a curfew is home in its hours; the way there and back takes half an hour."""
    opens, closes, way = (CURFEW_H[1] - 2) * 60, (CURFEW_H[0] - 2) * 60, 30
    for column, at in ((x, home[0]), (y, home[1])):
        column[:opens] = at
        column[opens : opens + way] = np.linspace(at, column[opens + way], way)
        column[closes - way : closes] = np.linspace(column[closes - way], at, way)
        column[closes:] = at
    places[:opens] = places[closes:] = Environment.WINDOW


def _travel(x: Floats, y: Floats, places: npt.NDArray[np.uint8], trip: Trip) -> None:
    """Put a trip into a day: straight there, a stay, straight back to where life goes on."""
    at = trip.minute
    start = np.array([x[at], y[at]])
    goal = np.array(trip.goal)
    out_min = max(1, int(np.hypot(*(goal - start)) / trip.speed_m_min))
    there, leave = min(at + out_min, MINUTES), min(at + out_min + trip.stay_min, MINUTES)
    back = min(leave + out_min, MINUTES)
    end = np.array([x[back], y[back]])
    for minute in range(at, back + 1):
        if minute < there:
            place, sky = start + (goal - start) * (minute - at) / out_min, Environment.VEHICLE
        elif minute <= leave:
            place, sky = goal, Environment.SUBURB
        else:
            share = (minute - leave) / max(1, back - leave)
            place, sky = goal + (end - goal) * share, Environment.VEHICLE
        x[minute], y[minute] = place
        places[minute] = sky


def truths_of_day(people: People, day: int, lived: DayOfWeek) -> list[TrueEvent]:
    """What truly happened, from the true positions alone."""
    start_ms = START_MS + day * DAY_MS
    found: list[TrueEvent] = []

    def add(kind: str, one: int, other: int, holds: Bools, minutes: int, classes: str) -> None:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], holds.view(np.int8), [0]))))
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if b - a >= minutes:
                times = (start_ms + a * 60_000, start_ms + (b - 1) * 60_000)
                found.append(TrueEvent(kind, one, other, *times, tuple(classes.split())))

    hours = (np.arange(MINUTES + 1) / 60 + 2) % 24
    curfew = (hours >= CURFEW_H[0]) | (hours < CURFEW_H[1])
    for one in np.flatnonzero(people.wearer).tolist():
        x, y = lived.x[one], lived.y[one]
        depth = ZONE_M - np.hypot(x - people.zone[one][0], y - people.zone[one][1])
        inside = depth > 0
        if inside.any() and depth.max() >= 100:
            add("entry", one, -1, inside, 3, "area-breach")
        if people.beacon[one]:
            away = np.hypot(x - people.home[one][0], y - people.home[one][1])
            add("absence", one, -1, (away > 400) & curfew, 20, "order-breach")
        other = int(people.pair[one])
        if other >= 0:
            apart = separations(people, one, other, lived)
            add("contact", one, other, apart < RADIUS_M - 100, 4, "proximity")
    return found


def separations(people: People, one: int, other: int, lived: DayOfWeek) -> Floats:
    """How far two persons are apart, minute by minute, in metres."""
    here, there = people.planes[one], people.planes[other]
    lat = there.lat_deg + lived.y[other] / there.lat_m
    lon = there.lon_deg + lived.x[other] / there.lon_m
    x, y = (lon - here.lon_deg) * here.lon_m, (lat - here.lat_deg) * here.lat_m
    apart: Floats = np.hypot(x - lived.x[one], y - lived.y[one])
    return apart


# --- devices --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Devices:
    """The state of every device: link, battery, receiver, burst. Times in Unix ms."""

    people: People
    rng: np.random.Generator
    errors: ErrorField
    down_until_ms: Ints
    next_loss_ms: Ints
    charge_pct: Floats
    charging: Bools
    plug_at_ms: Ints
    burst_until_ms: Ints
    last_try_ms: Ints
    stored: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)
    dead_since: dict[int, int] = field(default_factory=dict)

    @classmethod
    def start(cls, people: People, seed: int) -> "Devices":
        """Charged, linked and still."""
        rng = np.random.default_rng((seed, 3))
        count = len(people)
        return cls(
            people,
            rng,
            ErrorField.start(count),
            np.zeros(count, dtype=np.int64),
            START_MS + (rng.exponential(DAY_MS / LOSSES_PER_DAY, count)).astype(np.int64),
            rng.uniform(60.0, 100.0, count),
            np.zeros(count, dtype=np.bool_),
            _tonight(rng, count, 0),
            np.zeros(count, dtype=np.int64),
            np.full(count, START_MS, dtype=np.int64),
        )

    def lose_links(self, now_ms: int) -> None:
        """Links break now and then, each for itself."""
        for person in np.flatnonzero(self.next_loss_ms <= now_ms).tolist():
            length_s = LOSS_MEDIAN_S * float(np.exp(LOSS_SIGMA * self.rng.standard_normal()))
            until_ms = now_ms + round(length_s * 1000)
            self.down_until_ms[person] = max(self.down_until_ms[person], until_ms)
            gap_ms = self.rng.exponential(DAY_MS / LOSSES_PER_DAY)
            self.next_loss_ms[person] = until_ms + round(gap_ms)

    def drain(self, now_ms: int) -> list[Moment]:
        """Let a slot pass for the batteries; tell what devices say about them."""
        moments: list[Moment] = []
        before = self.charge_pct.copy()
        hours = SLOT_MS / 3_600_000
        rate = np.where(self.charging, 100 / CHARGE_H, -100 / BATTERY_H)
        self.charge_pct = np.clip(before + rate * hours, 0.0, 100.0)
        for name, level in (("battery-low", 20.0), ("battery-critical", 8.0)):
            crossed = (before > level) & (self.charge_pct <= level)
            for person in np.flatnonzero(crossed).tolist():
                moments.append(Moment(now_ms, person, name))
                if level == 8.0:
                    self.plug_at_ms[person] = now_ms + self._reacts_after_ms()
        for person in np.flatnonzero((self.plug_at_ms <= now_ms) & ~self.charging).tolist():
            self.charging[person] = True
            self.dead_since.pop(person, None)
            moments.append(Moment(now_ms, person, "charging"))
        for person in np.flatnonzero(self.charging & (self.charge_pct >= 100.0)).tolist():
            self.charging[person] = False
            day = (now_ms - START_MS) // DAY_MS
            self.plug_at_ms[person] = _tonight(self.rng, 1, int(day) + 1)[0]
            moments.append(Moment(now_ms, person, "charging-ended"))
        for person in np.flatnonzero((self.charge_pct <= 0.0) & (before > 0.0)).tolist():
            self.dead_since[person] = now_ms
        return moments

    def _reacts_after_ms(self) -> int:
        """When somebody charges whose device says that it is almost empty."""
        draw = self.rng.random()
        if draw < 0.75:
            minutes = self.rng.uniform(1, 9)
        elif draw < 0.92:
            minutes = self.rng.uniform(10, 60)
        else:
            minutes = self.rng.uniform(240, 600)  # it dies first
        return round(minutes * 60_000)

    def alive(self) -> Bools:
        """Whose device runs."""
        return self.charge_pct > 0.0

    def sense(
        self, which: Ints, now_ms: int, lived: DayOfWeek, minute: int, share: float
    ) -> dict[str, Floats]:
        """One attempt of each of these devices: columns of the fixes that came of it."""
        x0, x1 = lived.x[which, minute], lived.x[which, minute + 1]
        y0, y1 = lived.y[which, minute], lived.y[which, minute + 1]
        x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
        vx, vy = (x1 - x0) / 60, (y1 - y0) / 60
        places = lived.environment[which, minute].astype(np.int64)
        part = self.errors.part(which)
        dt_s = (now_ms - self.last_try_ms[which]) / 1000.0
        rows = draw_rows(self.rng, len(which))
        seen = part.step(dt_s, places, vx, vy, rows)
        self.errors.put(which, part)
        self.last_try_ms[which] = now_ms
        home = self.people.home[which]
        at_beacon = self.people.beacon[which] & (np.hypot(x - home[:, 0], y - home[:, 1]) < 25.0)
        # Without GNSS a device falls back to Wi-Fi, or to the cell it is in.
        draws = self.rng.random((2, len(which)))
        wifi = ~seen.got & (draws[0] < 0.75)
        cell = ~seen.got & ~wifi & (draws[1] < 0.9)
        noise = self.rng.standard_normal((2, len(which)))
        sigma = np.where(wifi, 55.0, 450.0)
        back = wifi | cell
        error_x = np.where(at_beacon, 0.0, np.where(back, noise[0] * sigma, seen.error_x_m))
        error_y = np.where(at_beacon, 0.0, np.where(back, noise[1] * sigma, seen.error_y_m))
        accuracy = np.where(wifi, 60.0, np.where(cell, 1000.0, seen.accuracy_m))
        mechanism = np.where(wifi, 2, np.where(cell, 3, seen.mechanism))
        got = seen.got | back | at_beacon
        return {
            "person": which[got].astype(np.float64),
            "x": (x + error_x)[got],
            "y": (y + error_y)[got],
            "accuracy_m": np.where(at_beacon, 1.0, accuracy)[got],
            "mechanism": np.where(at_beacon, 4, mechanism)[got].astype(np.float64),
            "speed_m_s": np.hypot(vx, vy)[got],
        }


def _tonight(rng: np.random.Generator, count: int, day: int) -> Ints:
    """When the devices are charged: in the evening, or not at all that day."""
    evening_h = rng.uniform(18.5, 21.0, count)  # after 02:00, when a day begins
    forgets = rng.random(count) < FORGETS_TO_CHARGE
    at_ms = START_MS + day * DAY_MS + (evening_h * 3_600_000).astype(np.int64)
    return at_ms + forgets * DAY_MS
