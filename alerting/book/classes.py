"""The alarm book as data: what each class of alarm means and what must be done about it.

Rationalised after ISA-18.2: each class has a priority, a consequence, an operator action and a time
to respond, or it is not a class. The rows are in `classes_data.py`; the readable form is
docs/alarm-book.md, generated from them.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from alerting.book.words import AlarmClass, Priority

CLASSES_MAX: Final = 12
PRIORITY_RANK: Final = {p: rank for rank, p in enumerate(Priority)}
"""0 is the most urgent."""


class FirstAction(StrEnum):
    """What the book does by itself when an alarm is raised, before anybody has answered."""

    BURST_WEARER = "burst-wearer"
    BURST_PROTECTED = "burst-protected"
    BURST_DEVICE = "burst-device"
    """The device that the alarm came from."""
    PROMPT_DEVICE = "prompt-device"
    """The device says to whoever carries it what they can do themselves."""


class Text(msgspec.Struct, frozen=True):
    """The same in Dutch and in English, in plain words."""

    nl: str
    en: str


class ClassRule(msgspec.Struct, frozen=True, kw_only=True):
    """One class of the alarm book. Times in seconds.

    `latched`: only a person closes it; such a class is never shelved, suppressed or put out of
    service. `settle_s`: how long a returned alarm that is not latched stays open, so that a
    condition that comes and goes is one alarm. `re_alarm_s`: how long after the end of a plan
    without answer it pages again. `shelve_max_s`: the longest shelving and out of service.
    `wearer_may_know`: whether a notice may go to the wearer's side at all (never about the
    protected person, see `audience.py`). `task`: not for the operator's room but for the owner of
    the case, in an incident of its own, and served by a plan only where a step names it.
    `acknowledged_s`: how long an acknowledgement counts; 0: as long as the plan says. `recheck_s`:
    a condition that lasts so long after a person closed its alarm raises a new one. `four_eyes`: a
    second person countersigns its closing.
    """

    alarm_class: AlarmClass
    priority: Priority
    latched: bool
    title: Text
    consequence: Text
    action: Text
    respond_s: int
    first_actions: tuple[FirstAction, ...]
    settle_s: int
    re_alarm_s: int
    shelve_max_s: int
    wearer_may_know: bool
    four_eyes: bool = False
    task: bool = False
    acknowledged_s: int = 0
    recheck_s: int = 1800

    @property
    def may_be_silenced(self) -> bool:
        """Whether it may be shelved, suppressed or put out of service."""
        return not self.latched


class BookFault(StrEnum):
    """Why rows are not an alarm book."""

    TOO_MANY = "too-many-classes"
    MISSING = "class-missing"
    TWICE = "class-twice"
    EMPTY_TEXT = "empty-text"
    BAD_TIME = "bad-time"
    LATCHED_AND_SHELVED = "latched-class-may-not-be-shelved"
    CRITICAL_SLOW = "critical-class-answered-too-late"


class BookProblem(NamedTuple):
    """One thing wrong with the rows."""

    alarm_class: str
    field: str
    reason: BookFault


class AlarmBookError(ValueError):
    """The rows are not an alarm book; `problems` says why."""

    def __init__(self, problems: Sequence[BookProblem]) -> None:
        super().__init__("; ".join(f"{p.alarm_class}.{p.field}: {p.reason}" for p in problems))
        self.problems = tuple(problems)


def rule_problems(rule: ClassRule) -> list[BookProblem]:
    """Everything wrong with one class."""
    name = rule.alarm_class.value
    problems = [
        BookProblem(name, field, BookFault.EMPTY_TEXT)
        for field in ("title", "consequence", "action")
        if not (getattr(rule, field).nl.strip() and getattr(rule, field).en.strip())
    ]
    if rule.respond_s <= 0 or rule.re_alarm_s <= 0:
        problems.append(BookProblem(name, "respond_s", BookFault.BAD_TIME))
    if rule.latched and (rule.shelve_max_s or rule.settle_s):
        problems.append(BookProblem(name, "shelve_max_s", BookFault.LATCHED_AND_SHELVED))
    if not rule.latched and (rule.settle_s <= 0 or rule.shelve_max_s <= 0):
        problems.append(BookProblem(name, "settle_s", BookFault.BAD_TIME))
    # EN 50518: the slowest answer to an ordinary alarm is 180 s; a critical one is handled faster.
    if rule.priority is Priority.CRITICAL and rule.respond_s > 60:
        problems.append(BookProblem(name, "respond_s", BookFault.CRITICAL_SLOW))
    return problems


def build(rules: Sequence[ClassRule]) -> dict[AlarmClass, ClassRule]:
    """Check the rows and index them by class. Raises `AlarmBookError` with every problem found."""
    problems: list[BookProblem] = []
    if len(rules) > CLASSES_MAX:
        problems.append(BookProblem("book", "classes", BookFault.TOO_MANY))
    found: dict[AlarmClass, ClassRule] = {}
    for rule in rules:
        if rule.alarm_class in found:
            problems.append(BookProblem(rule.alarm_class, "alarm_class", BookFault.TWICE))
        found[rule.alarm_class] = rule
        problems.extend(rule_problems(rule))
    problems.extend(
        BookProblem(missing, "alarm_class", BookFault.MISSING)
        for missing in AlarmClass
        if missing not in found
    )
    if problems:
        raise AlarmBookError(problems)
    return found
