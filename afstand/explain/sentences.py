"""Every reason, state and label of the house with its sentences: one place to look a word up."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from afstand.explain import reasons_intake
from alerting.book import reasons, reasons_book, reasons_case
from alerting.book.case_words import CaseChange, Cause
from alerting.book.classes import Text
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.outputs import BreachChange
from alerting.book.risk import CAUSES
from alerting.book.types import (
    AlarmClass,
    Change,
    CommandStatus,
    Disposition,
    EventKind,
    IncidentChange,
    OrderKind,
    Purpose,
    ReceiptStatus,
    RejectReason,
    SignalKind,
)
from alerting.notify.sorting import FaultReason
from firmware_contracts.owntracks import IgnoredReason
from geofence.geojson import Reason as GeometryReason
from geofence.geojson import Repair
from geofence.orders import OrderState
from geofence.orders import RejectReason as OrderRejectReason
from geofence.verdicts import Freshness, Label, RequestReason, VerdictReason, VerdictState
from ingest.reasons import Reason as IntakeReason

Language = Literal["nl", "en"]


class Group(NamedTuple):
    """The words of one kind, in the order in which they are explained."""

    title: str
    kind: type[StrEnum] | None
    sentences: Mapping[Any, Text]


GROUPS: Final = (
    Group("Verdicts: why", VerdictReason, reasons.VERDICT_REASONS),
    Group("Verdicts: labels", Label, reasons.LABELS),
    Group("Verdicts: states", VerdictState, reasons.STATES),
    Group("Verdicts: age of positions", Freshness, reasons.FRESHNESS),
    Group("Orders: kinds", OrderKind, reasons.ORDER_KINDS),
    Group("Orders: states", OrderState, reasons_intake.ORDER_STATES),
    Group("Requests for positions", RequestReason, reasons.REQUEST_REASONS),
    Group("Requests: what became of them", CommandStatus, reasons_book.COMMAND_STATUSES),
    Group("Alarms: classes", AlarmClass, {name: rule.title for name, rule in ALARM_BOOK.items()}),
    Group("Alarms: changes", Change, reasons_book.CHANGES),
    Group("Alarms: reasons of the book", None, reasons_book.WHYS | reasons_case.CASE_WHYS),
    Group("Incidents: changes", IncidentChange, reasons_book.INCIDENT_CHANGES),
    Group("Breaches: counters", BreachChange, reasons_book.BREACH_CHANGES),
    Group("Cases: changes", CaseChange, reasons_case.CASE_CHANGES),
    Group("Causes told to the protected person", Cause, CAUSES),
    Group("Incidents: dispositions", Disposition, reasons_book.DISPOSITIONS),
    Group("Events of devices", EventKind, reasons_book.EVENTS),
    Group("Signals of the service", SignalKind, reasons_book.SIGNALS),
    Group("Notices: purposes", Purpose, reasons_book.PURPOSES),
    Group("Notices: receipts", ReceiptStatus, reasons_book.RECEIPTS),
    Group("Notices: not even tried", FaultReason, reasons_intake.NOTICE_FAULTS),
    Group("Commands: refused", RejectReason, reasons_book.REJECT_REASONS),
    Group("Orders: refused", OrderRejectReason, reasons_intake.ORDER_REJECTS),
    Group("Geometry: refused", GeometryReason, reasons_intake.GEOMETRY),
    Group("Geometry: repairs", Repair, reasons_intake.REPAIRS),
    Group("Messages: refused", IntakeReason, reasons_intake.MESSAGES),
    Group("Messages of phones: no position", IgnoredReason, reasons_intake.IGNORED),
)

_BY_KIND: Final = {group.kind: group.sentences for group in GROUPS}
# Where a reason is plain text: the words of those who give reasons first.
_FIRST: Final = (VerdictReason, None, EventKind, SignalKind)
_BY_WORD: Final[dict[str, Text]] = {}
for _kind in (*reversed(_BY_KIND), *reversed(_FIRST)):
    _BY_WORD.update({str(word): text for word, text in _BY_KIND[_kind].items()})


def sentence(word: str, language: Language) -> str:
    """Return what a word of a record means; the word itself when it is free text or unknown.

    A word of an enumeration means what its kind says; plain text what any kind says. A reason may
    name a class of alarm before it: "panic: strap-cut".
    """
    text = _BY_KIND.get(type(word), _BY_WORD).get(word)  # type: ignore[arg-type]
    if text is not None:
        return str(getattr(text, language))
    first, colon, rest = word.partition(": ")
    if colon and first in _BY_WORD:
        return f"{getattr(_BY_WORD[first], language)}: {sentence(rest, language)}"
    return word


def kind_of(word: str) -> str:
    """Return the name of the kind of a word, `reason` for plain text."""
    return type(word).__name__ if type(word) in _BY_KIND else "reason"
