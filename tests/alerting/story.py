"""Stories of the alarm book: seed a case, let something happen, pass time, say who must have heard.

    with Story() as story:
        story.case(wearer="W", protected=["P"], devices={"ankle": "W", "button": "P"}, plan=PLAN)
        story.event("panic", "button")
        story.expect("meldkamer panic alert")
        story.forward(60)
        story.expect("meldkamer-sms panic escalation")

A notice that nobody expected fails the test at the next line of the story. Beside the book a second
one runs that is written out and read back before every step: both must say the same, byte for byte.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec

from alerting.book.auditor import Auditor
from alerting.book.book import Book
from alerting.book.types import (
    Acknowledge,
    AlarmRecord,
    AlarmState,
    Audience,
    CaseDevice,
    CaseOwner,
    CommandRecord,
    Countersign,
    DefineCase,
    DefinePlan,
    DefineRoster,
    DeviceCommand,
    DeviceEvent,
    Dispose,
    Disposition,
    EventKind,
    IncidentRecord,
    IncidentState,
    Input,
    Notice,
    Observation,
    OrderTaken,
    Output,
    Position,
    Receipt,
    ReceiptStatus,
    Rejected,
    Role,
    SignalKind,
    Staffing,
    SystemSignal,
    Verdict,
    VictimPolicy,
)
from geofence.orders import Order
from geofence.verdicts import Freshness, OrderKind, VerdictReason, VerdictState

START_MS = 1_750_000_000_000
"""15 June 2025, 17:06:40 in Amsterdam."""
DAY_MS = 86_400_000


def plan(plan_id: str, *steps: Mapping[str, object], **rest: object) -> bytes:
    """A plan file."""
    return json.dumps({"format": "afstand.plan/1", "id": plan_id, "steps": steps, **rest}).encode()


def verdict(
    state: str = "clear",
    *,
    order: str = "order-1",
    kind: str = "contact-ban",
    wearer: str = "W",
    protected: str | None = "P",
    plan_id: str = "",
    risk: int = 2,
    probability: float = 0.97,
    freshness: str = "fresh",
    reason: str | None = None,
    escalate: bool = True,
    historic: bool = False,
    at_ms: int = START_MS,
    wearer_position: Position | None = None,
    protected_position: Position | None = None,
    **figures: int | None,
) -> Verdict:
    """A verdict of the geofence with readable defaults."""
    reasons = {
        "clear": "cleared-by-evidence",
        "warning": "time-to-contact",
        "possible": "one-fix-beyond-doubt",
        "confirmed": "evidence-confirmed",
        "unknown": "first-position",
    }
    values: dict[str, int | None] = dict.fromkeys(
        (
            "fix_ms", "zone_version", "distance_mm", "accuracy_mm", "speed_mm_s", "closing_mm_s",
            "time_to_contact_ms", "wearer_age_ms", "protected_age_ms",
        )
    )  # fmt: skip
    values.update(figures)
    return Verdict(
        order_id=order,
        order_kind=OrderKind(kind),
        wearer_id=wearer,
        protected_id=protected if kind == "contact-ban" else None,
        plan_id=plan_id,
        risk_class=risk,
        state=VerdictState(state),
        previous=VerdictState.CLEAR,
        freshness=Freshness(freshness),
        previous_freshness=Freshness.FRESH,
        reason=VerdictReason(reason or reasons[state]),
        at_ms=at_ms,
        zone_id=None if kind == "contact-ban" else "zone-1",
        order_version=1,
        probability_1024=round(probability * 1024),
        evidence_1024=0,
        historic=historic,
        escalate=escalate,
        labels=(),
        wearer_position=wearer_position,
        protected_position=protected_position,
        **values,  # type: ignore[arg-type]
    )


def order(order_id: str = "order-1", **how: Any) -> Order:
    """An order with readable defaults: signed, served and valid from the start of the story."""
    kind = OrderKind(how.pop("kind", "contact-ban"))
    ban = kind is OrderKind.CONTACT_BAN
    days = how.pop("days", 90)
    values: dict[str, Any] = {
        "wearer_id": "W",
        "protected_ids": ("P",) if ban else (),
        "zone_ids": () if ban else ("zone-1",),
        "radius_m": 1000 if ban else 0,
        "title": "509hh Sv gedragsaanwijzing",
        "valid_from_ms": START_MS,
        "signed_at_ms": START_MS,
        "served_at_ms": START_MS,
        "immediately_enforceable": True,
        "plan_id": "default",
    }
    if days is not None:
        values["valid_to_ms"] = values["valid_from_ms"] + days * DAY_MS
    return Order(id=order_id, kind=kind, **(values | how))


class Story:
    """A book in virtual time, with its notices waiting to be expected."""

    def __init__(self, partition: str = "p0", *, operators: int | None = None) -> None:
        self.book = Book()
        self.now_ms = START_MS
        self.outputs: list[Output] = []
        self.last: list[Output] = []
        self.auditor = Auditor(settle_ms=10**15)  # few stories tell what became of each notice
        self._partition = partition
        self._entries = itertools.count()
        self._presses = itertools.count()
        self.unexpected: list[tuple[str, Notice]] = []
        """Key and notice of what nobody has expected yet."""
        self._keys: list[tuple[str, Notice]] = []
        self._owners: dict[str, str] = {}
        self._roles: dict[str, Role] = {}
        if operators is not None:
            self._step([Staffing(operators=operators, by="shift lead")])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.nothing_more()

    # --- what happens ---------------------------------------------------------------------------

    def take(self, *inputs: Input) -> list[Output]:
        """One journal entry with these inputs. Everything said before must have been expected."""
        self.nothing_more()
        return self._step(inputs)

    def _step(self, inputs: Sequence[Input]) -> list[Output]:
        key = f"{self._partition}-{self.now_ms}-{next(self._entries)}"
        twin = Book.load(self.book.dump())
        outputs = self.book.step(inputs, self.now_ms, key)
        encode = msgspec.msgpack.encode
        assert encode(twin.step(inputs, self.now_ms, key)) == encode(outputs)
        assert twin.dump() == self.book.dump()
        for index, output in enumerate(outputs):
            if isinstance(output, Notice):
                self.unexpected.append((f"{key}-{index}", output))
        self.outputs += outputs
        self.last = outputs
        assert self.auditor.missing(self.now_ms) == [], "the auditor misses something"
        self.auditor.take(outputs, self.now_ms)
        assert self.auditor.missing(self.now_ms) == [], "the auditor misses something"
        return outputs

    def forward(self, seconds: float, *, stop_at_notice: bool = False) -> None:
        """Let time pass, firing every timer at its time."""
        self.nothing_more()
        until_ms = self.now_ms + round(seconds * 1000)
        while (due_ms := self.book.next_due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self._step(())
            if stop_at_notice and self.unexpected:
                return
        self.now_ms = until_ms

    def hush(self) -> None:
        """What was said so far is the business of another story."""
        self.unexpected.clear()

    def let_pass(self, seconds: float) -> None:
        """Let time pass where what is said meanwhile is the business of another story."""
        until_ms = self.now_ms + round(seconds * 1000)
        self.hush()
        while (due_ms := self.book.next_due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self._step(())
            self.hush()
        self.now_ms = until_ms

    def plan(self, plan_id: str, *steps: Mapping[str, object], **rest: object) -> None:
        outputs = self.take(DefinePlan(plan=plan(plan_id, *steps, **rest)))
        assert not [o for o in outputs if isinstance(o, Rejected)], outputs

    def roster(self, roster_id: str, *shifts: Mapping[str, object], **rest: object) -> None:
        """A duty roster in Dutch time."""
        content = {"format": "afstand.roster/1", "id": roster_id, "timezone": "Europe/Amsterdam",
                   "shifts": shifts, **rest}  # fmt: skip
        outputs = self.take(DefineRoster(roster=json.dumps(content).encode()))
        assert not [o for o in outputs if isinstance(o, Rejected)], outputs

    def until(self, local: str) -> None:
        """Let time pass up to an instant, as in `2026-03-29T03:00+02:00`."""
        self.forward(datetime.fromisoformat(local).timestamp() - self.now_ms / 1000)

    def case(
        self,
        *,
        case_id: str = "case-1",
        wearer: str | None = "W",
        protected: Iterable[str] = ("P",),
        devices: Mapping[str, str] | None = None,
        plan_id: str | None = None,
        policy: str = "tell",
        owners: Mapping[str, str] | None = None,
        review_weeks: int = 0,
        **rest: Any,
    ) -> None:
        """Define a case. Devices by default: `ankle` of W and `button` of P.

        `owners`: side -> target.
        """
        protected = tuple(protected)
        if devices is None:
            devices = {"ankle": "W", "button": "P"}
        for person in protected:
            self._roles[person] = Role.PROTECTED
        if wearer:
            self._roles[wearer] = Role.WEARER
        self._owners.update(devices)
        outputs = self.take(
            DefineCase(
                case_id=case_id,
                wearer_id=wearer,
                protected_ids=protected,
                devices=tuple(CaseDevice(device_id=d, person_id=p) for d, p in devices.items()),
                plan_id=plan_id,
                victim_policy=VictimPolicy(policy),
                owners=tuple(
                    CaseOwner(name=f"owner of the {side}'s side", target=target, side=Role(side))
                    for side, target in (owners or {}).items()
                ),
                review_weeks=review_weeks,
                **rest,
            )
        )
        assert not [o for o in outputs if isinstance(o, Rejected)], outputs

    def event(
        self,
        kind: str,
        device: str,
        *,
        authenticated: bool = True,
        key: str | None = None,
        position: Position | None = None,
        value: int = 0,
    ) -> list[Output]:
        """A device says something. Devices that no case names are unknown."""
        person = self._owners.get(device)
        return self.take(
            DeviceEvent(
                device_id=device,
                person_id=person,
                role=self._roles.get(person or "", Role.UNKNOWN),
                kind=EventKind(kind),
                at_ms=self.now_ms,
                device_ms=self.now_ms,
                authenticated=authenticated,
                position=position,
                key=key or f"{device}/1/{next(self._presses)}",
                value=value,
            )
        )

    def order(self, order_id: str = "order-1", **how: Any) -> list[Output]:
        """The engine takes an order; by default a 509hh contact ban of W and P for 90 days."""
        return self.take(OrderTaken(order=order(order_id, **how)))

    def verdict(self, state: str = "clear", **how: Any) -> list[Output]:
        return self.take(verdict(state, at_ms=self.now_ms, **how))

    def signal(self, kind: str, *, ended: bool = False, detail: str = "") -> list[Output]:
        return self.take(
            SystemSignal(kind=SignalKind(kind), at_ms=self.now_ms, ended=ended, detail=detail)
        )

    def receipt(self, wanted: str, status: str, *, by: str = "") -> list[Output]:
        """The newest notice that reads so gets a receipt."""
        key, notice = self._find(wanted)
        return self.take(
            Receipt(
                key=key,
                status=ReceiptStatus(status),
                target=notice.target,
                by=by,
                at_ms=self.now_ms,
            )
        )

    def acknowledge(self, by: str = "operator-1", alarm_id: str | None = None) -> list[Output]:
        return self.take(Acknowledge(incident_id=self.incident(), by=by, alarm_id=alarm_id))

    def dispose(
        self,
        disposition: str = "handled",
        *,
        by: str = "operator-1",
        despite_active: bool = False,
        lane: str = "",
    ) -> None:
        """Close the one open incident (of a lane), countersigned where that is asked for."""
        self.nothing_more()
        (incident_id,) = self.open_incidents(lane)
        said = Dispose(
            incident_id=incident_id,
            by=by,
            disposition=Disposition(disposition),
            note="seen on the map, call 12",
            despite_active=despite_active,
        )
        self._step([said])
        if self.incidents()[incident_id].change == "closing-proposed":
            self._step([Countersign(incident_id=incident_id, by="operator-2")])

    def acknowledge_one(self, incident_id: str, by: str = "operator-1") -> list[Output]:
        """Take this incident in hand."""
        return self.take(Acknowledge(incident_id=incident_id, by=by))

    def acknowledge_all(self, by: str = "operator-1") -> None:
        """Take every open incident in hand."""
        for incident_id in self.open_incidents():
            self.take(Acknowledge(incident_id=incident_id, by=by))

    def dispose_all(self) -> None:
        """Close every open incident, whatever is said about it."""
        self.nothing_more()
        for incident_id in self.open_incidents():
            said = Dispose(
                incident_id=incident_id,
                by="operator-1",
                disposition=Disposition.HANDLED,
                note="end of the story",
                despite_active=True,
            )
            self._step([said])
            if self.incidents()[incident_id].change == "closing-proposed":
                self._step([Countersign(incident_id=incident_id, by="operator-2")])
            self.unexpected.clear()

    # --- what must have been heard --------------------------------------------------------------

    @staticmethod
    def reads(notice: Notice) -> str:
        """`target class purpose`, the target with its device where it is one."""
        target = notice.target
        if notice.subject_device_id is not None:
            target = f"{target}:{notice.subject_device_id}"
        return f"{target} {notice.alarm_class} {notice.purpose}"

    def expect(self, *wanted: str, at_s: float | None = None) -> list[Notice]:
        """Exactly these notices have gone out since the last expectation, in any order."""
        said = [self.reads(notice) for _, notice in self.unexpected]
        assert sorted(said) == sorted(wanted), f"said {said}, expected {list(wanted)}"
        if at_s is not None:
            times = [n.at_ms - START_MS for _, n in self.unexpected]
            assert times == [round(at_s * 1000)] * len(times)
        taken, self.unexpected = self.unexpected, []
        self._keys += taken
        by_text = sorted(range(len(taken)), key=lambda i: (wanted.index(said[i]), i))
        return [taken[i][1] for i in by_text]

    def nothing_more(self) -> None:
        """Nobody heard anything that was not expected."""
        said = [(self.reads(n), (n.at_ms - START_MS) / 1000) for _, n in self.unexpected]
        assert not said, f"nobody expected {said}"

    def key_of(self, notice: Notice) -> str:
        """The idempotency key of a notice that was expected."""
        return next(key for key, said in self._keys if said is notice)

    def _find(self, wanted: str) -> tuple[str, Notice]:
        for key, notice in reversed(self._keys):
            if self.reads(notice) == wanted:
                return key, notice
        raise AssertionError(f"no notice {wanted!r} in {[self.reads(n) for _, n in self._keys]}")

    # --- what the history says ------------------------------------------------------------------

    def incidents(self) -> dict[str, IncidentRecord]:
        """The last record of every incident."""
        return {o.incident_id: o for o in self.outputs if isinstance(o, IncidentRecord)}

    def open_incidents(self, lane: str = "") -> list[str]:
        """Those whose subject begins with `lane` (`pair`, `task`)."""
        return [
            i
            for i, r in self.incidents().items()
            if r.state is IncidentState.OPEN and r.subject.startswith(lane)
        ]

    def incident(self) -> str:
        """The one incident that is open."""
        (one,) = self.open_incidents()
        return one

    def alarms(self) -> dict[str, AlarmRecord]:
        """The last record of every alarm."""
        return {o.alarm_id: o for o in self.outputs if isinstance(o, AlarmRecord)}

    def alarm(self, alarm_class: str) -> AlarmRecord:
        """The newest alarm of a class."""
        return [a for a in self.alarms().values() if a.alarm_class == alarm_class][-1]

    def state(self, alarm_class: str) -> AlarmState:
        return self.alarm(alarm_class).state

    def changes(self, alarm_class: str) -> list[str]:
        """Every change of alarms of this class, in order."""
        return [
            str(o.change)
            for o in self.outputs
            if isinstance(o, AlarmRecord) and o.alarm_class == alarm_class
        ]

    def commands(self) -> list[DeviceCommand]:
        return [o for o in self.outputs if isinstance(o, DeviceCommand)]

    def command_records(self) -> list[CommandRecord]:
        return [o for o in self.outputs if isinstance(o, CommandRecord)]

    def observations(self) -> list[Observation]:
        return [o for o in self.outputs if isinstance(o, Observation)]

    def rejections(self) -> list[Rejected]:
        return [o for o in self.outputs if isinstance(o, Rejected)]

    def notices_to(self, audience: str) -> list[Notice]:
        """Every notice to an audience, expected or not."""
        return [
            o for o in self.outputs if isinstance(o, Notice) and o.audience is Audience(audience)
        ]
