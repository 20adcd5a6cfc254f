"""Rehearsing escalation plans: the alarm book itself, in virtual time, told that nobody answers.

Nothing here knows how a plan runs; the book that runs in the watch runs here, over one imagined
case, for every class of alarm and every way that people and channels may fail. What it says is the
timetable; what the timetable lacks is a problem.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from alerting.book.book import Book
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.plans import BUILT_IN_PLANS, HANDLERS, Plan
from alerting.book.telling import NOBODY
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    Audience,
    CaseDevice,
    CaseOwner,
    Change,
    DefineCase,
    DeviceEvent,
    EventKind,
    Input,
    Need,
    Notice,
    Output,
    Priority,
    RaiseByHand,
    Receipt,
    ReceiptStatus,
    Role,
    Verdict,
    VictimPolicy,
)
from geofence.verdicts import Freshness, OrderKind, VerdictReason, VerdictState

WEARER, PROTECTED = "wearer", "protected"
ANKLE, BUTTON = "ankle-monitor", "victim-device"
HORIZON_S: Final = {Priority.CRITICAL: 1800, Priority.HIGH: 3600}
"""How far a rehearsal goes; a day for what is less urgent."""
_DAY_S: Final = 86_400


class Path(StrEnum):
    """What goes wrong."""

    NOBODY_ANSWERS = "nobody answers"
    NOTHING_ARRIVES = "nothing arrives"
    ACKNOWLEDGED_AND_LEFT = "taken in hand and left"


class Line(NamedTuple):
    """One message of a timetable."""

    after_ms: int
    target: str
    audience: Audience
    purpose: str
    plan_id: str
    step: int
    needs: Need
    device_id: str | None
    round: int
    """How often the plan had begun."""

    def __str__(self) -> str:
        where = f"{self.target}:{self.device_id}" if self.device_id else self.target
        step = f"{self.plan_id}, step {self.step}" if self.step >= 0 else "-"
        return f"{span(self.after_ms):>9}  {where} ({self.audience}) {self.purpose} [{step}]"


class Rehearsal(NamedTuple):
    """One plan, one class, one way to go wrong: who is told when, and what is wrong with that."""

    plan_id: str
    alarm_class: AlarmClass
    path: Path
    policy: VictimPolicy
    at_ms: int
    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def span(ms: int) -> str:
    """A time after the alarm as people say it."""
    seconds = ms // 1000
    if seconds < 120:
        return f"+{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"+{hours} h {minutes:02} m"
    return f"+{minutes} m {seconds:02} s"


# --- what happens ---------------------------------------------------------------------------------


def _verdict(kind: OrderKind, state: VerdictState, plan_id: str, at_ms: int) -> Verdict:
    stale = state is VerdictState.UNKNOWN
    return Verdict(
        order_id="order",
        order_kind=kind,
        wearer_id=WEARER,
        protected_id=PROTECTED if kind is OrderKind.CONTACT_BAN else None,
        plan_id=plan_id,
        risk_class=2,
        state=state,
        previous=VerdictState.CLEAR,
        freshness=Freshness.WEARER_STALE if stale else Freshness.FRESH,
        previous_freshness=Freshness.FRESH,
        reason=VerdictReason.WEARER_SILENT if stale else VerdictReason.EVIDENCE_CONFIRMED,
        at_ms=at_ms,
        fix_ms=at_ms,
        zone_id=None,
        zone_version=None,
        order_version=1,
        distance_mm=None,
        accuracy_mm=None,
        probability_1024=1000,
        evidence_1024=0,
        speed_mm_s=None,
        closing_mm_s=None,
        time_to_contact_ms=None,
        wearer_age_ms=None,
        protected_age_ms=None,
        historic=False,
        escalate=True,
        labels=(),
        wearer_position=None,
        protected_position=None,
    )


def _event(kind: EventKind, device_id: str, role: Role, at_ms: int) -> DeviceEvent:
    person_id = WEARER if role is Role.WEARER else PROTECTED
    return DeviceEvent(
        device_id=device_id,
        person_id=person_id,
        role=role,
        kind=kind,
        at_ms=at_ms,
        device_ms=at_ms,
        key=f"{device_id}/1/1",
    )


def _by_hand(alarm_class: AlarmClass) -> RaiseByHand:
    return RaiseByHand(
        alarm_class=alarm_class,
        by="rehearsal",
        reason="rehearsal",
        wearer_id=WEARER,
        protected_id=PROTECTED,
    )


_BAN, _AREA, _PLACE = OrderKind.CONTACT_BAN, OrderKind.AREA_BAN, OrderKind.LOCATION_ORDER
_CONFIRMED, _WARNING = VerdictState.CONFIRMED, VerdictState.WARNING
_HAPPENS: Final[dict[AlarmClass, Callable[[str, int], Input]]] = {
    AlarmClass.PANIC: lambda _, at: _event(EventKind.PANIC, BUTTON, Role.PROTECTED, at),
    AlarmClass.PROXIMITY: lambda plan, at: _verdict(_BAN, _CONFIRMED, plan, at),
    AlarmClass.TAMPER: lambda _, at: _event(EventKind.STRAP_CUT, ANKLE, Role.WEARER, at),
    AlarmClass.AREA_BREACH: lambda plan, at: _verdict(_AREA, _CONFIRMED, plan, at),
    AlarmClass.APPROACH: lambda plan, at: _verdict(_BAN, _WARNING, plan, at),
    AlarmClass.PAIR_BLIND: lambda plan, at: _verdict(_BAN, VerdictState.UNKNOWN, plan, at),
    AlarmClass.ORDER_BREACH: lambda plan, at: _verdict(_PLACE, _CONFIRMED, plan, at),
    AlarmClass.DEVICE_DYING: lambda _, at: _event(
        EventKind.BATTERY_CRITICAL, ANKLE, Role.WEARER, at
    ),
    AlarmClass.LOCATION_DOUBT: lambda _, at: _event(EventKind.JAMMING, ANKLE, Role.WEARER, at),
    AlarmClass.PATTERN: lambda _, __: _by_hand(AlarmClass.PATTERN),
    AlarmClass.LEGAL: lambda _, __: _by_hand(AlarmClass.LEGAL),
    AlarmClass.SYSTEM: lambda _, __: _by_hand(AlarmClass.SYSTEM),
}


# --- one rehearsal --------------------------------------------------------------------------------


class _Stage:
    """A book with one case, and what came out of it."""

    def __init__(
        self,
        files: Sequence[Input],
        plan_id: str | None,
        policy: VictimPolicy,
        path: Path,
        start_ms: int,
    ) -> None:
        self.book = Book()
        self.start_ms = self.now_ms = start_ms
        self.path = path
        self.outputs: list[Output] = []
        self._entries = itertools.count()
        case = DefineCase(
            case_id="case",
            wearer_id=WEARER,
            protected_ids=(PROTECTED,),
            devices=(
                CaseDevice(device_id=ANKLE, person_id=WEARER),
                CaseDevice(device_id=BUTTON, person_id=PROTECTED),
            ),
            plan_id=plan_id,
            victim_policy=policy,
            owners=(CaseOwner(name="owner", target="owner-of-the-case"),),
        )
        self.step([*files, case])
        self.outputs.clear()

    def step(self, inputs: Sequence[Input]) -> None:
        waiting: list[Input] = list(inputs)
        while True:
            key = f"rehearsal-{self.now_ms}-{next(self._entries)}"
            said = self.book.step(waiting, self.now_ms, key)
            self.outputs += said
            waiting = [
                receipt
                for index, output in enumerate(said)
                if isinstance(output, Notice)
                for receipt in self._receipts(f"{key}-{index}", output)
            ]
            if not waiting:
                return

    def _receipts(self, key: str, notice: Notice) -> Iterator[Receipt]:
        status = ReceiptStatus.DELIVERED
        if self.path is Path.NOTHING_ARRIVES:
            status = ReceiptStatus.FAILED
        elif self.path is Path.ACKNOWLEDGED_AND_LEFT and notice.needs is Need.ACKNOWLEDGED:
            status = ReceiptStatus.ACKNOWLEDGED
        yield Receipt(key=key, status=status, target=notice.target, at_ms=self.now_ms)

    def run(self, until_ms: int) -> None:
        while (due_ms := self.book.next_due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self.step(())


def rehearse(
    files: Sequence[Input],
    plan_id: str | None,
    alarm_class: AlarmClass,
    path: Path,
    policy: VictimPolicy,
    start_ms: int,
) -> Rehearsal:
    """Let one alarm happen and see who is told when."""
    stage = _Stage(files, plan_id, policy, path, start_ms)
    stage.step([_HAPPENS[alarm_class](plan_id or "", start_ms)])
    rule = ALARM_BOOK[alarm_class]
    horizon_s = max(HORIZON_S.get(rule.priority, _DAY_S), 2 * rule.re_alarm_s)
    stage.run(start_ms + horizon_s * 1000)
    notices = [n for n in stage.outputs if isinstance(n, Notice) and n.alarm_class is alarm_class]
    lines = tuple(
        Line(
            n.at_ms - start_ms,
            n.target,
            n.audience,
            n.purpose.value,
            n.plan_id,
            n.step,
            n.needs,
            n.subject_device_id,
            n.round,
        )
        for n in notices
    )
    return Rehearsal(
        plan_id or "default",
        alarm_class,
        path,
        policy,
        start_ms,
        lines,
        tuple(_problems(alarm_class, path, lines, horizon_s)),
        tuple(_warnings(stage.outputs)),
    )


def _problems(
    alarm_class: AlarmClass, path: Path, lines: Sequence[Line], horizon_s: int
) -> Iterator[str]:
    """What a timetable lacks."""
    rule = ALARM_BOOK[alarm_class]
    if not lines:
        yield "nobody is told"
        return
    critical = rule.priority is Priority.CRITICAL
    asked = [
        line.after_ms
        for line in lines
        if line.needs is Need.ACKNOWLEDGED
        and (line.audience in HANDLERS or (rule.task and line.audience is Audience.CASE_OWNER))
    ]
    if critical and (not asked or asked[0] > rule.respond_s * 1000):
        yield f"nobody is asked to answer within {rule.respond_s} s"
    if asked and path is not Path.ACKNOWLEDGED_AND_LEFT:
        pauses = [b - a for a, b in itertools.pairwise([*asked, horizon_s * 1000])]
        longest_s = max(pauses) // 1000
        allowed_s = rule.re_alarm_s + 300
        if critical and longest_s > allowed_s:
            yield f"nobody is asked for {longest_s} s, while nobody has answered"
    if critical and path is Path.ACKNOWLEDGED_AND_LEFT and len(set(asked)) < 2:
        yield f"taken in hand and left, it pages nobody again within {horizon_s} s"


def _warnings(outputs: Sequence[Output]) -> Iterator[str]:
    """Steps without anybody, and plans that had to be stood in for."""
    seen: list[str] = []
    for output in outputs:
        if not isinstance(output, AlarmRecord):
            continue
        line = ""
        if output.change is Change.LAST_RESORT and output.reason != "nobody-answered":
            line = f"the default plan stands in: {output.reason}"
        elif output.change is Change.STEP_PASSED and output.reason == NOBODY:
            line = f"step {output.step} of {output.detail} tells nobody"
        if line and line not in seen:
            seen.append(line)
            yield line


def rehearse_all(
    plans: Sequence[Plan],
    files: Sequence[Input],
    times_ms: Callable[[Plan], Sequence[int]],
) -> Iterator[Rehearsal]:
    """Every plan for every class that it serves and every path; the defaults for all classes.

    `files`: the definitions of plans and rosters. `times_ms`: when to rehearse a plan.
    """
    given = {plan.id: plan for plan in plans}
    built_in = (plan for plan in BUILT_IN_PLANS if plan.id not in given)
    for plan in (*given.values(), *built_in):
        served = [c for c in AlarmClass if plan.serves(c)]
        for alarm_class, at_ms in itertools.product(served, times_ms(plan)):
            for path, policy in itertools.product(Path, _policies(plan, alarm_class)):
                yield rehearse(files, plan.id, alarm_class, path, policy, at_ms)


def _policies(plan: Plan, alarm_class: AlarmClass) -> tuple[VictimPolicy, ...]:
    """Only where the protected person would be told does her policy make a difference."""
    tells = any(
        step.audience is Audience.PROTECTED_PERSON and step.serves(alarm_class)
        for step in plan.steps
    )
    return tuple(VictimPolicy) if tells else (VictimPolicy.TELL,)
