"""A scenario as everything a run needs.

The cases document, the devices, the fleet and what is to be expected.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from firmware_contracts import EventCode
from simulators.carrier import Carrier
from simulators.client import Broker
from simulators.clock import SimulationClock, Steady
from simulators.device import Device
from simulators.fleet import Coverage, Cue, Fleet, FleetObserver
from simulators.gnss import Receiver
from simulators.happenings import (
    Boots,
    CaseOpens,
    Charger,
    ClockBreaks,
    DeviceKind,
    DeviceSpec,
    Jammed,
    Pressed,
    Profile,
    SetCharge,
    Strap,
)
from simulators.paths import Mover
from simulators.people import DailyLife, day_of
from simulators.scenario import (
    AnyEvent,
    BreakClock,
    Charge,
    CutStrap,
    Jam,
    LoseCoverage,
    OpenCase,
    Order,
    OrderKind,
    PressPanic,
    Reboot,
    RestoreStrap,
    Scenario,
    SelfTest,
    SetBattery,
)
from simulators.scene import Actor, Scene, set_scene
from simulators.seeds import device_key, key_of, stream
from simulators.truth import inside_intervals, outside_intervals, within_intervals

CASES_FORMAT: Final = "afstand.cases/1"
YEAR_MS: Final = 365 * 86_400_000
ALL_WEEK: Final = [{"day": day, "start": "00:00", "end": "24:00"} for day in range(7)]
NO_FIXES: Final = Profile(moving_s=0, rest_s=0, status_s=3_600)


class Expected(NamedTuple):
    """Something that truly happens: the ground truth of a run, known before it starts."""

    at_ms: int
    what: str  # contact-ban, area-ban, location-order (broken), strap-cut, panic, duress
    order_id: str
    person_id: str
    other_id: str


@dataclass(frozen=True, slots=True)
class DemoWorld:
    """A scenario ready to be played. `cases` is a document in the import format."""

    scene: Scene
    cases: dict[str, Any]
    keys: dict[str, bytes]

    @property
    def scenario(self) -> Scenario:
        """The scenario it came from."""
        return self.scene.scenario

    def fleet(
        self,
        broker: Broker,
        clock: SimulationClock,
        start_ms: int,
        observer: FleetObserver | None = None,
    ) -> Fleet:
        """Return the devices and the script, with second 0 of the scenario at `start_ms`."""
        _, devices = self.scene.movers(start_ms)
        carriers = {
            actor.device_id: self.carrier(actor, devices[one], clock.now_ms())
            for one, actor in self.scene.actors.items()
        }
        cues = [*self.cues(start_ms), *self._charging(start_ms)]
        return Fleet(carriers, cues, broker, clock, observer or FleetObserver())

    def carrier(self, actor: Actor, mover: Mover, now_ms: int) -> Carrier:
        """Return one device on one person."""
        seed = self.scenario.seed
        spec = DeviceSpec(
            device_id=actor.device_id,
            key=self.keys[actor.device_id],
            kind=actor.device,
            profile=NO_FIXES if actor.device is DeviceKind.BUTTON else actor.reporting,
            clock=(actor.spec.clock if actor.spec is not None else None) or Steady(),
            seed=key_of(actor.device_id) ^ seed,
            phase_ms=key_of(actor.device_id) % 3_600_000,
        )
        receiver = Receiver(stream(seed, "gnss", actor.device_id))
        return Carrier(Device(spec, now_ms), mover, self.scene.plane, receiver)

    def cues(self, start_ms: int) -> list[Cue]:
        """Return what the scenario does to devices."""
        found: list[Cue] = []
        for event in self.scenario.events:
            at_ms = start_ms + round(event.at_s * 1000.0)
            device_id = self.scene.actors[event.person].device_id
            for after_s, label, what in _on_device(event):
                found.append(
                    Cue(at_ms + round(after_s * 1000.0), device_id, event.person, label, what)
                )
        return found

    def _charging(self, start_ms: int) -> list[Cue]:
        """Return the charging discipline of everybody who lives a daily life, for two evenings."""
        found: list[Cue] = []
        for actor in self.scene.actors.values():
            if not isinstance(actor.own, DailyLife):
                continue
            for later in range(2):
                evening = actor.own.charging(day_of(start_ms + later * 86_400_000, actor.own.zone))
                if evening is not None and evening[0] > start_ms:
                    for at_ms, on in zip(evening, (True, False), strict=True):
                        label = "charger on" if on else "charger off"
                        found.append(
                            Cue(at_ms, actor.device_id, actor.person_id, label, Charger(on))
                        )
        return found

    def expected(self, start_ms: int, for_ms: int) -> list[Expected]:
        """Return what truly happens within a time: breaches by geometry, events by the script."""
        persons, _ = self.scene.movers(start_ms)
        end_ms = start_ms + for_ms
        found: list[Expected] = []
        for order in self.scene.orders:
            found += self._breaches(order, persons, start_ms, end_ms)
        for cue in self.cues(start_ms):
            what = _NAMED.get(cue.label)
            if what is not None and cue.at_ms < end_ms:
                found.append(Expected(cue.at_ms, what, "", cue.person_id, ""))
        return sorted(found)

    def _breaches(
        self, order: Order, persons: dict[str, Mover], start_ms: int, end_ms: int
    ) -> list[Expected]:
        wearer = persons[order.wearer].path(start_ms, end_ms)
        plane = self.scene.plane
        spans: list[tuple[float, str]] = []
        if order.terms.kind is OrderKind.CONTACT_BAN:
            for one in order.protected:
                path = persons[one].path(start_ms, end_ms)
                radius_m = float(order.terms.radius_m)
                spans += [
                    (span.from_ms, one) for span in within_intervals(wearer, path, radius_m, plane)
                ]
        elif order.terms.kind is OrderKind.AREA_BAN:
            for zone in order.zones:
                area = self.scene.zones[zone].area(plane)
                spans += [(span.from_ms, zone) for span in inside_intervals(wearer, area)]
        elif order.terms.schedule == "always":
            # Several zones: being in one of them is enough.
            absent = [
                outside_intervals(wearer, self.scene.zones[zone].area(plane))
                for zone in order.zones
            ]
            if len(absent) == 1:
                spans += [(span.from_ms, order.zones[0]) for span in absent[0]]
        return [
            Expected(round(at_ms), order.terms.kind.value, order.id, order.wearer, other)
            for at_ms, other in spans
        ]


_NAMED: Final = {
    "cut strap": "strap-cut",
    "press panic": "panic",
    "press duress": "duress",
    "open case": "case-opened",
}


def _on_device(event: AnyEvent) -> list[tuple[float, str, Any]]:
    """Return (seconds after, label, happening) of an event that happens to a device."""
    match event:
        case PressPanic():
            code = EventCode.DURESS if event.duress else EventCode.PANIC
            return [(0.0, f"press {code.name.lower()}", Pressed(code))]
        case LoseCoverage():
            off, on = Coverage(covered=False), Coverage(covered=True)
            return [(0.0, "lose coverage", off), (event.for_s, "coverage back", on)]
        case Jam():
            return [(0.0, "jammer on", Jammed(True)), (event.for_s, "jammer off", Jammed(False))]
        case Charge():
            return [
                (0.0, "charger on", Charger(True)),
                (event.for_s, "charger off", Charger(False)),
            ]
        case SetBattery():
            return [(0.0, "set battery", SetCharge(event.percent))]
        case BreakClock():
            return [(0.0, "break clock", ClockBreaks(event.fault))]
        case _:
            plain = _PLAIN.get(type(event))
            return [] if plain is None else [(0.0, *plain)]


_PLAIN: Final[dict[type[AnyEvent], tuple[str, Any]]] = {
    CutStrap: ("cut strap", Strap(cut=True)),
    RestoreStrap: ("restore strap", Strap(cut=False)),
    OpenCase: ("open case", CaseOpens()),
    SelfTest: ("self test", Pressed(EventCode.SELF_TEST)),
    Reboot: ("reboot", Boots()),
}


def build_demo(scenario: Scenario, start_ms: int) -> DemoWorld:
    """Build the world of a scenario.

    `start_ms`: about when it will be played (people keep apart around then).
    """
    scene = set_scene(scenario, start_ms)
    keys = {
        actor.device_id: device_key(scenario.seed, actor.device_id)
        for actor in scene.actors.values()
    }
    return DemoWorld(scene, _cases(scene, keys, start_ms), keys)


def _cases(scene: Scene, keys: dict[str, bytes], start_ms: int) -> dict[str, Any]:
    actors = list(scene.actors.values())
    return {
        "format": CASES_FORMAT,
        "persons": [{"id": actor.person_id, "role": actor.role.value} for actor in actors],
        "devices": [_device_entry(actor, keys) for actor in actors],
        "zones": [
            {"id": zone.zone_id, "version": 1, "geometry": zone.geometry}
            for zone in scene.zones.values()
        ],
        "orders": [_order_entry(order, start_ms, scene) for order in scene.orders],
        "plans": list(scene.scenario.plans),
        "cases": _case_entries(scene),
    }


def _device_entry(actor: Actor, keys: dict[str, bytes]) -> dict[str, Any]:
    phone = actor.device is DeviceKind.PHONE
    return {
        "id": actor.device_id,
        "person": actor.person_id,
        "role": actor.role.value,
        "contract": "owntracks" if phone else "em1",
        "key": "" if phone else keys[actor.device_id].hex(),
    }


def _order_entry(order: Order, start_ms: int, scene: Scene) -> dict[str, Any]:
    terms = order.terms
    entry: dict[str, Any] = {
        "id": order.id,
        "version": 1,
        "kind": terms.kind.value,
        "wearer_id": order.wearer,
        "protected_ids": list(order.protected),
        "zone_ids": list(order.zones),
        "radius_m": terms.radius_m,
        "warning_m": terms.warning_m,
        "buffer_m": terms.buffer_m,
        "time_to_contact_s": terms.time_to_contact_s,
        "risk_class": terms.risk_class,
        "title": terms.title or _TITLES[terms.kind],
        "authority": "Rechtbank Rotterdam (gesimuleerd)",
        "case_number": f"SIM-{order.id}",
        "valid_from_ms": start_ms - 30 * 86_400_000,
        "valid_to_ms": start_ms + YEAR_MS,
        "signed_at_ms": start_ms - 31 * 86_400_000,
        "served_at_ms": start_ms - 30 * 86_400_000,
        "immediately_enforceable": True,
        "plan_id": terms.plan,
    }
    if terms.silence_s is not None:
        entry["silence_s"] = terms.silence_s
    if terms.schedule is not None:
        windows = ALL_WEEK
        if terms.schedule != "always":
            windows = [{"day": w.day, "start": w.start, "end": w.end} for w in terms.schedule]
        entry["schedule"] = {"timezone": scene.scenario.timezone, "weekly": windows}
    return entry


_TITLES: Final = {
    OrderKind.CONTACT_BAN: "Contactverbod",
    OrderKind.AREA_BAN: "Gebiedsverbod",
    OrderKind.LOCATION_ORDER: "Locatiegebod",
}


def _case_entries(scene: Scene) -> list[dict[str, Any]]:
    """Return one case per wearer with the persons protected from them.

    A lone button has its own.
    """
    protected_by: dict[str, dict[str, None]] = {
        actor.person_id: {} for actor in scene.actors.values() if actor.role.value == "wearer"
    }
    plans: dict[str, str] = {}
    for order in scene.orders:
        protected_by[order.wearer].update(dict.fromkeys(order.protected))
        plans.setdefault(order.wearer, order.terms.plan)
    tied = {one for each in protected_by.values() for one in each}
    default = str(scene.scenario.plans[0]["id"]) if scene.scenario.plans else None
    cases = []
    for wearer, protected in protected_by.items():
        plan = plans.get(wearer, default)
        cases.append(
            {"id": f"case-{wearer}", "wearer": wearer, "protected": list(protected), "plan": plan}
        )
    for actor in scene.actors.values():
        if actor.role.value == "protected" and actor.person_id not in tied:
            one = actor.person_id
            cases.append({"id": f"case-{one}", "wearer": None, "protected": [one], "plan": default})
    return cases
