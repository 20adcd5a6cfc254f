"""What follows from the events of devices, by the tables of `rules.py`."""

from typing import Final

from alerting.book import cases, conditions, devices, floods, incidents, patterns, silences, telling
from alerting.book.context import Context
from alerting.book.inputs import DeviceEvent
from alerting.book.outputs import Observation
from alerting.book.patterns import PatternKind
from alerting.book.plain import plain_notice
from alerting.book.rules import ANSWERS, ENDS, RAISES, UNPROVEN, EventRule
from alerting.book.state import Facts
from alerting.book.words import AlarmClass, EventKind, Purpose, Role

TEST_GAP_MS: Final = 10_000
"""At least this long between two test presses that are passed on."""


def event(cx: Context, said: DeviceEvent) -> None:
    """Take one event.

    A press always raises; everything else must come from a device that proved who it is.
    """
    facts = _facts(cx, said)
    kind = said.kind
    if not said.authenticated and kind not in UNPROVEN:
        _observe(cx, said, facts, "not-authenticated")
    elif kind in ANSWERS:
        devices.answered(cx, said)
    elif kind is EventKind.SELF_TEST:
        _test(cx, said, facts)
    elif kind in RAISES:
        _raise(cx, said, facts, RAISES[kind])
    elif kind in ENDS:
        _end(cx, said, facts)
    else:
        _observe(cx, said, facts, "no-alarm")


def _facts(cx: Context, said: DeviceEvent) -> Facts:
    """Whose device it is: as the event says, else as the cases say."""
    state = cx.state
    person_id = said.person_id or state.device_persons.get(said.device_id)
    role = said.role
    if role is Role.UNKNOWN:
        role = cases.role_of(state, person_id)
    wearer = role is Role.WEARER
    protected = role is Role.PROTECTED
    return Facts(
        reason=said.kind.value,
        role=role,
        person_id=person_id,
        wearer_id=person_id if wearer else None,
        protected_id=person_id if protected else None,
        device_id=said.device_id,
        authenticated=said.authenticated,
        fix_ms=None if said.position is None else said.position.time_ms,
        wearer_position=said.position if wearer else None,
        protected_position=said.position if protected else None,
        device_position=None if wearer or protected else said.position,
    )


def _raise(cx: Context, said: DeviceEvent, facts: Facts, rule: EventRule) -> None:
    kind = said.kind
    alarm_class = rule.alarm_class
    key = f"{rule.source}/{said.device_id}"
    if kind is EventKind.FALL and facts.role is Role.WEARER:
        _observe(cx, said, facts, "fall-of-wearer")
        return
    if kind is EventKind.CONTACT_RADIO and not _knows_a_pair(cx, facts):
        _observe(cx, said, facts, "no-pair-known")
        return
    if kind is EventKind.SILENCE:
        key = f"silent/{said.device_id}"
        if _knows_a_pair(cx, facts):
            alarm_class = AlarmClass.PAIR_BLIND
        if facts.person_id is not None and key not in cx.state.conditions:
            floods.fell_silent(cx, facts.person_id, 0)
    known = key in cx.state.conditions
    press = (said.key or f"{said.device_id}/{said.device_ms}") if rule.press else ""
    conditions.begin(
        cx,
        key,
        alarm_class,
        facts,
        lasting=rule.lasting,
        press=press,
        expires_ms=rule.expires_ms,
        defer_ms=rule.defer_ms,
    )
    if not known and facts.person_id is not None:
        _count(cx, kind, key, facts, facts.person_id)


_COUNTED: Final = {
    EventKind.SILENCE: PatternKind.REPEATED_SILENCE,
    EventKind.JAMMING: PatternKind.REPEATED_OBSTRUCTION,
    EventKind.SHIELDING: PatternKind.REPEATED_OBSTRUCTION,
    EventKind.BATTERY_CRITICAL: PatternKind.REPEATED_EMPTY,
}


def _count(cx: Context, kind: EventKind, key: str, facts: Facts, person_id: str) -> None:
    """What may be a pattern of one person; a loss of the network says nothing about anybody."""
    pattern = _COUNTED.get(kind)
    if pattern is None or (kind is EventKind.SILENCE and silences.active(cx.state)):
        return
    patterns.seen(cx, pattern, person_id, facts, conditions.incident_of(cx, key))


def _knows_a_pair(cx: Context, facts: Facts) -> bool:
    return bool(cases.counterparts(cx.state, facts.person_id))


def _end(cx: Context, said: DeviceEvent, facts: Facts) -> None:
    ended = False
    for source in ENDS[said.kind]:
        name = "silent" if source == "silence" else source
        if conditions.end(cx, f"{name}/{said.device_id}", said.kind.value):
            ended = True
            if source == "silence" and facts.person_id is not None:
                floods.heard_again(cx, facts.person_id)
    if not ended and said.kind is not EventKind.STATUS:
        _observe(cx, said, facts, "nothing-to-end")


def _test(cx: Context, said: DeviceEvent, facts: Facts) -> None:
    """A test press: told where the plan says so, never an alarm."""
    plan = incidents.current_plan(cx.state, facts)
    name = f"test|{said.device_id}"
    if plan.self_test is None:
        _observe(cx, said, facts, "no-target-for-tests")
    elif name in cx.state.timers.rows:
        _observe(cx, said, facts, "tested-just-before")
    else:
        cx.state.timers.set(name, cx.now_ms + TEST_GAP_MS)
        for target in telling.now_reached(cx, plan.self_test.targets):
            plain_notice(
                cx,
                "t",
                AlarmClass.PANIC,
                facts,
                plan.id,
                target,
                plan.self_test.audience,
                Purpose.TEST,
            )


def _observe(cx: Context, said: DeviceEvent, facts: Facts, reason: str) -> None:
    cx.emit(
        Observation(
            kind=said.kind.value,
            reason=reason,
            at_ms=cx.now_ms,
            fix_ms=facts.fix_ms,
            wearer_id=facts.wearer_id,
            protected_id=facts.protected_id,
            person_id=facts.person_id,
            device_id=said.device_id,
        )
    )
