"""Escalation plans as data: the schema of a plan file, and what is checked on loading it.

A plan is a list of steps. `on: open` steps start `after_s` after the alarm, each for itself; `on:
confirmed` steps start after the breach is confirmed; an `on: missed` step starts when the step it
stands in for (`of`, or the nearest earlier one that needs an acknowledgement) did not get what it
needs by its deadline. A step without anybody to tell is passed at once, which counts as missed. A
step whose target finally fails tells its `fallback` at once, one whose deadline passes does too.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from afstand.limits import (
    BOOK_PLAN_BYTES_MAX,
    BOOK_PLAN_STEPS_MAX,
    BOOK_STEP_TARGETS_MAX,
)
from alerting.book.classes import ClassRule
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.words import (
    TARGET_CASE_OWNER,
    TARGET_PROTECTED_DEVICE,
    TARGET_WEARER_DEVICE,
    AlarmClass,
    Audience,
    Need,
    Priority,
)

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
"""What an id of a device, person, order, plan, case or target looks like."""

ROSTER_MARK: Final = "@"
"""A target that begins with it names a duty roster: whoever is on duty then."""

AFTER_MAX_S: Final = 86_400
DEADLINE_MIN_S: Final = 5
DEADLINE_MAX_S: Final = 86_400
ACKNOWLEDGEMENT_MIN_S: Final = 60
ACKNOWLEDGEMENT_MAX_S: Final = 86_400

IN_HAND: Final = (Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD)
"""The operators' own side: an acknowledged alarm has answered the steps for these."""
HANDLERS: Final = (*IN_HAND, Audience.POLICE)
"""Whose acknowledgement means that somebody handles any alarm.

Probation's does for what is not critical: an office that answers by machine must not end the
escalation of a critical alarm.
"""


NAMED_ONLY: Final = (
    AlarmClass.SYSTEM,
    *(alarm_class for alarm_class, rule in ALARM_BOOK.items() if rule.task),
)
"""Classes that a step serves only where it names them."""


class StepStart(StrEnum):
    """What sets a step going."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    MISSED = "missed"


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step. Empty `classes`: every class that an operator handles. Times in seconds.

    SYSTEM (for the shift lead) and the tasks of case owners (PATTERN, LEGAL) are named or not
    served.
    """

    audience: Audience
    targets: tuple[str, ...] = ()
    classes: tuple[AlarmClass, ...] = ()
    on: StepStart = StepStart.OPEN
    of: int | None = None
    after_s: int = 0
    deadline_s: int = 60
    needs: Need = Need.ACKNOWLEDGED
    fallback: tuple[str, ...] = ()
    even_if_acknowledged: bool = False

    def serves(self, alarm_class: AlarmClass) -> bool:
        """Whether this step is for alarms of this class."""
        if self.classes:
            return alarm_class in self.classes
        return alarm_class not in NAMED_ONLY


class SelfTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who hears of a test press."""

    audience: Audience
    targets: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan file."""

    format: Literal["afstand.plan/1"]
    id: str
    title: str = ""
    steps: tuple[Step, ...]
    acknowledgement_expires_s: int = 900
    self_test: SelfTest | None = None

    def stands_in_for(self, index: int) -> int:
        """Index of the step that the `on: missed` step `index` waits for, or -1."""
        step = self.steps[index]
        if step.of is not None:
            return step.of
        earlier = range(index - 1, -1, -1)
        for i in earlier:
            if self.steps[i].needs is Need.ACKNOWLEDGED:
                return i
        return index - 1

    def serves(self, alarm_class: AlarmClass) -> bool:
        """Whether any step is for alarms of this class."""
        return any(step.serves(alarm_class) for step in self.steps)


def rosters_of(plan: Plan) -> tuple[str, ...]:
    """The ids of the rosters that a plan names, in order."""
    named = [t for step in plan.steps for t in (*step.targets, *step.fallback)]
    if plan.self_test is not None:
        named.extend(plan.self_test.targets)
    ids = (t.removeprefix(ROSTER_MARK) for t in named if t.startswith(ROSTER_MARK))
    return tuple(dict.fromkeys(ids))


class PlanFault(StrEnum):
    """Why a plan is refused."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    BAD_ID = "bad-id"
    TOO_MANY = "too-many"
    OUT_OF_RANGE = "out-of-range"
    TWICE = "twice"
    BAD_REFERENCE = "refers-to-no-earlier-step"
    ONLY_WHEN_MISSED = "only-steps-on-missed-have-it"
    NO_FIRST_STEP = "class-has-no-step-on-open"
    NEVER_ACKNOWLEDGED = "critical-class-needs-no-acknowledgement"
    WEARER_MAY_NOT_KNOW = "wearer-may-not-know-this-class"
    AUDIENCE_MISMATCH = "target-belongs-to-another-audience"
    CLASSES_MISSING = "built-in-plan-must-serve-its-classes"


class Problem(NamedTuple):
    """One thing wrong with a plan: where and why. `step` is -1 for the plan as a whole."""

    plan: str
    step: int
    field: str
    reason: PlanFault
    detail: str

    def __str__(self) -> str:
        where = f"step {self.step}, " if self.step >= 0 else ""
        return f"plan {self.plan or '?'}: {where}{self.field}: {self.reason}: {self.detail}"


class PlanError(ValueError):
    """A plan was refused; `problems` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(p) for p in self.problems))


