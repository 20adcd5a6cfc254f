"""Who is told of an alarm, and the notices that tell them."""

from typing import Final, NamedTuple

import msgspec

from afstand.limits import (
    BOOK_DELIVERIES_PER_ALARM_MAX,
    BOOK_NOTICES_PER_HOUR_MAX,
    BOOK_REFERENCES_MAX,
)
from alerting.book import audience as views
from alerting.book import cases, indicators
from alerting.book.context import Context, rule_of
from alerting.book.inputs import VictimPolicy
from alerting.book.outputs import Change, Notice, Reference
from alerting.book.plans import ROSTER_MARK, Plan, Step
from alerting.book.rosters import on_duty
from alerting.book.state import Alarm, Delivery, Thread, Told
from alerting.book.words import (
    TARGET_CASE_OWNER,
    TARGET_PROTECTED_DEVICE,
    TARGET_WEARER_DEVICE,
    Audience,
    Need,
    Priority,
    Purpose,
    SignalKind,
)

replace = msgspec.structs.replace

NOBODY: Final = "nobody-to-tell"
TOLD_BEFORE: Final = "told-before"
UPDATE_GAP_MS: Final = 15_000
"""At least this long between two updates about one alarm (a button pressed twenty times)."""
_HOUR_MS: Final = 3_600_000


def recipients(
    cx: Context, alarm: Alarm, step: Step, targets: tuple[str, ...], *, repeats: bool
) -> tuple[list[Told], str]:
    """Everybody a step tells, or nobody and the reason why.

    `repeats`: the step only says again what was said; then nobody outside the staff is told twice.
    """
    audience = step.audience
    if not views.may_tell(audience, alarm.alarm_class, alarm.facts):
        return [], "audience-may-not-know"
    outside = audience in (Audience.PROTECTED_PERSON, Audience.WEARER)
    if outside and repeats and any(told.audience is audience for told in alarm.told):
        return [], TOLD_BEFORE
    if audience is Audience.PROTECTED_PERSON:
        return _protected_recipients(cx, alarm, targets)
    if audience is Audience.CASE_OWNER:
        return _owners(cx, alarm, targets), NOBODY
    if audience is Audience.WEARER:
        return _devices(cx, cases.wearers_of(cx.state, alarm.facts), audience, targets), NOBODY
    reached = now_reached(cx, targets)
    return [Told(target, audience, None, None) for target in reached], NOBODY


def now_reached(cx: Context, targets: tuple[str, ...]) -> tuple[str, ...]:
    """The targets of a plan with rosters taken for who is on duty now, nobody twice."""
    found: list[str] = []
    for target in targets:
        reached: tuple[str, ...] = (target,)
        if target.startswith(ROSTER_MARK):
            roster = cx.state.rosters.get(target.removeprefix(ROSTER_MARK))
            reached = () if roster is None else on_duty(roster, cx.now_ms)
        found.extend(one for one in reached if one not in found)
    return tuple(found)


def _owners(cx: Context, alarm: Alarm, targets: tuple[str, ...]) -> list[Told]:
    """The owners of the case, and whoever a plan names beside them."""
    incident = cx.state.incidents[alarm.incident_id]
    named: list[str] = []
    for target in now_reached(cx, targets):
        reached: tuple[str, ...] = (target,)
        if target == TARGET_CASE_OWNER:
            reached = cases.owner_targets(cx.state, incident.wearer_id, incident.protected_id)
        named.extend(one for one in reached if one not in named)
    return [Told(target, Audience.CASE_OWNER, None, None) for target in named]


def _protected_recipients(
    cx: Context, alarm: Alarm, targets: tuple[str, ...]
) -> tuple[list[Told], str]:
    """The protected persons the alarm is about, each by the policy of their own case."""
    state = cx.state
    released = state.incidents[alarm.incident_id].protected_released
    persons: list[str] = []
    reason = NOBODY
    for person_id in cases.protected_of(state, alarm.facts):
        policy = cases.victim_policy(state, person_id)
        if policy is VictimPolicy.TELL or (policy is VictimPolicy.ASK_OPERATOR and released):
            persons.append(person_id)
        elif reason != VictimPolicy.ASK_OPERATOR:
            reason = policy.value
    return _devices(cx, tuple(persons), Audience.PROTECTED_PERSON, targets), reason


def _devices(
    cx: Context, persons: tuple[str, ...], audience: Audience, targets: tuple[str, ...]
) -> list[Told]:
    found: list[Told] = []
    for target in targets:
        for person_id in persons:
            shown_on: tuple[str | None, ...] = (None,)
            if target in (TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE):
                shown_on = cases.devices_of(cx.state, person_id)
            found.extend(Told(target, audience, device_id, person_id) for device_id in shown_on)
    return found


def tell(
    cx: Context,
    alarm: Alarm,
    index: int,
    plan: Plan,
    number: int,
    to: list[Told],
    purpose: Purpose,
) -> tuple[Alarm, int]:
    """Send the notices of step `index` of the alarm, which is step `number` of `plan`.

    Answers the alarm and how many went out.
    """
    mark = _Mark(plan.id, index, number, plan.steps[number].needs, alarm.steps[index].due_ms)
    sent = 0
    for told in to:
        alarm, went = _notice(cx, alarm, told, purpose, alarm.round_reason, mark)
        sent += went
    return alarm, sent


