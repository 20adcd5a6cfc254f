"""A scenario made real.

Persons at places, zones with coordinates, and movers from a start time on.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from simulators.approaches import Pursuit, along_streets, following, straight
from simulators.geo import Floats, LocalPlane
from simulators.happenings import DeviceKind, Profile
from simulators.paths import (
    SPEED_M_S,
    Environment,
    Fixed,
    Mode,
    Mover,
    Switched,
    standing,
)
from simulators.people import DailyLife, draw_habits, time_zone
from simulators.scenario import (
    Approach,
    EnterZone,
    Follow,
    GoTo,
    GroupOrder,
    LeaveDevice,
    LeaveZone,
    Life,
    Movement,
    Order,
    OrderKind,
    OrderTerms,
    Person,
    PersonGroup,
    Role,
    Scenario,
    Shape,
    Spot,
    Travel,
    Zone,
    member,
)
from simulators.seeds import stream
from simulators.truth import Area
from simulators.world import Point, Town

CORNERS: Final = 48
DAY_MS: Final = 86_400_000
PAIR_TRIES: Final = 60
ELSEWHERE_TRIES: Final = 60
CLEAR_OF_ZONE_M: Final = 500.0
SAMPLE_MS: Final = 20_000
MODES: Final = {
    Travel.WALK: Mode.WALK,
    Travel.CYCLE: Mode.CYCLE,
    Travel.TRAM: Mode.TRAM,
    Travel.CAR: Mode.CAR,
    Travel.MOTORWAY: Mode.MOTORWAY,
    Travel.TRAIN: Mode.TRAIN,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """A person with a life of their own and a device; scripted movement comes on top."""

    person_id: str
    role: Role
    device_id: str
    device: DeviceKind
    reporting: Profile
    own: Mover
    start: Point
    spec: Person | None = None


@dataclass(frozen=True, slots=True)
class PlacedZone:
    """A zone with its GeoJSON geometry and its middle in metres."""

    zone_id: str
    geometry: dict[str, Any]
    middle: Point

    def area(self, plane: LocalPlane) -> Area:
        """Return the zone as ground truth sees it."""
        return Area.from_geojson(self.geometry, plane)


@dataclass(slots=True)
class Scene:
    """Everything of a scenario that has a place.

    Made once; `movers` give motion from a start time on.
    """

    scenario: Scenario
    plane: LocalPlane
    town: Town
    actors: dict[str, Actor] = field(default_factory=dict)
    zones: dict[str, PlacedZone] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)

    def movers(self, start_ms: int) -> tuple[dict[str, Mover], dict[str, Mover]]:
        """Return the true motion of every person and of every person's device.

        From a start time on.
        """
        persons: dict[str, Mover] = {one: actor.own for one, actor in self.actors.items()}
        left: dict[str, Mover] = {}
        moves = [event for event in self.scenario.events if isinstance(event, Movement)]
        for event in sorted(moves, key=lambda event: event.at_s):
            at_ms = start_ms + round(event.at_s * 1000.0)
            if isinstance(event, LeaveDevice):
                there = persons[event.person].at(at_ms)
                place = Fixed(standing(at_ms, there.x_m, there.y_m, Environment.WINDOW))
                left[event.person] = Switched(persons[event.person], place, at_ms)
            else:
                persons[event.person] = self._moved(event, persons, at_ms)
        return persons, {one: left.get(one, mover) for one, mover in persons.items()}

    def _moved(self, event: Movement, persons: dict[str, Mover], at_ms: int) -> Mover:
        mover = persons[event.person]
        there = mover.at(at_ms)
        start = (there.x_m, there.y_m)
        if isinstance(event, Follow):
            gap_ms, end_ms = round(event.gap_s * 1000.0), at_ms + round(event.for_s * 1000.0)
            return Switched(
                mover, Fixed(following(persons[event.target], at_ms, end_ms, gap_ms)), at_ms
            )
        assert not isinstance(event, LeaveDevice)
        mode = MODES[event.mode]
        speed = event.speed_m_s or SPEED_M_S[mode]
        if isinstance(event, Approach):
            pursuit = Pursuit(persons[event.target], at_ms, start, speed, mode)
            return Switched(mover, pursuit.until(at_ms + round(event.for_s * 1000.0)), at_ms)
        if isinstance(event, GoTo) and event.streets:
            rng = stream(self.scenario.seed, "go-to", event.person, round(event.at_s * 1000.0))
            goal = self.place(event.to)
            return Switched(
                mover, Fixed(along_streets(self.town, at_ms, start, goal, mode, rng, speed)), at_ms
            )
        goal = self._goal(event, start)
        return Switched(mover, Fixed(straight(at_ms, start, goal, mode, speed)), at_ms)

    def _goal(self, event: GoTo | EnterZone | LeaveZone, start: Point) -> Point:
        if isinstance(event, GoTo):
            return self.place(event.to)
        middle = self.zones[event.zone].middle
        if isinstance(event, EnterZone):
            return middle
        away = float(np.arctan2(start[0] - middle[0], start[1] - middle[1]))
        return _beyond(start, np.degrees(away), event.distance_m)

    def place(self, spot: Spot) -> Point:
        """Return where a spot is."""
        if spot.near is None:
            return spot.x_m, spot.y_m
        return _beyond(self.actors[spot.near].start, spot.bearing_deg, spot.distance_m)


def _beyond(start: Point, bearing_deg: float, distance_m: float) -> Point:
    angle = np.radians(bearing_deg)
    return (
        float(start[0] + distance_m * np.sin(angle)),
        float(start[1] + distance_m * np.cos(angle)),
    )


def outline(plane: LocalPlane, middle: Point, shape: Shape, size_m: float) -> dict[str, Any]:
    """Return a circle (radius) or square.

    Half side as a GeoJSON polygon, counterclockwise and closed.
    """
    if shape is Shape.CIRCLE:
        turns = np.arange(CORNERS) * (2.0 * np.pi / CORNERS)
        ring = [(middle[0] + size_m * np.cos(t), middle[1] + size_m * np.sin(t)) for t in turns]
    else:
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ring = [(middle[0] + size_m * east, middle[1] + size_m * north) for east, north in corners]
    places = []
    for x, y in ring:
        lat, lon = plane.degrees(float(x), float(y))
        places.append([round(lon, 7), round(lat, 7)])
    return {"type": "Polygon", "coordinates": [[*places, places[0]]]}


def set_scene(scenario: Scenario, start_ms: int) -> Scene:
    """Place everybody and everything.

    `start_ms`: around when it is played (for whom to keep apart).
    """
    plane = LocalPlane(scenario.centre.lat, scenario.centre.lon)
    scene = Scene(scenario, plane, Town(plane, scenario.seed))
    scene.orders = list(scenario.orders)
    _place_named(scene)
    for group in scenario.groups:
        for number in range(1, group.count + 1):
            _add(scene, _group_member(group, number), None)
    _place_pairs(scene, start_ms)
    for zone in scenario.zones:
        scene.zones[zone.id] = _placed(scene, zone)
    for each in scenario.group_orders:
        _place_group_order(scene, each, start_ms)
    return scene


def _group_member(group: PersonGroup, number: int) -> Person:
    return Person(
        id=member(group.prefix, number),
        role=group.role,
        device=group.device,
        life=group.life,
        reporting=group.reporting,
    )


def _place_named(scene: Scene) -> None:
    """Place persons who start near another one after that one."""
    waiting = list(scene.scenario.persons)
    while waiting:
        ready = [one for one in waiting if one.at is None or one.at.near in (None, *scene.actors)]
        assert ready, "the checker refuses circles"
        for person in ready:
            _add(scene, person, None if person.at is None else scene.place(person.at))
        waiting = [person for person in waiting if person.id not in scene.actors]


def _add(scene: Scene, person: Person, at: Point | None, drawn_as: str = "") -> Actor:
    scenario = scene.scenario
    habits = draw_habits(scene.town, drawn_as or person.id, scenario.radius_m, at)
    if person.life is Life.DAILY:
        own: Mover = DailyLife(scene.town, person.id, habits, time_zone(scenario.timezone))
    else:
        indoors = Environment.WINDOW if person.life is Life.HOME else Environment.SUBURB
        own = Fixed(standing(0, *habits.home, indoors))
    actor = Actor(
        person_id=person.id,
        role=person.role,
        device_id=person.device_id or person.id,
        device=person.device,
        reporting=person.reporting or scenario.reporting,
        own=own,
        start=habits.home,
        spec=person,
    )
    scene.actors[person.id] = actor
    return actor


def _place_pairs(scene: Scene, start_ms: int) -> None:
    for pair in scene.scenario.pairs:
        times = np.arange(start_ms, start_ms + round(pair.apart_for_s * 1000.0) + 1, SAMPLE_MS)
        for number in range(1, pair.count + 1):
            wearer = Person(
                id=member(pair.wearers, number), role=Role.WEARER, reporting=pair.reporting
            )
            protected = Person(
                id=member(pair.protected, number),
                role=Role.PROTECTED,
                device=DeviceKind.VICTIM,
                reporting=pair.reporting,
            )
            one = _track(_add(scene, wearer, None), times)
            best_m, best_try = -1.0, 0
            for attempt in range(PAIR_TRIES):
                other = _track(_add(scene, protected, None, f"{protected.id}/{attempt}"), times)
                apart_m = float(np.hypot(one[0] - other[0], one[1] - other[1]).min())
                if apart_m > best_m:
                    best_m, best_try = apart_m, attempt
                if apart_m >= pair.apart_m:
                    break
            else:
                _add(scene, protected, None, f"{protected.id}/{best_try}")
            terms = OrderTerms(
                kind=OrderKind.CONTACT_BAN,
                plan=pair.plan,
                radius_m=pair.radius_m,
                warning_m=pair.warning_m,
                time_to_contact_s=pair.time_to_contact_s,
                risk_class=pair.risk_class,
            )
            scene.orders.append(
                Order(
                    id=f"ban-{wearer.id}", wearer=wearer.id, protected=(protected.id,), terms=terms
                )
            )


def _track(actor: Actor, times: Any) -> tuple[Floats, Floats]:
    return actor.own.path(int(times[0]), int(times[-1])).positions(times)


def _placed(scene: Scene, zone: Zone) -> PlacedZone:
    if zone.geometry is not None:
        return PlacedZone(zone.id, zone.geometry, _middle(zone.geometry, scene.plane))
    assert zone.at is not None
    middle = scene.place(zone.at)
    return PlacedZone(zone.id, outline(scene.plane, middle, zone.shape, zone.size_m), middle)


def _middle(geometry: dict[str, Any], plane: LocalPlane) -> Point:
    """Return a point well inside: of a raster over the box the one furthest from the boundary."""
    area = Area.from_geojson(geometry, plane)
    xs = np.linspace(float(area.x0.min()), float(area.x0.max()), 25)
    ys = np.linspace(float(area.y0.min()), float(area.y0.max()), 25)
    points = [(float(x), float(y)) for x in xs for y in ys]
    return max(points, key=lambda point: area.signed_distance_m(*point))


def _place_group_order(scene: Scene, each: GroupOrder, start_ms: int) -> None:
    group = next(group for group in scene.scenario.groups if group.prefix == each.group)
    for number in range(1, group.count + 1):
        actor = scene.actors[member(group.prefix, number)]
        zone_id = f"zone-{actor.person_id}"
        middle = actor.start
        if each.zone == "elsewhere":
            middle = _elsewhere(scene, actor, each.size_m, start_ms)
        shape = outline(scene.plane, middle, Shape.CIRCLE, each.size_m)
        scene.zones[zone_id] = PlacedZone(zone_id, shape, middle)
        scene.orders.append(
            Order(
                id=f"order-{actor.person_id}",
                wearer=actor.person_id,
                zones=(zone_id,),
                terms=each.terms,
            )
        )


def _elsewhere(scene: Scene, actor: Actor, size_m: float, start_ms: int) -> Point:
    """Choose a place for a forbidden zone that the wearer does not come near for a day."""
    rng = stream(scene.scenario.seed, "elsewhere", actor.person_id)
    path = actor.own.path(start_ms - DAY_MS // 24, start_ms + DAY_MS)
    best, best_m = (0.0, 0.0), -1.0
    for _ in range(ELSEWHERE_TRIES):
        place = scene.town.address(rng, scene.scenario.radius_m)
        # Vertices lie a block apart, so this is at most a block too optimistic.
        clear_m = float(np.hypot(path.x_m - place[0], path.y_m - place[1]).min()) - size_m
        if clear_m > best_m:
            best, best_m = place, clear_m
        if clear_m >= CLEAR_OF_ZONE_M + 140.0:
            break
    return best
