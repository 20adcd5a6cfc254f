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
    event that ends it). `defer_ms`: operators are paged when it still holds after so long; the
    automatic first actions come at once.
    """

    alarm_class: AlarmClass
    source: str
    lasting: bool
    press: bool = False
    expires_ms: int | None = None
    defer_ms: int = 0


RAISES: Final = {
    EventKind.PANIC: EventRule(AlarmClass.PANIC, "press", lasting=False, press=True),
    EventKind.DURESS: EventRule(AlarmClass.PANIC, "duress", lasting=False, press=True),
    EventKind.FALL: EventRule(AlarmClass.PANIC, "fall", lasting=False, press=True),
    EventKind.STRAP_CUT: EventRule(AlarmClass.TAMPER, "strap", lasting=True),
    EventKind.CASE_OPENED: EventRule(AlarmClass.TAMPER, "case", lasting=False),
    EventKind.JAMMING: EventRule(
        AlarmClass.LOCATION_DOUBT, "jamming", lasting=True, defer_ms=120_000
    ),
    EventKind.SHIELDING: EventRule(
        AlarmClass.LOCATION_DOUBT, "shielding", lasting=True, expires_ms=900_000, defer_ms=120_000
    ),
    EventKind.CLOCK_FAULT: EventRule(
        AlarmClass.LOCATION_DOUBT, "clock", lasting=True, expires_ms=3_600_000
    ),
    EventKind.BATTERY_CRITICAL: EventRule(
        AlarmClass.DEVICE_DYING, "battery", lasting=True, defer_ms=600_000
    ),
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

REACH_MM_PER_S: Final = 25_000
"""How fast somebody out of sight is taken to move: 90 km/h, by road in and between towns."""
DEFER_SILENCE_MS_MAX: Final = {1: 300_000, 2: 1_800_000, 3: 1_800_000}
"""Risk class -> the longest that silence is kept from the operators, however far apart they are."""
DEFER_PLACE_MS_MIN: Final = {1: 0, 2: 600_000, 3: 600_000}
"""Risk class -> the least of it for orders about places, after their budget of 5 minutes: nobody is
known to be near. Not when the last position was within `NEAR_PLACE_MM` of a forbidden zone. A
location order has no distance to wait for.
"""
DEFER_PAIR_MS_MIN: Final = {1: 0, 2: 60_000, 3: 60_000}
"""Risk class -> the least of it for a pair: the devices have just been asked, and may answer."""
NEAR_PLACE_MM: Final = 1_000_000


def silence_defer_ms(verdict: Verdict, radius_mm: int) -> int:
    """How long silence cannot hide a meeting or an entry yet (domain 7.5).

    From the last positions, at `REACH_MM_PER_S`, less the age of the older one. The devices are
    asked for a position at once; the operators are paged when it still holds after this.
    """
    risk = verdict.risk_class if verdict.risk_class in DEFER_SILENCE_MS_MAX else 1
    if verdict.order_kind is OrderKind.LOCATION_ORDER:
        return DEFER_PLACE_MS_MIN[risk]
    pair = verdict.order_kind is OrderKind.CONTACT_BAN
    if verdict.distance_mm is None:
        return DEFER_PAIR_MS_MIN[risk] if pair else 0
    free_mm = verdict.distance_mm - radius_mm if pair else -verdict.distance_mm
    ages_ms = [a for a in (verdict.wearer_age_ms, verdict.protected_age_ms) if a is not None]
    hidden_ms = free_mm * 1000 // REACH_MM_PER_S - max(ages_ms, default=0)
    far_from_place = not pair and free_mm > NEAR_PLACE_MM
    least_ms = DEFER_PAIR_MS_MIN[risk] if pair else 0
    if far_from_place:
        least_ms = DEFER_PLACE_MS_MIN[risk]
    return max(least_ms, min(hidden_ms, DEFER_SILENCE_MS_MAX[risk]))


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