def tell_again(cx: Context, alarm: Alarm, purpose: Purpose, reason: str) -> Alarm:
    """Tell everybody who was told of this alarm how it goes on (an update, or that it is over)."""
    plan = cx.state.plans.get(alarm.plan_key)
    if plan is None:
        return alarm
    mark = _Mark(plan.id, -1, -1, Need.DELIVERED, None)
    for told in alarm.told:
        # The facts may have changed since: who was told of an area must not hear of a contact.
        if not views.may_tell(told.audience, alarm.alarm_class, alarm.facts):
            continue
        alarm, _ = _notice(cx, alarm, told, purpose, reason, mark)
    alarm = replace(alarm, updated_ms=cx.now_ms)
    cx.state.alarms.put(alarm.alarm_id, alarm)
    return alarm


def update(cx: Context, alarm: Alarm, reason: str, *, at_once: bool) -> Alarm:
    """An update to everybody told, unless one went out just before."""
    if not at_once and cx.now_ms - alarm.updated_ms < UPDATE_GAP_MS:
        return alarm
    return tell_again(cx, alarm, Purpose.UPDATE, reason)


class _Mark(NamedTuple):
    """Where a notice stands in a plan: -1 outside of one."""

    plan_id: str
    place: int
    number: int
    needs: Need
    deadline_ms: int | None


def _notice(
    cx: Context, alarm: Alarm, told: Told, purpose: Purpose, reason: str, mark: _Mark
) -> tuple[Alarm, int]:
    if not _within_hour(cx, alarm):
        return alarm, 0
    key = cx.next_key()
    incident = cx.state.incidents[alarm.incident_id]
    # Whoever goes there must know both of the pair, also when the alarm is about one of them.
    facts = replace(
        alarm.facts,
        wearer_id=alarm.facts.wearer_id or incident.wearer_id,
        protected_id=alarm.facts.protected_id or incident.protected_id,
    )
    cx.emit(
        Notice(
            incident_id=alarm.incident_id,
            alarm_id=alarm.alarm_id,
            alarm_class=alarm.alarm_class,
            priority=rule_of(alarm).priority,
            plan_id=mark.plan_id,
            step=mark.number,
            round=alarm.round,
            target=told.target,
            audience=told.audience,
            purpose=purpose,
            needs=mark.needs,
            text_key=f"{alarm.alarm_class}.{purpose}",
            reason=reason,
            at_ms=cx.now_ms,
            opened_at_ms=alarm.opened_ms,
            deadline_ms=mark.deadline_ms,
            count=alarm.count,
            recipient_id=told.person_id,
            subject_device_id=told.device_id,
            references=_thread(alarm, told),
            **views.visible(facts, told.audience, told.person_id),
        )
    )
    cx.state.deliveries.put(
        key, Delivery(alarm.alarm_id, alarm.round, mark.place, told.target, told.audience)
    )
    alarm = indicators.told(cx, alarm, told.audience, purpose)
    alarm = _remembered(alarm, told, Reference(key, cx.now_ms))
    known = alarm.told if told in alarm.told else (*alarm.told, told)
    kept = (*alarm.deliveries, key)
    while len(kept) > BOOK_DELIVERIES_PER_ALARM_MAX:
        # A receipt that late is rejected with a reason; the alarm itself has long paged again.
        cx.state.deliveries.drop(kept[0])
        kept = kept[1:]
    return replace(alarm, told=known, deliveries=kept), 1


def _thread(alarm: Alarm, told: Told) -> tuple[Reference, ...]:
    """What the target was told of this alarm before."""
    return next((t.notices for t in alarm.threads if t.target == told.target), ())


def _remembered(alarm: Alarm, told: Told, notice: Reference) -> Alarm:
    """Remember a notice for those that follow. Devices do not refer to what was shown before."""
    if told.audience in (Audience.PROTECTED_PERSON, Audience.WEARER):
        return alarm
    before = _thread(alarm, told)
    if len(before) >= BOOK_REFERENCES_MAX:
        before = (before[0], *before[2:])  # the first is the one that all belong to
    others = tuple(t for t in alarm.threads if t.target != told.target)
    return replace(alarm, threads=(*others, Thread(told.target, (*before, notice))))


def _within_hour(cx: Context, alarm: Alarm) -> bool:
    """Count the notice against the bound of its incident. Critical classes always go out."""
    state = cx.state
    incident = state.incidents[alarm.incident_id]
    if cx.now_ms - incident.hour_ms >= _HOUR_MS:
        incident = replace(incident, hour_ms=cx.now_ms, hour_notices=0)
    critical = rule_of(alarm).priority is Priority.CRITICAL
    if incident.hour_notices >= BOOK_NOTICES_PER_HOUR_MAX and not critical:
        cx.record(alarm, Change.SUPPRESSED, "limit-of-notices-per-hour")
        cx.signal(SignalKind.BOOK_LIMIT, f"notices per hour: {incident.incident_id}")
        return False
    incident = replace(incident, hour_notices=incident.hour_notices + 1)
    state.incidents.put(incident.incident_id, incident)
    return True
