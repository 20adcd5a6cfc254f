"""Seven domestic-violence runs in five places, modelled on the published Queensland trial.

The trial's counts are public (domain.md, finding 6: 35 runs, 51 % full success); what exactly was
played is not, so the content of each run is ours. Every run is drawn from its seed: bearings,
distances, speeds, how long people wait.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from simulators.approaches import Pursuit
from simulators.paths import SPEED_M_S, Environment, Fixed, Mode, Path, PathBuilder, standing
from simulators.seeds import stream
from simulators.suite.kinds import (
    MINUTE_MS,
    PROTECTED,
    START_MS,
    WEARER,
    Carried,
    Run,
    Tamper,
    circle,
    finish,
    order,
    polygon,
)
from simulators.suite.places import PLACES, Place
from simulators.world import Point

RADIUS_M: Final = 500
WARNING_M: Final = 2_000
TIME_TO_CONTACT_S: Final = 300
HOME_ZONE_M: Final = 200.0


class _Draft:
    """What the seven runs have in common: a place, a home, a generator, ids."""

    def __init__(self, scenario: str, place: Place, seed: int) -> None:
        self.scenario = scenario
        self.place = place
        self.seed = seed
        self.plane = place.plane
        self.rng = stream(seed, "queensland", scenario, place.name)
        self.wearer = f"q{seed}-{scenario}-{place.name}-w"
        self.protected = f"q{seed}-{scenario}-{place.name}-p"
        self.waits_ms = START_MS + round(float(self.rng.uniform(4.0, 8.0)) * MINUTE_MS)

    def away(self, low_m: float, high_m: float) -> Point:
        """Draw a place at a distance from the home of the protected person, which is the origin."""
        distance, angle = self.rng.uniform(low_m, high_m), self.rng.uniform(0.0, 2.0 * np.pi)
        return float(distance * np.cos(angle)), float(distance * np.sin(angle))

    def speed(self, mode: Mode) -> float:
        """Draw how fast this person goes."""
        return SPEED_M_S[mode] * float(self.rng.uniform(0.85, 1.15))

    def at_home(self) -> Path:
        """The protected person at home all the time."""
        return standing(START_MS, 0.0, 0.0, self.place.indoors)

    def journey(self, start: Point, legs: list[tuple[Point, Mode]], stays_ms: int) -> Path:
        """Wait at a start, go leg by leg, stay, and go straight back."""
        route = PathBuilder(START_MS, *start, self.place.outdoors).stay(self.waits_ms)
        for goal, mode in legs:
            route.go([goal], self.speed(mode), mode, self.environment(mode))
        route.stay(route.now_ms + stays_ms, self.place.outdoors)
        return route.go(
            [start], self.speed(legs[0][1]), legs[0][1], self.environment(legs[0][1])
        ).build()

    def environment(self, mode: Mode) -> Environment:
        """The sky on the way."""
        return Environment.VEHICLE if mode is Mode.CAR else self.place.outdoors

    def contact_ban(self) -> dict[str, object]:
        return order(
            f"{self.wearer}-contact", "contact-ban", self.wearer, START_MS,
            protected_ids=[self.protected], radius_m=RADIUS_M, warning_m=WARNING_M,
            time_to_contact_s=TIME_TO_CONTACT_S,
        )  # fmt: skip

    def area_ban(self, zone_id: str) -> dict[str, object]:
        """An area ban with a buffer ring."""
        return order(
            f"{self.wearer}-area", "area-ban", self.wearer, START_MS, zone_ids=[zone_id],
            buffer_m=150,
        )  # fmt: skip

    def pair(
        self,
        wearer: Path,
        protected: Path,
        *,
        wearer_device: Path | None = None,
        protected_device: Path | None = None,
        tampers: tuple[Tamper, ...] = (),
        home_zone: bool = False,
    ) -> Run:
        """Return the run of a pair under a contact ban.

        And an area ban around the home if asked.
        """
        orders, zones = [self.contact_ban()], []
        if home_zone:
            zone_id = f"{self.wearer}-home"
            zones.append(circle(zone_id, self.plane, (0.0, 0.0), HOME_ZONE_M))
            orders.append(
                order(
                    f"{self.wearer}-area",
                    "area-ban",
                    self.wearer,
                    START_MS,
                    zone_ids=[zone_id],
                    buffer_m=150,
                )
            )
        end_ms = max(wearer.end_ms, protected.end_ms) + 2 * MINUTE_MS
        return finish(
            family="queensland", name=self.scenario, place=self.place.name, seed=self.seed,
            plane=self.plane, start_ms=START_MS, end_ms=end_ms,
            persons={self.wearer: wearer, self.protected: protected},
            devices=[
                Carried(self.wearer, WEARER, wearer_device or wearer),
                Carried(self.protected, PROTECTED, protected_device or protected),
            ],
            zones=zones, orders=orders, tampers=tampers,
        )  # fmt: skip


def on_foot(place: Place, seed: int) -> Run:
    """The wearer walks to the home of the protected person, who is in, and stays at the door."""
    draft = _Draft("on-foot", place, seed)
    stays_ms = round(float(draft.rng.uniform(3.0, 8.0)) * MINUTE_MS)
    wearer = draft.journey(draft.away(1_200.0, 2_200.0), [((0.0, 8.0), Mode.WALK)], stays_ms)
    return draft.pair(wearer, draft.at_home(), home_zone=True)


def by_car(place: Place, seed: int) -> Run:
    """The wearer drives to the street of the protected person, who is in.

    And parks near the door.
    """
    draft = _Draft("by-car", place, seed)
    stays_ms = round(float(draft.rng.uniform(3.0, 8.0)) * MINUTE_MS)
    start = draft.away(5_000.0, 11_000.0)
    wearer = draft.journey(start, [(draft.away(10.0, 25.0), Mode.CAR)], stays_ms)
    return draft.pair(wearer, draft.at_home(), home_zone=True)


def protected_moves(place: Place, seed: int) -> Run:
    """The wearer stands somewhere; the protected person comes towards them unknowingly."""
    draft = _Draft("protected-moves", place, seed)
    bar = draft.away(1_500.0, 3_000.0)
    mode = Mode.WALK if draft.rng.random() < 0.5 else Mode.CYCLE
    route = PathBuilder(START_MS, 0.0, 0.0, place.indoors).stay(draft.waits_ms)
    aside = float(draft.rng.uniform(-20.0, 20.0))
    route.go([(bar[0] + aside, bar[1])], draft.speed(mode), mode, place.outdoors)
    protected = route.stay(route.now_ms + 4 * MINUTE_MS).build()
    return draft.pair(standing(START_MS, *bar, place.outdoors), protected)


def both_move(place: Place, seed: int) -> Run:
    """Both are on the way; the wearer goes for where the protected person is."""
    draft = _Draft("both-move", place, seed)
    hunts = Mode.CYCLE if draft.rng.random() < 0.6 else Mode.CAR
    mode = Mode.WALK if hunts is Mode.CYCLE or draft.rng.random() < 0.5 else Mode.CYCLE
    route = PathBuilder(START_MS, 0.0, 0.0, place.outdoors).stay(draft.waits_ms)
    while route.now_ms < draft.waits_ms + 28 * MINUTE_MS:
        route.go([draft.away(300.0, 900.0)], draft.speed(mode), mode, place.outdoors)
        route.stay(route.now_ms + MINUTE_MS)
    protected = route.build()
    start = draft.away(3_000.0, 4_500.0)
    pursuit = Pursuit(Fixed(protected), draft.waits_ms, start, draft.speed(hunts), hunts)
    wearer = pursuit.until(protected.end_ms, place.outdoors).track
    return draft.pair(wearer, protected)


def restriction_zone(place: Place, seed: int) -> Run:
    """The wearer enters a forbidden quarter (with a hole.

    A corridor that is allowed) and stays a while.
    """
    draft = _Draft("restriction-zone", place, seed)
    turns = (np.arange(14) + draft.rng.uniform(-0.35, 0.35, 14)) * (2.0 * np.pi / 14)
    reach = draft.rng.uniform(350.0, 600.0, 14)
    outer = [
        (float(r * np.cos(t)), float(r * np.sin(t))) for r, t in zip(reach, turns, strict=True)
    ]
    hole = [(-40.0, -20.0), (-40.0, 20.0), (40.0, 20.0), (40.0, -20.0)]
    zone_id = f"{draft.wearer}-quarter"
    mode = (Mode.WALK, Mode.CYCLE, Mode.CAR)[int(draft.rng.integers(3))]
    stays_ms = round(float(draft.rng.uniform(3.0, 9.0)) * MINUTE_MS)
    wearer = draft.journey(
        draft.away(1_500.0, 3_000.0), [(draft.away(80.0, 150.0), mode)], stays_ms
    )
    return finish(
        family="queensland", name=draft.scenario, place=place.name, seed=seed, plane=draft.plane,
        start_ms=START_MS, end_ms=wearer.end_ms + 2 * MINUTE_MS,
        persons={draft.wearer: wearer}, devices=[Carried(draft.wearer, WEARER, wearer)],
        zones=[polygon(zone_id, draft.plane, [outer, hole])],
        orders=[draft.area_ban(zone_id)],
    )  # fmt: skip


def device_left_behind(place: Place, seed: int) -> Run:
    """The protected person goes out without her device, and the wearer meets her.

    No device can show it.
    """
    draft = _Draft("device-left-behind", place, seed)
    shop = draft.away(1_500.0, 2_500.0)
    route = PathBuilder(START_MS, 0.0, 0.0, place.indoors).stay(draft.waits_ms)
    route.go([shop], draft.speed(Mode.WALK), Mode.WALK, place.outdoors)
    protected = route.stay(route.now_ms + 10 * MINUTE_MS).build()
    beyond = (shop[0] * 2.2, shop[1] * 2.2)
    wearer = draft.journey(beyond, [(shop, Mode.WALK)], 5 * MINUTE_MS)
    return draft.pair(wearer, protected, protected_device=draft.at_home())


def strap_cut(place: Place, seed: int) -> Run:
    """The wearer cuts the strap at home, leaves the device there.

    And goes to the protected person.
    """
    draft = _Draft("strap-cut", place, seed)
    start = draft.away(1_500.0, 3_000.0)
    wearer = draft.journey(start, [((0.0, 8.0), Mode.CYCLE)], 5 * MINUTE_MS)
    device = standing(START_MS, *start, place.indoors)
    tamper = Tamper(draft.wearer, draft.waits_ms - MINUTE_MS)
    return draft.pair(wearer, draft.at_home(), wearer_device=device, tampers=(tamper,))


SCENARIOS: Final[tuple[Callable[[Place, int], Run], ...]] = (
    on_foot,
    by_car,
    protected_moves,
    both_move,
    restriction_zone,
    device_left_behind,
    strap_cut,
)


def queensland(seed: int) -> list[Run]:
    """Return the 35 runs of one seed: seven scenarios in five places."""
    return [scenario(place, seed) for scenario in SCENARIOS for place in PLACES]
