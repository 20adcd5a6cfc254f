"""Scenario files: who lives in the simulated town, under which orders, and what happens when.

JSON, versioned, strictly read: an unknown field, a wrong type, a reference to nothing is a problem
with file, field and reason, and all problems are told at once. Times in events are seconds after
the start; places are metres east and north of the centre.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from afstand.limits import SIM_PERSONS_MAX, SIM_SCENARIO_BYTES_MAX, SIM_SCENARIO_EVENTS_MAX
from simulators.clock import ClockFault
from simulators.happenings import DeviceKind, Profile

SCENARIOS: Final = Path(__file__).parent / "scenarios"
DEMO: Final = SCENARIOS / "demo.json"

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Prefix = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,56}$")]
Metres = Annotated[float, msgspec.Meta(ge=-200_000.0, le=200_000.0)]
Length = Annotated[float, msgspec.Meta(gt=0.0, le=200_000.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=31_536_000.0)]
Count = Annotated[int, msgspec.Meta(ge=1, le=SIM_PERSONS_MAX)]


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a scenario."""

    file: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field}: {self.reason}"


class ScenarioError(ValueError):
    """A scenario that cannot be played, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all records of a scenario have in common."""


class Centre(Strict, frozen=True, kw_only=True):
    """Where the town is, degrees WGS84."""

    lat: Annotated[float, msgspec.Meta(ge=-80.0, le=80.0)]
    lon: Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)]


class Spot(Strict, frozen=True, kw_only=True):
    """A place.

    Metres from the centre, or metres and a bearing (from north) from where a person starts.
    """

    x_m: Metres = 0.0
    y_m: Metres = 0.0
    near: Id | None = None
    distance_m: Metres = 0.0
    bearing_deg: Annotated[float, msgspec.Meta(ge=0.0, lt=360.0)] = 0.0


class Role(StrEnum):
    """Who wears, who is protected."""

    WEARER = "wearer"
    PROTECTED = "protected"


class Life(StrEnum):
    """What a person does of their own accord."""

    DAILY = "daily"
    HOME = "home"
    STILL = "still"


class Person(Strict, frozen=True, kw_only=True):
    """One person with one device (id: `device_id`, or the person's own)."""

    id: Id
    role: Role
    device: DeviceKind = DeviceKind.TAG
    device_id: Id | None = None
    life: Life = Life.DAILY
    at: Spot | None = None
    reporting: Profile | None = None
    clock: ClockFault | None = None


class PersonGroup(Strict, frozen=True, kw_only=True):
    """Persons `prefix`-001 and so on, alike but each with a life of their own."""

    prefix: Prefix
    count: Count
    role: Role
    device: DeviceKind = DeviceKind.TAG
    life: Life = Life.DAILY
    reporting: Profile | None = None


class PairGroup(Strict, frozen=True, kw_only=True):
    """Wearers `wearers`-001 ... each under a contact ban for protected person `protected`-001 ...

    The pairs live so that they are nowhere near each other for `apart_for_s` from the start.
    """

    wearers: Prefix
    protected: Prefix
    count: Count
    plan: Id
    radius_m: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 500
    warning_m: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    time_to_contact_s: Annotated[int, msgspec.Meta(ge=0, le=7_200)] = 0
    risk_class: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    apart_m: Length = 2_500.0
    apart_for_s: Seconds = 10_800.0
    reporting: Profile | None = None


class Travel(StrEnum):
    """How somebody moves."""

    WALK = "walk"
    CYCLE = "cycle"
    TRAM = "tram"
    CAR = "car"
    MOTORWAY = "motorway"
    TRAIN = "train"


class Shape(StrEnum):
    """The outline of a zone."""

    CIRCLE = "circle"
    SQUARE = "square"


class Zone(Strict, frozen=True, kw_only=True):
    """A zone around a place: `size_m` is the radius of a circle, half the side of a square.

    Or GeoJSON.
    """

    id: Id
    at: Spot | None = None
    shape: Shape = Shape.CIRCLE
    size_m: Length = 200.0
    geometry: dict[str, Any] | None = None


class Window(Strict, frozen=True, kw_only=True):
    """A weekly window: day 0 (Monday) to 6, local times."""

    day: Annotated[int, msgspec.Meta(ge=0, le=6)]
    start: str
    end: str


class OrderKind(StrEnum):
    """The three kinds of order."""

    CONTACT_BAN = "contact-ban"
    AREA_BAN = "area-ban"
    LOCATION_ORDER = "location-order"


class OrderTerms(Strict, frozen=True, kw_only=True):
    """What an order asks for; `always`: every day, all day."""

    kind: OrderKind
    plan: Id
    radius_m: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    warning_m: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    buffer_m: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    time_to_contact_s: Annotated[int, msgspec.Meta(ge=0, le=7_200)] = 0
    risk_class: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    schedule: Literal["always"] | tuple[Window, ...] | None = None
    silence_s: Annotated[int, msgspec.Meta(ge=10, le=86_400)] | None = None
    title: str = ""


class Order(Strict, frozen=True, kw_only=True):
    """One order about one wearer."""

    id: Id
    wearer: Id
    protected: tuple[Id, ...] = ()
    zones: tuple[Id, ...] = ()
    terms: OrderTerms


