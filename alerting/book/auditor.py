"""Whether each step of each plan ran: read from what came out of the book, not from its state.

A second pair of eyes with another way of looking. The book sets timers and acts on them; this
reads records and notices, remembers by when something has to follow, and says what did not. It
knows no plan and no case: a notice carries its own deadline.

Pure: `take` for each outbox entry in order, `missing` for what is overdue at an instant.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from afstand.limits import AUDIT_ALARMS_MAX
from alerting.book.outputs import AlarmRecord, AlarmState, Change, Notice, Output
from alerting.book.words import Priority, Purpose

GRACE_MS: Final = 15_000
"""A deadline is acted on by a tick 250 ms later at most; what takes so long is wrong."""
SETTLE_MS: Final = 1_200_000
"""A target is tried for 15 minutes by default; then its receipt says that it failed."""
TOLD_MS: Final = 1_800_000
"""A critical alarm that nobody has in hand is told to somebody at least so often."""

_RAN: Final = (Change.STEP_MET, Change.STEP_MISSED, Change.STEP_PASSED)
_ANEW: Final = (
    Change.ACKNOWLEDGEMENT_EXPIRED,
    Change.ACKNOWLEDGEMENT_VOID,
    Change.RE_ALARMED,
    Change.UNSHELVED,
    Change.UNSUPPRESSED,
    Change.IN_SERVICE,
)
_PAGES: Final = (Purpose.ALERT, Purpose.ESCALATION)
_ACTIVE: Final = (AlarmState.ACTIVE_ACKNOWLEDGED, AlarmState.ACTIVE_UNACKNOWLEDGED)
_UNANSWERED: Final = (AlarmState.ACTIVE_UNACKNOWLEDGED, AlarmState.RETURNED_UNACKNOWLEDGED)


class Missing(StrEnum):
    """What did not happen."""

    STEP_TOLD_NOBODY = "step-told-nobody"
    """A step began and no notice of it went out."""
    STEP_OVERDUE = "step-overdue"
    """The deadline of a step passed, and it was neither met nor missed."""
    NOT_SETTLED = "not-settled"
    """A notice, and no word since then of its target, or of the notifier about it."""
    NOBODY_TOLD = "nobody-told"
    """A critical alarm that nobody has in hand, and nobody was told for long."""


class AuditFinding(NamedTuple):
    """Something missing, of which alarm, and where. `since_ms`: when it was due."""

    what: Missing
    alarm_id: str
    detail: str
    since_ms: int


Step = tuple[str, int]
"""Plan and number."""


class _Watched:
    """What is known of one alarm that is open."""

    __slots__ = (
        "critical",
        "due",
        "open_notices",
        "record",
        "round",
        "since_ms",
        "stands_still",
        "told_ms",
    )

    def __init__(self, record: AlarmRecord) -> None:
        self.hear(record)
        self.critical = record.priority is Priority.CRITICAL
        self.round = 0
        self.due: dict[Step, int] = {}
        self.open_notices: dict[str, int] = {}
        self.told_ms = record.at_ms
        self.since_ms = record.at_ms

    def hear(self, record: AlarmRecord) -> None:
        """Take the newest record. A plan stands still when silenced, or returned and unlatched."""
        self.record = record
        silenced = record.shelved_until_ms is not None or record.suppressed or record.out_of_service
        self.stands_still = bool(silenced) or not (record.latched or record.state in _ACTIVE)


class Auditor:
    """The alarms of one partition, as its outbox tells them."""

    def __init__(self, settle_ms: int = SETTLE_MS) -> None:
        self._settle_ms = settle_ms
        self._alarms: dict[str, _Watched] = {}
        self._standing: list[AuditFinding] = []
        self.forgotten = 0
        """Alarms that were dropped because there were too many."""

    @property
    def open_alarms(self) -> int:
        """How many alarms are watched."""
        return len(self._alarms)

    def take(self, outputs: Sequence[Output], at_ms: int) -> None:
        """Read one entry of the outbox, in the order of the outbox."""
        told = {(o.alarm_id, o.plan_id, o.step) for o in outputs if isinstance(o, Notice)}
        held_back = {
            o.alarm_id
            for o in outputs
            if isinstance(o, AlarmRecord) and o.change is Change.SUPPRESSED
        }
        for output in outputs:
            if isinstance(output, AlarmRecord):
                self._record(output, at_ms)
                step = (output.alarm_id, output.detail, output.step)
                if (
                    output.change is Change.STEP_STARTED
                    and step not in told
                    and output.alarm_id not in held_back
                ):
                    self._standing.append(
                        AuditFinding(
                            Missing.STEP_TOLD_NOBODY,
                            output.alarm_id,
                            f"plan {output.detail} step {output.step}",
                            at_ms,
                        )
                    )
            elif isinstance(output, Notice):
                self._notice(output, at_ms)

    def missing(self, now_ms: int) -> list[AuditFinding]:
        """Everything that should have happened by now and did not, oldest first."""
        found = list(self._standing)
        for alarm_id, watched in self._alarms.items():
            if not watched.stands_still:
                found += self._overdue(alarm_id, watched, now_ms)
            for target, due_ms in watched.open_notices.items():
                if due_ms < now_ms:
                    found.append(AuditFinding(Missing.NOT_SETTLED, alarm_id, target, due_ms))
        return sorted(found, key=lambda one: (one.since_ms, one.alarm_id, one.what, one.detail))

    def _overdue(self, alarm_id: str, watched: _Watched, now_ms: int) -> Iterable[AuditFinding]:
        waits = False
        for (plan, number), deadline_ms in watched.due.items():
            waits = waits or deadline_ms >= now_ms
            # Deadlines that passed while the plan stood still are due when it goes on.
            due_ms = max(deadline_ms, watched.since_ms) + GRACE_MS
            if due_ms < now_ms:
                detail = f"plan {plan} step {number}"
                yield AuditFinding(Missing.STEP_OVERDUE, alarm_id, detail, due_ms)
        if watched.critical and not waits and watched.record.state in _UNANSWERED:
            told_by_ms = max(watched.told_ms, watched.since_ms) + TOLD_MS
            if told_by_ms < now_ms:
                yield AuditFinding(Missing.NOBODY_TOLD, alarm_id, "", told_by_ms)

    def _record(self, record: AlarmRecord, at_ms: int) -> None:
        watched = self._alarms.get(record.alarm_id)
        if record.state is AlarmState.CLOSED:
            self._close(record.alarm_id)
            return
        if watched is None:
            watched = self._alarms[record.alarm_id] = _Watched(record)
            if len(self._alarms) > AUDIT_ALARMS_MAX:
                self._alarms.pop(next(iter(self._alarms)))
                self.forgotten += 1
        stood_still, was_answered = watched.stands_still, watched.record.state not in _UNANSWERED
        watched.hear(record)
        if record.change in _ANEW and record.state in _UNANSWERED:
            watched.due.clear()  # the plan begins anew: what ran before is over
        if (stood_still and not watched.stands_still) or (
            was_answered and record.state in _UNANSWERED
        ):
            watched.since_ms = at_ms
        step = (record.detail, -1 if record.step is None else record.step)
        if record.change in _RAN:
            watched.due.pop(step, None)
        elif record.change is Change.DELIVERY:
            watched.open_notices.pop(record.target, None)

    def _notice(self, notice: Notice, at_ms: int) -> None:
        watched = self._alarms.get(notice.alarm_id)
        if watched is None:
            return  # of an alarm that closed in this entry, or began before the first one read
        if notice.round > watched.round:
            watched.round = notice.round
            watched.due.clear()
        if notice.purpose in _PAGES:
            watched.told_ms = at_ms
        if notice.deadline_ms is not None and notice.step >= 0:
            watched.due[(notice.plan_id, notice.step)] = notice.deadline_ms
        if notice.subject_device_id is None:
            watched.open_notices.setdefault(notice.target, at_ms + self._settle_ms)

    def _close(self, alarm_id: str) -> None:
        self._alarms.pop(alarm_id, None)
        self._standing = [one for one in self._standing if one.alarm_id != alarm_id]