_FIELD: Final = re.compile(r"(?:unknown|required) field `([^`]{1,40})`")
_PATH: Final = re.compile(r"`\$(?:\.steps\[(\d+|\.\.\.)\])?\.?([A-Za-z_.\[\]\d]*)`")


def parse_plan(data: bytes) -> Plan:
    """Read and check one plan file. Raises `PlanError` with every problem found."""
    if len(data) > BOOK_PLAN_BYTES_MAX:
        detail = f"{len(data)} bytes, at most {BOOK_PLAN_BYTES_MAX}"
        raise PlanError([Problem("", -1, "file", PlanFault.TOO_LARGE, detail)])
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError([_malformed(data, error)]) from error
    problems = plan_problems(plan)
    if problems:
        raise PlanError(problems)
    return plan


def _malformed(data: bytes, error: Exception) -> Problem:
    """Where the schema was not met: msgspec names the path, the plan's id is read if it can be."""
    text = str(error)
    found = _PATH.search(text)
    step, field = -1, "file"
    if found:
        if found.group(1) and found.group(1).isdigit():
            step = int(found.group(1))
        field = found.group(2) or ("steps" if found.group(1) else "plan")
    named = _FIELD.search(text)
    if named:
        field = named.group(1)
    try:
        plan_id = msgspec.json.decode(data, type=_OnlyId).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        plan_id = ""
    return Problem(plan_id[:64], step, field, PlanFault.MALFORMED, text[:300])


class _OnlyId(msgspec.Struct):
    id: str = ""


def plan_problems(plan: Plan) -> list[Problem]:
    """Everything wrong with a plan whose schema is met."""
    problems: list[Problem] = []

    def add(step: int, field: str, reason: PlanFault, detail: object) -> None:
        problems.append(Problem(plan.id[:64], step, field, reason, str(detail)[:200]))

    if not ID_PATTERN.match(plan.id):
        add(-1, "id", PlanFault.BAD_ID, plan.id)
    if not 1 <= len(plan.steps) <= BOOK_PLAN_STEPS_MAX:
        add(-1, "steps", PlanFault.TOO_MANY, f"{len(plan.steps)}, 1 to {BOOK_PLAN_STEPS_MAX}")
        return problems
    if not ACKNOWLEDGEMENT_MIN_S <= plan.acknowledgement_expires_s <= ACKNOWLEDGEMENT_MAX_S:
        detail = f"{plan.acknowledgement_expires_s} s"
        add(-1, "acknowledgement_expires_s", PlanFault.OUT_OF_RANGE, detail)
    if plan.self_test is not None:
        for field, reason, detail in _target_faults(
            plan.self_test.targets, plan.self_test.audience
        ):
            add(-1, f"self_test.{field}", reason, detail)
    for index, step in enumerate(plan.steps):
        for field, reason, detail in _step_faults(index, step):
            add(index, field, reason, detail)
    for alarm_class in AlarmClass:
        for reason in _class_faults(plan, alarm_class):
            add(-1, "steps", reason, alarm_class)
    return problems


_Fault = tuple[str, PlanFault, str]


def _step_faults(index: int, step: Step) -> list[_Fault]:
    faults = list(_target_faults(step.targets, step.audience))
    faults += [
        (f"fallback{f[7:]}", r, d) for f, r, d in _target_faults(step.fallback, step.audience)
    ]
    if not 0 <= step.after_s <= AFTER_MAX_S:
        faults.append(("after_s", PlanFault.OUT_OF_RANGE, f"{step.after_s}, 0 to {AFTER_MAX_S}"))
    if not DEADLINE_MIN_S <= step.deadline_s <= DEADLINE_MAX_S:
        detail = f"{step.deadline_s}, {DEADLINE_MIN_S} to {DEADLINE_MAX_S}"
        faults.append(("deadline_s", PlanFault.OUT_OF_RANGE, detail))
    if len(set(step.classes)) != len(step.classes):
        faults.append(("classes", PlanFault.TWICE, "a class stands twice"))
    if step.on is StepStart.MISSED:
        if index == 0 or (step.of is not None and not 0 <= step.of < index):
            detail = "no earlier step" if step.of is None else f"step {step.of}"
            faults.append(("of", PlanFault.BAD_REFERENCE, detail))
    elif step.of is not None:
        faults.append(("of", PlanFault.ONLY_WHEN_MISSED, f"on is {step.on}"))
    if step.audience is Audience.WEARER:
        faults.extend(
            ("classes", PlanFault.WEARER_MAY_NOT_KNOW, c.value)
            for c in AlarmClass
            if step.serves(c) and not ALARM_BOOK[c].wearer_may_know
        )
    return faults