class GroupOrder(Strict, frozen=True, kw_only=True):
    """The same order for everybody of a group, each with a zone of their own.

    `home`: around the dwelling. `elsewhere`: somewhere the wearer does not come near of their own
    accord for a day.
    """

    group: Prefix
    zone: Literal["home", "elsewhere"]
    size_m: Length = 200.0
    terms: OrderTerms


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Something that happens to a person `at_s` seconds after the start."""

    at_s: Seconds
    person: Id


class GoTo(Event, frozen=True, kw_only=True, tag="go-to"):
    """Go somewhere and stay: along the streets, or straight."""

    to: Spot
    mode: Travel = Travel.WALK
    speed_m_s: Length | None = None
    streets: bool = False


class Approach(Event, frozen=True, kw_only=True, tag="approach"):
    """Go straight for where another person is, whatever that one does, and stay with them."""

    target: Id
    mode: Travel = Travel.WALK
    speed_m_s: Length | None = None
    for_s: Seconds = 900.0


class Follow(Event, frozen=True, kw_only=True, tag="follow"):
    """Go where another person went `gap_s` ago."""

    target: Id
    gap_s: Seconds = 60.0
    for_s: Seconds = 900.0


class EnterZone(Event, frozen=True, kw_only=True, tag="enter-zone"):
    """Go straight to the middle of a zone and stay."""

    zone: Id
    mode: Travel = Travel.WALK
    speed_m_s: Length | None = None


class LeaveZone(Event, frozen=True, kw_only=True, tag="leave-zone"):
    """Go straight away from the middle of a zone, `distance_m` from where one is, and stay."""

    zone: Id
    distance_m: Length = 800.0
    mode: Travel = Travel.WALK
    speed_m_s: Length | None = None


class LeaveDevice(Event, frozen=True, kw_only=True, tag="leave-device"):
    """The device stays where it is; the person goes on without it."""


class CutStrap(Event, frozen=True, kw_only=True, tag="cut-strap"):
    """The strap is cut."""


class RestoreStrap(Event, frozen=True, kw_only=True, tag="restore-strap"):
    """The strap is closed again."""


class OpenCase(Event, frozen=True, kw_only=True, tag="open-case"):
    """The case is opened."""


class PressPanic(Event, frozen=True, kw_only=True, tag="press-panic"):
    """The panic button is pressed; `duress`: the hidden one."""

    duress: bool = False


class SelfTest(Event, frozen=True, kw_only=True, tag="self-test"):
    """The button is pressed for a test."""


class LoseCoverage(Event, frozen=True, kw_only=True, tag="lose-coverage"):
    """No network for a while; the device stores and forwards."""

    for_s: Seconds


class Jam(Event, frozen=True, kw_only=True, tag="jam"):
    """A GNSS jammer near the device for a while."""

    for_s: Seconds


class SetBattery(Event, frozen=True, kw_only=True, tag="battery"):
    """The battery has this charge from now on."""

    percent: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]


class Charge(Event, frozen=True, kw_only=True, tag="charge"):
    """On the charger for a while."""

    for_s: Seconds


class Reboot(Event, frozen=True, kw_only=True, tag="reboot"):
    """The device restarts."""


class BreakClock(Event, frozen=True, kw_only=True, tag="clock"):
    """The clock goes wrong. Times in the fault are Unix ms."""

    fault: ClockFault


Movement = GoTo | Approach | Follow | EnterZone | LeaveZone | LeaveDevice
AnyEvent = (
    Movement
    | CutStrap
    | RestoreStrap
    | OpenCase
    | PressPanic
    | SelfTest
    | LoseCoverage
    | Jam
    | SetBattery
    | Charge
    | Reboot
    | BreakClock
)


class Scenario(Strict, frozen=True, kw_only=True):
    """The whole file."""

    format: Literal["afstand.scenario/1"]
    id: Id
    title: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    centre: Centre
    radius_m: Length = 5_000.0
    timezone: str = "Europe/Amsterdam"
    reporting: Profile = Profile()
    persons: tuple[Person, ...] = ()
    groups: tuple[PersonGroup, ...] = ()
    pairs: tuple[PairGroup, ...] = ()
    zones: tuple[Zone, ...] = ()
    orders: tuple[Order, ...] = ()
    group_orders: tuple[GroupOrder, ...] = ()
    plans: tuple[dict[str, Any], ...] = ()
    events: Annotated[tuple[AnyEvent, ...], msgspec.Meta(max_length=SIM_SCENARIO_EVENTS_MAX)] = ()


def member(prefix: str, number: int) -> str:
    """Return the id of a member of a group, numbered from 1."""
    return f"{prefix}-{number:03d}"


def person_ids(scenario: Scenario) -> list[str]:
    """Return every person of a scenario, in order.

    Named ones, groups, pairs (wearer, protected).
    """
    ids = [person.id for person in scenario.persons]
    for group in scenario.groups:
        ids += [member(group.prefix, number) for number in range(1, group.count + 1)]
    for pair in scenario.pairs:
        for number in range(1, pair.count + 1):
            ids += [member(pair.wearers, number), member(pair.protected, number)]
    return ids


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file; raises ScenarioError with every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(SIM_SCENARIO_BYTES_MAX + 1)
    except OSError as error:
        raise ScenarioError([Problem(str(path), "-", error.strerror or "cannot be read")]) from None
    return parse_scenario(data, str(path))


def parse_scenario(data: bytes, file: str) -> Scenario:
    """Read and check a scenario; raises ScenarioError with every problem."""
    if len(data) > SIM_SCENARIO_BYTES_MAX:
        raise ScenarioError([Problem(file, "-", f"more than {SIM_SCENARIO_BYTES_MAX} bytes")])
    try:
        scenario = msgspec.json.decode(data, type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason, _, place = str(error).partition(" - at `$")
        raise ScenarioError([Problem(file, place.strip("`.") or "-", reason)]) from None
    problems = _Checker(scenario, file).check()
    if problems:
        raise ScenarioError(problems)
    return scenario


class _Checker:
    """Everything that a schema cannot say."""

    def __init__(self, scenario: Scenario, file: str) -> None:
        self._scenario = scenario
        self._file = file
        self._problems: list[Problem] = []

    def check(self) -> list[Problem]:
        scenario = self._scenario
        total = len(scenario.persons) + sum(group.count for group in scenario.groups)
        total += sum(2 * pair.count for pair in scenario.pairs)
        if total > SIM_PERSONS_MAX:
            self._wrong("persons", f"{total} persons, at most {SIM_PERSONS_MAX}")
            return self._problems
        persons = person_ids(scenario)
        self._persons = dict.fromkeys(persons)
        self._named = {person.id for person in scenario.persons}
        self._plans = {str(plan.get("id")) for plan in scenario.plans}
        self._zones = {zone.id for zone in scenario.zones}
        self._unique("persons", persons)
        self._unique("zones", [zone.id for zone in scenario.zones])
        self._unique("orders", [order.id for order in scenario.orders])
        for index, person in enumerate(scenario.persons):
            self._spot(f"persons[{index}].at", person.at, person.id)
        for index, zone in enumerate(scenario.zones):
            if (zone.at is None) == (zone.geometry is None):
                self._wrong(f"zones[{index}]", "needs either `at` or `geometry`")
            self._spot(f"zones[{index}].at", zone.at, "")
        self._orders()
        for index, event in enumerate(scenario.events):
            self._event(f"events[{index}]", event)
        return self._problems

    def _wrong(self, field: str, reason: str) -> None:
        self._problems.append(Problem(self._file, field, reason))

    def _unique(self, field: str, ids: list[str]) -> None:
        seen: set[str] = set()
        for one in ids:
            if one in seen:
                self._wrong(field, f"{one!r} stands twice")
            seen.add(one)

    def _refer(self, field: str, one: str, known: Iterable[str], what: str) -> None:
        if one not in known:
            self._wrong(field, f"no {what} {one!r}")

    def _spot(self, field: str, spot: Spot | None, of: str) -> None:
        if spot is None or spot.near is None:
            return
        self._refer(f"{field}.near", spot.near, self._named, "named person")
        anchors = {person.id: person.at for person in self._scenario.persons}
        seen = {of}
        at: Spot | None = spot
        while at is not None and at.near is not None:
            if at.near in seen:
                self._wrong(f"{field}.near", "goes round in a circle")
                return
            seen.add(at.near)
            at = anchors.get(at.near)

    def _orders(self) -> None:
        for index, order in enumerate(self._scenario.orders):
            field = f"orders[{index}]"
            self._refer(f"{field}.wearer", order.wearer, self._persons, "person")
            for protected in order.protected:
                self._refer(f"{field}.protected", protected, self._persons, "person")
            for zone in order.zones:
                self._refer(f"{field}.zones", zone, self._zones, "zone")
            self._refer(f"{field}.terms.plan", order.terms.plan, self._plans, "plan")
        prefixes = {group.prefix for group in self._scenario.groups}
        for index, each in enumerate(self._scenario.group_orders):
            self._refer(f"group_orders[{index}].group", each.group, prefixes, "group")
            self._refer(f"group_orders[{index}].terms.plan", each.terms.plan, self._plans, "plan")
            if each.terms.kind is OrderKind.CONTACT_BAN:
                self._wrong(f"group_orders[{index}].terms.kind", "a contact ban goes in `pairs`")
        for index, pair in enumerate(self._scenario.pairs):
            self._refer(f"pairs[{index}].plan", pair.plan, self._plans, "plan")

    def _event(self, field: str, event: AnyEvent) -> None:
        self._refer(f"{field}.person", event.person, self._persons, "person")
        if isinstance(event, (Approach, Follow)):
            self._refer(f"{field}.target", event.target, self._persons, "person")
            if event.target == event.person:
                self._wrong(f"{field}.target", "nobody approaches themselves")
        if isinstance(event, (EnterZone, LeaveZone)):
            self._refer(f"{field}.zone", event.zone, self._zones, "zone")
        if isinstance(event, GoTo):
            self._spot(f"{field}.to", event.to, "")
