"""Who may see what: the one place where the fields of a notice are decided.

The wearer's side never learns where the protected person is, nor anything from which it follows (a
distance, a time to contact, a probability, the mere fact that she is near). A partner who may see
the wearer's position does not get the distance beside it: three such pairs draw the protected
person's place on a map. What no table below grants is not sent.
"""

from typing import Any, Final

from alerting.book.classes_data import ALARM_BOOK
from alerting.book.state import Facts
from alerting.book.words import AlarmClass, Audience, Role
from geofence.verdicts import OrderKind

_ROOM: Final = (Audience.POLICE, Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD)
_STAFF: Final = (*_ROOM, Audience.PROBATION)
_FILE: Final = (*_STAFF, Audience.CASE_OWNER)
_ALL_BUT_WEARER: Final = (*_FILE, Audience.PROTECTED_PERSON)

GUARDED: Final[dict[str, tuple[Audience, ...]]] = {
    "wearer_id": _ALL_BUT_WEARER,
    "protected_id": _ALL_BUT_WEARER,
    "device_id": _STAFF,
    "order_id": (*_FILE, Audience.WEARER),
    "order_kind": (*_ALL_BUT_WEARER, Audience.WEARER),
    "order_version": _FILE,
    "zone_id": _STAFF,
    "zone_version": _STAFF,
    "state": _ALL_BUT_WEARER,
    "labels": _STAFF,
    "probability_1024": _ROOM,
    "distance_mm": (*_ROOM, Audience.PROTECTED_PERSON),
    "time_to_contact_ms": (*_ROOM, Audience.PROTECTED_PERSON),
    "closing_mm_s": _ROOM,
    "fix_ms": _STAFF,
    "wearer_age_ms": _STAFF,
    "protected_age_ms": _ROOM,
    "wearer_position": _STAFF,
    "protected_position": _ROOM,
    "device_position": _ROOM,
    "detail": (Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD, Audience.CASE_OWNER),
}
"""Field of `Facts` -> audiences that may see it.

Fields that are not here are never copied into a notice.
"""

PLAIN: Final = ("authenticated", "confirmed", "drill")
"""Fields of `Facts` that say nothing about a place and go to everybody."""

_GRANTS: Final[dict[Audience, tuple[str, ...]]] = {
    audience: tuple(field for field, may_see in GUARDED.items() if audience in may_see)
    for audience in Audience
}


def may_tell(audience: Audience, alarm_class: AlarmClass, facts: Facts) -> bool:
    """Whether this audience may hear of this alarm at all.

    Everybody but the wearer may. The wearer hears only of classes the book allows, never of a
    contact ban (that she is near is already her place), never of anything a protected person's
    device said.
    """
    if audience is not Audience.WEARER:
        return True
    return (
        ALARM_BOOK[alarm_class].wearer_may_know
        and facts.order_kind is not OrderKind.CONTACT_BAN
        and facts.role is Role.WEARER
    )


def visible(facts: Facts, audience: Audience, person_id: str | None) -> dict[str, Any]:
    """The fields of a notice that `audience` may see.

    `person_id` is the reader where that is one person.

    A protected person sees her own id and nothing of another protected person.
    """
    fields: dict[str, Any] = {field: getattr(facts, field) for field in PLAIN}
    for field in _GRANTS[audience]:
        value = getattr(facts, field)
        if value is not None:
            fields[field] = value
    if audience is Audience.PROTECTED_PERSON and facts.protected_id != person_id:
        for field in ("protected_id", "distance_mm", "time_to_contact_ms"):
            fields.pop(field, None)
    return fields
