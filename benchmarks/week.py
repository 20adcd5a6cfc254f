"""A simulated week of 3,000 devices: what reaches an operator, and whether anything true is lost.

The engine and the alarm book as they run in the watch, fed with fixes and events of
`benchmarks.week_world` in the order and at the time of arrival; operators who answer, handle and
close; receivers that acknowledge. *Raw events* are what comes to the alarm book: every change that
the geofence tells of an order (in or out of a zone or ring, silent or heard) and every event of a
device. *Naive events* are what a product would tell that believes single points: each crossing of a
zone or radius, each link lost for five minutes, each event of a device; they are for comparison
with the published 0.2 to 6.7 alerts per device-day (domain 2.7).

Fifteen operators are at work for 3,000 devices, two thirds of what Cometa's 165 staff for 4,500
give (domain 2.5), a fifth of them at a time. `operator_alarms_per_10min` is per operator, paging
again included; `alarms_per_device_day` does not depend on how many they are.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from alerting.book.book import Book
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    Audience,
    BreachRecord,
    CaseDevice,
    CaseOwner,
    Change,
    DefineCase,
    DefinePlan,
    DeviceCommand,
    DeviceEvent,
    EventKind,
    IncidentChange,
    IncidentRecord,
    Input,
    Notice,
    OrderTaken,
    Purpose,
    Role,
    SignalKind,
    Staffing,
)
from benchmarks.common import parser, report
from benchmarks.week_room import Room
from benchmarks.week_world import (
    BUFFER_M,
    CURFEW_H,
    DAY_MS,
    OUTAGE_SHARE,
    RADIUS_M,
    SLOT_MS,
    SLOTS,
    START_MS,
    WARNING_M,
    ZONE_M,
    Devices,
    Floats,
    Moment,
    People,
    TrueEvent,
    live_day,
    plan_trips,
    populate,
    truths_of_day,
)
from geofence.engine import Engine, FixBatch
from geofence.orders import CircleShape, Order, Zone
from geofence.orders import Role as EngineRole
from geofence.schedule import Schedule, Window
from geofence.verdicts import Finding, OrderKind, Verdict
from geofence.warming import warm_up

PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "week",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 60,
         "classes": ["panic", "proximity", "tamper"], "fallback": ["meldkamer-sms"]},
        {"audience": "protected-person", "targets": ["protected-device"], "needs": "delivered",
         "classes": ["panic", "proximity", "approach"]},
        {"audience": "monitoring-centre", "targets": ["room"], "deadline_s": 90},
        {"audience": "shift-lead", "targets": ["lead"], "on": "missed"},
        {"audience": "probation", "targets": ["reclassering"], "needs": "delivered",
         "classes": ["area-breach", "order-breach"], "deadline_s": 600},
    ],
    "acknowledgement_expires_s": 900,
}  # fmt: skip
LATE_S: Final = 300
"""An alarm counts for a true event when it was open at some time of it or so long after."""
NAIVE_SILENCE_MS: Final = 300_000


@dataclass(slots=True)
class Alarm:
    """One alarm as the history tells it, open from `raised_ms` to `closed_ms`."""

    alarm_class: str
    persons: tuple[str | None, ...]
    raised_ms: int
    closed_ms: int


class Naive:
    """What a product would tell that believes every point and tells every event."""

    def __init__(self, people: People) -> None:
        count = len(people)
        self._people = people
        self._inside = np.zeros(count, dtype=np.bool_)
        self._near = np.zeros(count, dtype=np.bool_)
        self._x, self._y = people.home[:, 0].copy(), people.home[:, 1].copy()
        self._last_ms = np.full(count, START_MS, dtype=np.int64)
        self.events: Counter[str] = Counter()

    def fixes(self, person: Any, x: Floats, y: Floats, now_ms: int) -> None:
        """Positions arrived: each crossing is an event, entering and leaving."""
        people = self._people
        self._x[person], self._y[person] = x, y
        self._last_ms[person] = now_ms
        inside = np.hypot(x - people.zone[person, 0], y - people.zone[person, 1]) < ZONE_M
        inside &= people.wearer[person]
        self.events["zone"] += int((inside != self._inside[person]).sum())
        self._inside[person] = inside
        one = person[people.pair[person] >= 0]
        other = people.pair[one]
        wearer = np.unique(np.where(people.wearer[one], one, other))
        protected = people.pair[wearer]
        at = people.places(protected, self._x[protected], self._y[protected])
        px, py = people.metres(wearer, *at)
        near = np.hypot(px - self._x[wearer], py - self._y[wearer]) < RADIUS_M
        self.events["proximity"] += int((near != self._near[wearer]).sum())
        self._near[wearer] = near

    def silence(self, now_ms: int) -> None:
        """A device that was not heard for five minutes: lost, and found again."""
        lost = now_ms - self._last_ms == NAIVE_SILENCE_MS
        self.events["communication"] += 2 * int(lost.sum())


class Week:
    """The run."""

    def __init__(self, devices: int, operators: int, seed: int, days: int) -> None:
        self.people = populate(devices, seed)
        self.days = days
        self.rng = np.random.default_rng((seed, 4))
        self.devices = Devices.start(self.people, seed)
        self.engine, self.book = Engine(), Book()
        self.room = Room(np.random.default_rng((seed, 5)))
        self.naive = Naive(self.people)
        self.entries = itertools.count()
        self.alarms: dict[str, Alarm] = {}
        self.raw: Counter[str] = Counter()
        self.seen: dict[str, IncidentRecord] = {}
        self.incidents = 0
        self.historic: list[tuple[int, str]] = []
        self.delays: dict[str, list[tuple[int, int]]] = {}
        """When a device that was out of contact measured the first of what it kept, and told it."""
        self.mass_ms: list[tuple[int, int]] = []
        self.classes: Counter[str] = Counter()
        self.pages: list[int] = []
        self._paged: set[tuple[str, int]] = set()
        self._waiting: list[Moment] = []
        self._meant: set[tuple[str, int, int]] = set()
        self._device_truths: list[TrueEvent] = []
        """What devices reported truly, at the time at which it arrived."""
        self._define(operators)

    # --- the cases --------------------------------------------------------------------------------

    def _define(self, operators: int) -> None:
        people = self.people
        inputs: list[Input] = [
            Staffing(operators=operators, by="roster"),
            DefinePlan(plan=msgspec.json.encode(PLAN)),
        ]
        for one in range(len(people)):
            role = EngineRole.WEARER if people.wearer[one] else EngineRole.PROTECTED
            assert self.engine.put_person(people.name(one), role) == one
        for one in np.flatnonzero(people.wearer).tolist():
            inputs += self._case(one)
        for button in range(people.buttons):
            inputs.append(
                DefineCase(
                    case_id=f"button{button}",
                    protected_ids=(f"b{button}",),
                    devices=(CaseDevice(device_id=f"d-b{button}", person_id=f"b{button}"),),
                    plan_id="week",
                )
            )
        self._step(START_MS, inputs)

    def _case(self, one: int) -> list[Input]:
        people, engine = self.people, self.engine
        name, other = people.name(one), int(people.pair[one])
        plane = people.planes[one]
        members = [one, *([other] if other >= 0 else [])]
        risk = 1 if self.rng.random() < 0.1 else 2
        common: dict[str, Any] = {
            "wearer_id": name,
            "risk_class": risk,
            "title": "38v",
            "valid_from_ms": START_MS - DAY_MS,
            "valid_to_ms": START_MS + 300 * DAY_MS,
            "signed_at_ms": START_MS - DAY_MS,
            "served_at_ms": START_MS - DAY_MS,
            "immediately_enforceable": True,
            "plan_id": "week",
        }
        lat, lon = plane.e7(*people.zone[one])
        circle = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=ZONE_M)
        engine.put_zone(Zone(id=f"z{one}", circle=circle), START_MS)
        orders = [
            Order(id=f"a{one}", kind=OrderKind.AREA_BAN, zone_ids=(f"z{one}",), buffer_m=BUFFER_M,
                  **common)
        ]  # fmt: skip
        if other >= 0:
            orders.append(
                Order(id=f"c{one}", kind=OrderKind.CONTACT_BAN,
                      protected_ids=(people.name(other),), radius_m=RADIUS_M,
                      warning_m=WARNING_M, time_to_contact_s=120, **common)
            )  # fmt: skip
        if people.beacon[one]:
            lat, lon = plane.e7(*people.home[one])
            home = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=100)
            engine.put_zone(Zone(id=f"h{one}", circle=home), START_MS)
            start, end = (f"{hour:02}:00" for hour in CURFEW_H)
            weekly = tuple(Window(day, start, end) for day in range(7))
            orders.append(
                Order(id=f"l{one}", kind=OrderKind.LOCATION_ORDER, zone_ids=(f"h{one}",),
                      buffer_m=100, schedule=Schedule("Europe/Amsterdam", weekly), **common)
            )  # fmt: skip
        inputs: list[Input] = [
            DefineCase(
                case_id=f"case{one}",
                wearer_id=name,
                protected_ids=tuple(people.name(p) for p in members[1:]),
                devices=tuple(
                    CaseDevice(device_id=f"d-{people.name(p)}", person_id=people.name(p))
                    for p in members
                ),
                plan_id="week",
                owners=(CaseOwner(name="officer", target="owners"),),
            )
        ]
        for order in orders:
            self.findings += engine.put_order(order, START_MS)
            inputs.append(OrderTaken(order=order))
        return inputs

    findings: list[Finding] = []  # noqa: RUF012 - those of the definitions: none, nobody has a position

    # --- a day ------------------------------------------------------------------------------------

    def run(self, progress: bool = True) -> list[TrueEvent]:
        """Live the days; answers what truly happened."""
        truths: list[TrueEvent] = []
        trips = plan_trips(self.people, self.days, int(self.rng.integers(2**31)))
        moments = self._moments()
        outage_day = min(2, self.days - 1)
        for day in range(self.days):
            lived = live_day(self.people, day, trips)
            truths += truths_of_day(self.people, day, lived)
            for slot in range(SLOTS):
                now_ms = START_MS + day * DAY_MS + slot * SLOT_MS
                if day == outage_day and slot == SLOTS // 2:
                    self._outage(now_ms)
                said = self.devices.drain(now_ms)
                while moments and moments[0].at_ms <= now_ms:
                    said.append(moments.pop(0))
                self.devices.lose_links(now_ms)
                self._slot(now_ms, slot, lived, said)
            if progress:
                shown = ", ".join(f"{k} {n}" for k, n in sorted(self.classes.items()))
                print(f"day {day + 1}: {shown}", flush=True)
        self._step(START_MS + self.days * DAY_MS, [])
        return truths + self._device_truths

    def _outage(self, now_ms: int) -> None:
        """A provider fails for 40 minutes."""
        hit = self.rng.random(len(self.people)) < OUTAGE_SHARE
        until_ms = now_ms + 2_400_000 + self.rng.integers(0, 300_000, len(self.people))
        down = np.where(hit, np.maximum(self.devices.down_until_ms, until_ms), 0)
        self.devices.down_until_ms = np.maximum(self.devices.down_until_ms, down)

    def _moments(self) -> list[Moment]:
        """Presses, cut straps and false trouble of the devices, in order; notes what is meant."""
        people, rng = self.people, self.rng
        end_ms = START_MS + self.days * DAY_MS - 1_800_000
        wearers = np.flatnonzero(people.wearer)
        victims = np.flatnonzero(~people.wearer)
        found: list[Moment] = []

        def at() -> int:
            return int(rng.integers(START_MS + 600_000, end_ms)) // SLOT_MS * SLOT_MS

        def some(of: Any, per_week: float) -> list[int]:
            count = rng.poisson(len(of) * per_week * self.days / 7)
            return [int(one) for one in rng.choice(of, count)]

        for one in some(victims, 0.03):
            found.append(Moment(at(), one, "panic"))
            self._meant.add(("panic", found[-1].at_ms, one))
        pressed = some(np.arange(people.buttons), 0.05)
        found += [Moment(at(), -1 - button, "panic") for button in pressed]
        for one in some(wearers, 0.005):  # cut: 101 of 4,000 in 2018, and more often than that
            found.append(Moment(at(), one, "strap-cut"))
            self._meant.add(("strap-cut", found[-1].at_ms, one))
        for one in some(wearers, 0.02):  # a strap that cries wolf for some seconds
            when = at()
            found += [Moment(when, one, "strap-cut"), Moment(when + 20_000, one, "strap-restored")]
        for one in some(wearers, 0.5):
            when, lasts = at(), int(rng.exponential(90)) // 10 * 10_000
            kind = "jamming" if rng.random() < 0.3 else "shielding"
            found.append(Moment(when, one, kind))
            found.append(Moment(when + max(10_000, lasts), one, f"{kind}-ended"))
        for one in some(victims, 0.3):
            found.append(Moment(at(), one, "self-test"))
        return sorted(found)

    def _slot(self, now_ms: int, slot: int, lived: Any, said: Sequence[Moment]) -> None:
        devices, people = self.devices, self.people
        linked = devices.down_until_ms <= now_ms
        alive = devices.alive()
        due = (people.phase == slot % 6) | (devices.burst_until_ms > now_ms)
        which = np.flatnonzero(due & alive)
        minute, share = slot // 6, (slot % 6) / 6
        fixes = devices.sense(which, now_ms, lived, minute, share)
        person = fixes["person"].astype(np.int64)
        measured = [fixes[name] for name in _COLUMNS]
        columns = np.column_stack([person, np.full(len(person), now_ms), *measured])
        arrived = linked[person]
        rows = [columns[arrived]]
        for index in np.flatnonzero(~arrived).tolist():
            devices.stored.setdefault(int(person[index]), []).append(tuple(columns[index]))
        for one in [p for p in devices.stored if linked[p] and alive[p]]:
            kept = devices.stored.pop(one)
            rows.insert(0, np.array(kept))
            self.delays.setdefault(people.name(one), []).append((int(kept[0][1]), now_ms))
        batch = np.concatenate(rows)
        self.naive.fixes(person[arrived], fixes["x"][arrived], fixes["y"][arrived], now_ms)
        self.naive.silence(now_ms)
        findings = list(self.engine.advance(now_ms))
        if len(batch):
            findings += self.engine.observe(self._batch(batch), now_ms)
        inputs: list[Input] = [self._event(m, now_ms) for m in self._arriving(said, linked)]
        inputs += findings
        self.raw.update(_kind(one) for one in inputs)
        inputs += self.room.due(now_ms)
        due_ms = self.book.next_due_ms()
        if inputs or (due_ms is not None and due_ms <= now_ms):
            self._step(now_ms, inputs)

    def _arriving(self, said: Sequence[Moment], linked: Any) -> list[Moment]:
        """What devices say now, or said while their link was down; in the order it was said."""
        for moment in said:
            if moment.kind not in ("charging", "charging-ended", "self-test"):
                self.naive.events[f"device: {moment.kind}"] += 1
        waiting, self._waiting = [*self._waiting, *said], []
        arriving = []
        for moment in waiting:
            if moment.person < 0 or linked[moment.person]:
                arriving.append(moment)
            else:
                self._waiting.append(moment)
        return arriving

    def _batch(self, rows: Floats) -> FixBatch:
        person = rows[:, 0].astype(np.int64)
        lat, lon = self.people.places(person, rows[:, 2], rows[:, 3])
        count = len(person)
        unknown = np.full(count, 65_535, dtype=np.int32)
        return FixBatch(
            person,
            rows[:, 1].astype(np.int64),
            np.round(lat * 1e7).astype(np.int32),
            np.round(lon * 1e7).astype(np.int32),
            np.round(rows[:, 4] * 10).astype(np.int32),
            unknown,
            unknown,
            rows[:, 5].astype(np.uint8),
        )

    def _event(self, moment: Moment, now_ms: int) -> DeviceEvent:
        if moment.person >= 0 and (moment.kind, moment.at_ms, moment.person) in self._meant:
            alarm_class = "panic" if moment.kind == "panic" else "tamper"
            truth = TrueEvent(moment.kind, moment.person, -1, now_ms, now_ms, (alarm_class,))
            self._device_truths.append(truth)
        if moment.person < 0:
            name, role = f"b{-1 - moment.person}", Role.PROTECTED
        else:
            name = self.people.name(moment.person)
            role = Role.WEARER if self.people.wearer[moment.person] else Role.PROTECTED
        return DeviceEvent(
            device_id=f"d-{name}",
            person_id=name,
            role=role,
            kind=EventKind(moment.kind),
            at_ms=now_ms,
            device_ms=moment.at_ms,
            key=f"{name}/{moment.kind}/{moment.at_ms}",
        )

    # --- the book ---------------------------------------------------------------------------------

    def _step(self, now_ms: int, inputs: Sequence[Input]) -> None:
        key = f"week-{now_ms}-{next(self.entries)}"
        for index, output in enumerate(self.book.step(inputs, now_ms, key)):
            self.room.hear(output, f"{key}-{index}", now_ms)
            match output:
                case AlarmRecord(change=Change.RAISED):
                    self._raised(output)
                case AlarmRecord(change=Change.CLOSED):
                    self.alarms[output.alarm_id].closed_ms = now_ms
                case Notice():
                    self._page(output)
                case IncidentRecord():
                    self.seen[output.incident_id] = output
                    self.incidents += output.change is IncidentChange.OPENED
                case BreachRecord(historic=True):
                    self.historic.append((now_ms, output.wearer_id or ""))
                case DeviceCommand():
                    self._command(output, now_ms)

    def _page(self, notice: Notice) -> None:
        """Count what begins to page operators, as the book does, to hold the two together."""
        pages = notice.purpose in (Purpose.ALERT, Purpose.ESCALATION)
        task = notice.alarm_class in (AlarmClass.PATTERN, AlarmClass.LEGAL, AlarmClass.SYSTEM)
        if not pages or task or notice.audience is not Audience.MONITORING_CENTRE:
            return
        if (notice.alarm_id, notice.round) not in self._paged:
            self._paged.add((notice.alarm_id, notice.round))
            self.pages.append(notice.at_ms)

    def _raised(self, record: AlarmRecord) -> None:
        incident = self.seen.get(record.incident_id)
        self.classes[record.alarm_class] += 1
        wearer = incident.wearer_id if incident is not None else None
        protected = incident.protected_id if incident is not None else None
        persons = (wearer, protected, record.person_id)
        never_ms = START_MS + 1000 * DAY_MS
        alarm = Alarm(record.alarm_class.value, persons, record.at_ms, never_ms)
        self.alarms[record.alarm_id] = alarm
        if record.alarm_class is AlarmClass.SYSTEM and record.reason == SignalKind.MASS_LOSS:
            self.mass_ms.append((record.at_ms, record.at_ms + 1_800_000))

    def _command(self, command: DeviceCommand, now_ms: int) -> None:
        name = command.device_id.removeprefix("d-")
        if name.startswith("b") or not command.duration_s:
            return
        person = int(name[1:])
        if self.devices.down_until_ms[person] <= now_ms:
            until_ms = now_ms + command.duration_s * 1000
            bursts = self.devices.burst_until_ms
            bursts[person] = max(int(bursts[person]), until_ms)


def _kind(one: Input) -> str:
    """What kind of raw event an input of the alarm book is; bursts asked for are none."""
    match one:
        case DeviceEvent():
            return f"device: {one.kind}"
        case Verdict():
            silence = one.freshness is not one.previous_freshness
            return f"{one.order_kind}: {'silence' if silence else 'state'}"
    return ""


_COLUMNS: Final = ("x", "y", "accuracy_m", "mechanism")


# --- what was lost --------------------------------------------------------------------------------


def lost(week: Week, truths: Sequence[TrueEvent]) -> list[TrueEvent]:
    """True events without any alarm of their kind about them."""
    by_person: dict[str, list[Alarm]] = {}
    for alarm in week.alarms.values():
        for name in dict.fromkeys(alarm.persons):
            by_person.setdefault(str(name), []).append(alarm)
    return [truth for truth in truths if not _alarmed(week, truth, by_person)]


def _alarmed(week: Week, truth: TrueEvent, by_person: dict[str, list[Alarm]]) -> bool:
    name = week.people.name(truth.person)
    # Nobody can know it before it is told: of what was kept, when it came.
    told_ms = [
        told_ms
        for person in (truth.person, *([truth.other] if truth.other >= 0 else []))
        for kept_ms, told_ms in week.delays.get(week.people.name(person), ())
        if kept_ms <= truth.to_ms and told_ms >= truth.from_ms
    ]
    until_ms = max([truth.to_ms, *told_ms]) + LATE_S * 1000
    classes = truth.classes
    if truth.kind == "contact" and told_ms:
        # Of a meeting while one of them was out of contact more could not be known than this.
        classes += ("approach",)
    for alarm in by_person.get(name, ()):
        open_then = alarm.raised_ms <= until_ms and alarm.closed_ms >= truth.from_ms
        if alarm.alarm_class in classes and open_then:
            return True
    # Out of contact meanwhile: the breach is found in the fixes that come later.
    return truth.kind in ("entry", "absence", "contact") and any(
        who == name and truth.from_ms <= at_ms <= truth.to_ms + 4 * 3_600_000
        for at_ms, who in week.historic
    )


def main(argv: list[str]) -> int:
    """Live the week and report."""
    made = parser("week", __doc__ or "")
    made.add_argument("--devices", type=int, default=3000)
    made.add_argument("--operators", type=int, default=15)
    made.add_argument("--days", type=int, default=7)
    made.add_argument("--seed", type=int, default=1)
    args = made.parse_args(argv)
    warm_up()
    week = Week(args.devices, args.operators, args.seed, args.days)
    truths = week.run()
    missed = lost(week, truths)
    for truth in missed:
        print(f"lost: {truth}")
    figures = _figures(week, args, truths, missed)
    rows = [
        {"class": name, "alarms": count, "per device-day": count / args.devices / args.days}
        for name, count in sorted(week.classes.items())
    ]
    for what, counts in (("raw", week.raw), ("naive", week.naive.events)):
        rows += [
            {
                "class": f"({what}) {name}",
                "alarms": count,
                "per device-day": count / args.devices / args.days,
            }
            for name, count in sorted(counts.items())
            if name
        ]
    report("week", figures, rows, None, args)
    return 1 if missed else 0


def _figures(
    week: Week, args: Any, truths: Sequence[TrueEvent], missed: Sequence[TrueEvent]
) -> dict[str, float]:
    said = week.book.indicators()
    assert said["annunciations"] == len(week.pages), "the book counts as this benchmark does"
    windows = args.days * 144
    raw = sum(count for kind, count in week.raw.items() if kind)
    naive = sum(week.naive.events.values())
    pages = len(week.pages)
    per_window = np.bincount(
        (np.array(week.pages, dtype=np.int64) - START_MS) // 600_000, minlength=windows
    )
    return {
        "operator_alarms_per_10min": pages / windows / args.operators,
        "operator_alarms_per_10min_max": float(per_window.max()) / args.operators,
        "incidents_per_10min": week.incidents / windows / args.operators,
        "flood_time_pct": 100 * said["flood_ms"] / (args.days * DAY_MS),
        "raw_events": raw,
        "raw_per_device_day": raw / args.devices / args.days,
        "naive_per_device_day": naive / args.devices / args.days,
        "operators": args.operators,
        "operator_alarms": pages,
        "alarms_per_device_day": pages / args.devices / args.days,
        "raw_removed_pct": 100 * (1 - pages / raw),
        "naive_removed_pct": 100 * (1 - pages / naive),
        "true_events": len(truths),
        "true_lost": len(missed),
        "chattering": said["chattering"],
        "answered_urgent_within_30_s_pct": _share(said, "urgent", "within_30_s"),
        "answered_other_within_90_s_pct": _share(said, "other", "within_90_s"),
    }


def _share(said: dict[str, int], group: str, bucket: str) -> float:
    total = sum(n for name, n in said.items() if name.startswith(f"answered_{group}"))
    return 100 * said[f"answered_{group}_{bucket}"] / total if total else float("nan")