def _target_faults(targets: tuple[str, ...], audience: Audience) -> Iterable[_Fault]:
    if len(targets) > BOOK_STEP_TARGETS_MAX:
        yield "targets", PlanFault.TOO_MANY, f"{len(targets)}, at most {BOOK_STEP_TARGETS_MAX}"
    if len(set(targets)) != len(targets):
        yield "targets", PlanFault.TWICE, "a target stands twice"
    for place, target in enumerate(targets):
        field = f"targets[{place}]"
        if not ID_PATTERN.match(target.removeprefix(ROSTER_MARK)):
            yield field, PlanFault.BAD_ID, target
        reserved = _RESERVED.get(target)
        if target.startswith(ROSTER_MARK) and audience in _PERSONS:
            yield field, PlanFault.AUDIENCE_MISMATCH, f"{target}: nobody of a roster is {audience}"
        if reserved is not None and reserved is not audience:
            yield field, PlanFault.AUDIENCE_MISMATCH, f"{target} is for {reserved}, not {audience}"


_PERSONS: Final = (Audience.PROTECTED_PERSON, Audience.WEARER)
_RESERVED: Final = {
    TARGET_PROTECTED_DEVICE: Audience.PROTECTED_PERSON,
    TARGET_WEARER_DEVICE: Audience.WEARER,
    TARGET_CASE_OWNER: Audience.CASE_OWNER,
}


def _class_faults(plan: Plan, alarm_class: AlarmClass) -> Iterable[PlanFault]:
    """A class that a plan serves is told to somebody at once; a critical one is answered."""
    serving = [step for step in plan.steps if step.serves(alarm_class)]
    must_serve = BUILT_IN_SERVES.get(plan.id)
    if must_serve is not None and alarm_class in must_serve and not serving:
        yield PlanFault.CLASSES_MISSING
    if not serving:
        return
    first = [step for step in serving if step.on is StepStart.OPEN]
    if not first:
        yield PlanFault.NO_FIRST_STEP
        return
    rule: ClassRule = ALARM_BOOK[alarm_class]
    answered = [
        s
        for s in first
        if s.needs is Need.ACKNOWLEDGED and s.audience in HANDLERS and s.after_s <= rule.respond_s
    ]
    if rule.priority is Priority.CRITICAL and not answered:
        yield PlanFault.NEVER_ACKNOWLEDGED


DEFAULT_PLAN_ID: Final = "default"
SYSTEM_PLAN_ID: Final = "system"

BUILT_IN_SERVES: Final = {
    DEFAULT_PLAN_ID: tuple(c for c in AlarmClass if c is not AlarmClass.SYSTEM),
    SYSTEM_PLAN_ID: (AlarmClass.SYSTEM,),
}
"""The two plans that always exist, and what they must serve when a site replaces them."""

_TASKS: Final = tuple(c for c in AlarmClass if ALARM_BOOK[c].task)

BUILT_IN_PLANS: Final = (
    Plan(
        format="afstand.plan/1",
        id=DEFAULT_PLAN_ID,
        title="Whoever has no plan reaches the monitoring centre",
        steps=(
            Step(
                audience=Audience.MONITORING_CENTRE, targets=("monitoring-centre",), deadline_s=60
            ),
            Step(
                audience=Audience.SHIFT_LEAD,
                targets=("shift-lead",),
                on=StepStart.MISSED,
                deadline_s=120,
            ),
            Step(
                audience=Audience.CASE_OWNER,
                targets=(TARGET_CASE_OWNER,),
                classes=_TASKS,
                deadline_s=8 * 3600,
            ),
            Step(
                audience=Audience.SHIFT_LEAD,
                targets=("shift-lead",),
                classes=_TASKS,
                on=StepStart.MISSED,
                deadline_s=8 * 3600,
            ),
        ),
    ),
    Plan(
        format="afstand.plan/1",
        id=SYSTEM_PLAN_ID,
        title="Trouble of the service itself reaches the shift lead",
        steps=(
            Step(
                audience=Audience.SHIFT_LEAD,
                targets=("shift-lead",),
                classes=(AlarmClass.SYSTEM,),
                deadline_s=60,
            ),
            Step(
                audience=Audience.MONITORING_CENTRE,
                targets=("monitoring-centre",),
                classes=(AlarmClass.SYSTEM,),
                on=StepStart.MISSED,
                deadline_s=120,
            ),
        ),
    ),
)
