"""From findings and events to classes of alarm: the decisions of the book, as tables.

The tables are read by the document generator too, so docs/alarm-book.md says what the program does.
"""

from typing import Final, NamedTuple

from alerting.book.words import AlarmClass, EventKind
from geofence.verdicts import OrderKind, Verdict, VerdictReason, VerdictState

BREACH_CLASS: Final = {
    OrderKind.CONTACT_BAN: AlarmClass.PROXIMITY,
    OrderKind.AREA_BAN: AlarmClass.AREA_BREACH,
    OrderKind.LOCATION_ORDER: AlarmClass.ORDER_BREACH,
    OrderKind.EXIT_BAN: AlarmClass.AREA_BREACH,
}

POSSIBLE_IS_BREACH_1024: Final = {1: 922, 2: 973, 3: 990}
"""Risk class -> probability from which a possible breach of a ban is a breach at once, unconfirmed.

P 0.90, 0.95 and 0.967. At most 0.975 is ever reached (any fix can be a jump), so class 3 asks for a
position well inside. Below it a possible breach is an APPROACH: high priority, burst running,
confirmed or cleared within half a minute. A location order is tolerant on leaving: only a confirmed
absence is a breach of it.
"""


def class_of_state(verdict: Verdict) -> tuple[AlarmClass | None, str]:
    """The class of alarm that the state of a verdict asks for, or None; and by which rule."""
    state, kind = verdict.state, verdict.order_kind
    breach = BREACH_CLASS[kind]
    if state is VerdictState.CONFIRMED:
        return breach, "confirmed"
    if kind is OrderKind.LOCATION_ORDER:
        return None, "location-order-waits-for-confirmation"
    if state is VerdictState.POSSIBLE:
        if verdict.reason is VerdictReason.PASSED_THROUGH_BETWEEN_FIXES:
            return breach, "passed-through"
        least = POSSIBLE_IS_BREACH_1024.get(verdict.risk_class, 0)
        if verdict.probability_1024 >= least:
            return breach, "possible-beyond-threshold-of-risk-class"
        return AlarmClass.APPROACH, "possible-below-threshold-of-risk-class"
    if state is VerdictState.WARNING:
        return AlarmClass.APPROACH, "warning"
    return None, "clear"


class EventRule(NamedTuple):
    """What an event of a device raises.

    `source` names the condition of that device. `lasting`: something in the world ends it. `press`:
    every one is news. `expires_ms`: it counts as over when not said again for so long (there is no
    event that ends it).
    """

    alarm_class: AlarmClass
    source: str
    lasting: bool
    press: bool = False
    expires_ms: int | None = None


RAISES: Final = {
    EventKind.PANIC: EventRule(AlarmClass.PANIC, "press", lasting=False, press=True),
    EventKind.DURESS: EventRule(AlarmClass.PANIC, "duress", lasting=False, press=True),
    EventKind.FALL: EventRule(AlarmClass.PANIC, "fall", lasting=False, press=True),
    EventKind.STRAP_CUT: EventRule(AlarmClass.TAMPER, "strap", lasting=True),
    EventKind.CASE_OPENED: EventRule(AlarmClass.TAMPER, "case", lasting=False),
    EventKind.JAMMING: EventRule(AlarmClass.LOCATION_DOUBT, "jamming", lasting=True),
    EventKind.SHIELDING: EventRule(
        AlarmClass.LOCATION_DOUBT, "shielding", lasting=True, expires_ms=900_000
    ),
    EventKind.CLOCK_FAULT: EventRule(
        AlarmClass.LOCATION_DOUBT, "clock", lasting=True, expires_ms=3_600_000
    ),
    EventKind.BATTERY_CRITICAL: EventRule(AlarmClass.DEVICE_DYING, "battery", lasting=True),
    EventKind.SHUTDOWN: EventRule(AlarmClass.DEVICE_DYING, "shutdown", lasting=True),
    EventKind.MEMORY_FULL: EventRule(
        AlarmClass.DEVICE_DYING, "memory", lasting=True, expires_ms=3_600_000
    ),
    EventKind.CONTACT_RADIO: EventRule(
        AlarmClass.PROXIMITY, "radio", lasting=True, expires_ms=300_000
    ),
    EventKind.SILENCE: EventRule(AlarmClass.LOCATION_DOUBT, "silence", lasting=True),
}
"""SILENCE is PAIR BLIND when the person belongs to a pair. FALL of a wearer is observed only."""

ENDS: Final = {
    EventKind.STRAP_RESTORED: ("strap",),
    EventKind.JAMMING_ENDED: ("jamming",),
    EventKind.SHIELDING_ENDED: ("shielding",),
    EventKind.CLOCK_RIGHT: ("clock",),
    EventKind.CHARGING: ("battery", "shutdown"),
    EventKind.SILENCE_ENDED: ("silence", "shutdown"),
    EventKind.STATUS: ("shutdown",),
}
"""What an event takes back. A latched alarm stays open all the same."""

ANSWERS: Final = (EventKind.COMMAND_DONE, EventKind.COMMAND_REFUSED, EventKind.COMMAND_EXPIRED)
"""Events that answer a command."""

UNPROVEN: Final = (EventKind.PANIC, EventKind.DURESS)
"""Events that count even when nobody can say who sent them; they are marked."""
