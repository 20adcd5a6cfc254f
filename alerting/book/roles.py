"""Roles and rights: the one place where it is decided who of the chain may see and do what.

The console, the command line and every export ask here. A right that a role does not have is
refused, a field that it may not see is left out. What a *message* holds is decided by its audience
(`audience.py`); these are the roles of people who look for themselves.
"""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Who somebody is in the chain (domain 3.5)."""

    OPERATOR = "operator"
    SHIFT_LEAD = "shift-lead"
    SUPERVISOR = "supervisor"
    """Of the reclassering (probation)."""
    POLICE = "police"
    PROSECUTOR = "prosecutor"
    VICTIM_SUPPORT = "victim-support"
    AUDITOR = "auditor"


class Right(StrEnum):
    """What somebody may see or do."""

    QUEUE = "queue"
    """The list of incidents and the alarms in them."""
    TIMELINE = "timeline"
    """What happened in an incident, without free words."""
    FREE_TEXT = "free-text"
    """Notes and details: words that may hold an address."""
    WEARER_POSITION = "wearer-position"
    PROTECTED_POSITION = "protected-position"
    DISTANCE = "distance"
    """Distance, time to contact and probability: from them a place can be computed."""
    HANDLE = "handle"
    """Acknowledge, take, note, have the protected person told."""
    CLOSE = "close"
    SILENCE = "silence"
    """Shelve, and put out of service."""
    RAISE = "raise"
    """Raise an alarm by hand, or a drill."""
    LOOK_UP = "look-up"
    """Positions outside an incident; a reason is asked for."""
    LAST_KNOWN = "last-known"
    """The list of everybody's last known position, for when the service is down."""
    CASES = "cases"
    """Cases, persons and devices."""
    ORDERS = "orders"
    """Orders and their zones."""
    PROPOSE = "propose"
    """Put an order before a second person."""
    APPROVE = "approve"
    """Be that second person."""
    CASELOAD = "caseload"
    INDICATORS = "indicators"
    SHIFT = "shift"
    """Hand over the shift."""
    CONSULTATIONS = "consultations"
    """See who looked at what."""
    LOGBOOK = "logbook"
    """What the protected person wrote, in her own words."""
    EVIDENCE = "evidence"
    """Have alarms computed again, and make bundles for a court."""
    RETENTION = "retention"
    """Hold, and erase."""


_ROOM: Final = frozenset(
    {
        Right.QUEUE,
        Right.TIMELINE,
        Right.FREE_TEXT,
        Right.WEARER_POSITION,
        Right.PROTECTED_POSITION,
        Right.DISTANCE,
        Right.HANDLE,
        Right.CLOSE,
        Right.RAISE,
        Right.LOOK_UP,
        Right.CASES,
        Right.ORDERS,
        Right.INDICATORS,
        Right.SHIFT,
        Right.LOGBOOK,
    }
)
RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    Role.OPERATOR: _ROOM,
    Role.SHIFT_LEAD: _ROOM
    | {
        Right.SILENCE,
        Right.LAST_KNOWN,
        Right.PROPOSE,
        Right.APPROVE,
        Right.CASELOAD,
        Right.EVIDENCE,
    },
    # What the alarm book tells probation, and no more: the wearer's place, never a distance.
    Role.SUPERVISOR: frozenset(
        {
            Right.QUEUE,
            Right.TIMELINE,
            Right.WEARER_POSITION,
            Right.LOOK_UP,
            Right.CASES,
            Right.ORDERS,
            Right.PROPOSE,
            Right.APPROVE,
            Right.CASELOAD,
        }
    ),
    Role.POLICE: frozenset(
        {
            Right.QUEUE,
            Right.TIMELINE,
            Right.WEARER_POSITION,
            Right.PROTECTED_POSITION,
            Right.DISTANCE,
            Right.ORDERS,
        }
    ),
    Role.PROSECUTOR: frozenset(
        {
            Right.QUEUE,
            Right.TIMELINE,
            Right.CASES,
            Right.ORDERS,
            Right.PROPOSE,
            Right.APPROVE,
            Right.EVIDENCE,
        }
    ),
    Role.VICTIM_SUPPORT: frozenset({Right.QUEUE, Right.TIMELINE, Right.CASES, Right.LOGBOOK}),
    Role.AUDITOR: frozenset(
        {Right.QUEUE, Right.TIMELINE, Right.INDICATORS, Right.CONSULTATIONS, Right.RETENTION}
    ),
}

ON_DUTY: Final = (Role.OPERATOR, Role.SHIFT_LEAD)
"""Roles that share the alarm load."""

COURT: Final = frozenset(Right)
"""The whole file, for a judge who ordered it."""
WEARER_SIDE: Final = frozenset({Right.TIMELINE, Right.WEARER_POSITION, Right.ORDERS})
"""The wearer and counsel: nothing of a contact ban, because that she is near is her place."""
