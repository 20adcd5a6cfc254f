"""Records as somebody with given rights may see them: field by field, the same for every export.

A record of which nothing may be seen is left out; a field is left out by putting its default.
"""

from collections.abc import Collection
from typing import Final, TypeVar

import msgspec

from alerting.book.case_words import LogbookRecord
from alerting.book.outputs import (
    AlarmRecord,
    BreachRecord,
    Notice,
    Observation,
    Output,
    VerdictRecord,
)
from alerting.book.roles import Right
from alerting.book.words import AlarmClass, Audience
from geofence.verdicts import OrderKind, Verdict

NEEDS: Final[dict[str, Right]] = {
    "wearer_position": Right.WEARER_POSITION,
    "protected_position": Right.PROTECTED_POSITION,
    "device_position": Right.PROTECTED_POSITION,
    "protected_age_ms": Right.PROTECTED_POSITION,
    "distance_mm": Right.DISTANCE,
    "time_to_contact_ms": Right.DISTANCE,
    "closing_mm_s": Right.DISTANCE,
    "probability_1024": Right.DISTANCE,
    "evidence_1024": Right.DISTANCE,
    "steps": Right.DISTANCE,
    "accuracy_mm": Right.WEARER_POSITION,
    "speed_mm_s": Right.WEARER_POSITION,
    "detail": Right.FREE_TEXT,
    "note": Right.FREE_TEXT,
}
"""Field -> the right without which it is left out."""
_HIDDEN: Final[dict[str, object]] = {"probability_1024": 0, "evidence_1024": 0, "steps": ()}
"""What stands in a field of a verdict that may not be seen and has no default."""
_NEAR: Final = (
    AlarmClass.PROXIMITY,
    AlarmClass.APPROACH,
    AlarmClass.PAIR_BLIND,
    AlarmClass.PANIC,
)
"""Classes of which the wearer must not even know that they were raised."""


_Record = TypeVar("_Record", bound=msgspec.Struct)


def seen(
    output: Output, rights: Collection[Right], protected: Collection[str] | None = None
) -> Output | None:
    """What of a record may be seen; None for nothing. The record itself when it is all of it.

    `protected`: the reader is the wearer, or speaks for him, and these are the ids of the persons
    and devices that he may learn nothing about. None: another reader.
    """
    if isinstance(output, LogbookRecord) and Right.LOGBOOK not in rights:
        return None
    if protected is not None and _betrays(output, protected):
        return None
    if isinstance(output, VerdictRecord):
        verdict = _cut(output.verdict, rights)
        same = verdict == output.verdict
        return output if same else msgspec.structs.replace(output, verdict=verdict)
    return _cut(output, rights)


def _cut(record: _Record, rights: Collection[Right]) -> _Record:
    """The record without the fields that need a right which is not there."""
    changes: dict[str, object] = {}
    for field in msgspec.structs.fields(record):
        right = NEEDS.get(field.name)
        if right is None or right in rights:
            continue
        empty = _empty(field, verdict=isinstance(record, Verdict))
        if getattr(record, field.name) != empty:
            changes[field.name] = empty
    return msgspec.structs.replace(record, **changes) if changes else record


def _empty(field: msgspec.structs.FieldInfo, *, verdict: bool) -> object:
    if verdict and field.name in _HIDDEN:
        return _HIDDEN[field.name]
    return None if field.default is msgspec.NODEFAULT else field.default


def _betrays(output: Output, protected: Collection[str]) -> bool:
    """Whether the mere record tells the wearer's side something of the protected person.

    What no line here allows is not shown: a command to his device says why it was given.
    """
    match output:
        case VerdictRecord():
            allowed = output.verdict.order_kind is not OrderKind.CONTACT_BAN
        case Notice():
            allowed = output.audience is Audience.WEARER
        case AlarmRecord():
            allowed = output.alarm_class not in _NEAR
        case Observation():
            allowed = output.order_kind not in (None, OrderKind.CONTACT_BAN)
        case BreachRecord():
            allowed = output.protected_id is None
        case _:
            allowed = False
    said = msgspec.json.encode(output)
    return not allowed or any(one.encode() in said for one in (*protected, *_NEAR))
