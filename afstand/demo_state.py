"""What the demo knows: what truly happens, what was decided, what each receiver got and when."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from afstand.tail import Samples, Seen, Tail
from alerting.book.types import TARGET_PROTECTED_DEVICE, AlarmClass, Notice
from simulators.client import Shown
from simulators.demo import DemoWorld, Expected
from simulators.receivers import Arrival, Receiver

CLASS_OF: Final[Mapping[str, AlarmClass]] = {
    "contact-ban": AlarmClass.PROXIMITY,
    "area-ban": AlarmClass.AREA_BREACH,
    "location-order": AlarmClass.ORDER_BREACH,
    "strap-cut": AlarmClass.TAMPER,
    "panic": AlarmClass.PANIC,
}
WORDS: Final[Mapping[str, str]] = {
    "contact-ban": "contact breach",
    "area-ban": "area breach",
    "location-order": "broken location order",
    "strap-cut": "cut strap",
    "panic": "AWARE press",
}


class Delivered(NamedTuple):
    """One message at one receiver. Latency from the intake's read to the receiver, None unknown."""

    at_ms: int
    receiver: str
    alarm_class: str
    purpose: str
    incident: str
    latency_ms: float | None


class Row(NamedTuple):
    """One true event and what came of it at one receiver."""

    event: str
    person: str
    truly_ms: int
    receiver: str
    arrived_ms: int | None
    latency_ms: float | None


class DemoState:
    """Joins the ground truth, the outbox and the receivers."""

    def __init__(
        self, world: DemoWorld, tail: Tail, receivers: Sequence[Receiver], start_ms: int
    ) -> None:
        self.world = world
        self.tail = tail
        self.receivers = receivers
        self.start_ms = start_ms
        self.total = Samples()
        self.delivery = Samples()
        self.deliveries: list[Delivered] = []
        self.shown: list[Shown] = []
        self._counted: dict[str, int] = {receiver.name: 0 for receiver in receivers}

    def on_shown(self, shown: Shown) -> None:
        """A device showed something to the person who carries it."""
        self.shown.append(shown)

    def update(self) -> list[Delivered]:
        """Take in what arrived since the last call; gives the new messages, in their order."""
        fresh: list[Delivered] = []
        for receiver in self.receivers:
            arrivals = list(receiver.arrivals)[self._counted[receiver.name] :]
            for arrival in arrivals:
                seen = self.tail.notices.get(arrival.id)
                if seen is None:
                    break  # the outbox is followed a moment later: next time
                self._counted[receiver.name] += 1
                fresh.append(self._delivered(arrival, seen))
        fresh.sort()
        self.deliveries += fresh
        return fresh

    def _delivered(self, arrival: Arrival, seen: Seen) -> Delivered:
        latency_ms = None
        if seen.received_ms and not arrival.duplicate:
            latency_ms = float(max(0, arrival.arrived_ms - seen.received_ms))
            self.total.add(latency_ms)
            self.delivery.add(max(0, arrival.arrived_ms - seen.journalled_ms))
        return Delivered(
            arrival.arrived_ms,
            arrival.receiver,
            arrival.alarm_class,
            arrival.purpose,
            arrival.incident,
            latency_ms,
        )

    def rows(self, for_ms: int) -> list[Row]:
        """Each true event of the first `for_ms` at each receiver that its plan names first."""
        events: dict[tuple[str, str], Expected] = {}
        for expected in self.world.expected(self.start_ms, for_ms):
            if expected.what in CLASS_OF:
                events.setdefault((expected.what, expected.person_id), expected)
        return [
            self._row(expected, target)
            for expected in events.values()
            for target in self._wanted(expected)
        ]

    def _wanted(self, expected: Expected) -> list[str]:
        """The targets of the first steps of the plan, for the class of this event."""
        alarm_class = CLASS_OF[expected.what].value
        targets: list[str] = []
        alone = not self._case_of(expected)["protected"] or expected.what == "panic"
        for step in self._plan_of(expected)["steps"]:
            if alone and TARGET_PROTECTED_DEVICE in step["targets"]:
                continue  # nobody to tell, or it was the protected person who pressed
            first = step.get("on", "open") == "open" and not step.get("after_s", 0)
            if first and (not step.get("classes") or alarm_class in step["classes"]):
                targets += [target for target in step["targets"] if target not in targets]
        return targets

    def _case_of(self, expected: Expected) -> Mapping[str, Any]:
        return next(
            case
            for case in self.world.cases["cases"]
            if expected.person_id in (case["wearer"], *case["protected"])
        )

    def _plan_of(self, expected: Expected) -> Mapping[str, Any]:
        cases = self.world.cases
        plan_id = self._case_of(expected)["plan"]
        for order in cases["orders"]:
            if expected.order_id == order["id"]:
                plan_id = order["plan_id"]
        return next(plan for plan in cases["plans"] if plan["id"] == plan_id)

    def _row(self, expected: Expected, target: str) -> Row:
        event, truly = WORDS[expected.what], expected.at_ms
        for seen in list(self.tail.notices.values()):
            if seen.notice.target == target and _is_about(seen.notice, expected):
                arrived = self._arrival(seen)
                if arrived is not None:
                    latency = float(arrived - seen.received_ms) if seen.received_ms else None
                    return Row(event, expected.person_id, truly, target, arrived, latency)
        return Row(event, expected.person_id, truly, target, None, None)

    def _arrival(self, seen: Seen) -> int | None:
        if seen.notice.target == TARGET_PROTECTED_DEVICE:
            device = seen.notice.subject_device_id
            after = [
                shown.at_ms
                for shown in self.shown
                if shown.device_id == device and shown.at_ms >= seen.journalled_ms - 1
            ]
            return min(after, default=None)
        for receiver in self.receivers:
            for arrival in receiver.arrivals:
                if arrival.id == seen.key:
                    return arrival.arrived_ms
        return None


def _is_about(notice: Notice, expected: Expected) -> bool:
    if notice.alarm_class is not CLASS_OF[expected.what]:
        return False
    # A notice for the protected person names no order: it is cut down to what they may know.
    if expected.order_id and notice.order_id not in (None, expected.order_id):
        return False
    return expected.person_id in (notice.wearer_id, notice.protected_id)


def milliseconds(value: float | None) -> str:
    """A figure for people."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"
