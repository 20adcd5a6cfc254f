"""What happened in a case, line by line, for people and for machines."""

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from afstand.explain.sentences import Language, sentence
from alerting.book.types import (
    AlarmRecord,
    BreachRecord,
    CaseRecord,
    Change,
    CommandRecord,
    DeviceCommand,
    IncidentRecord,
    LogbookRecord,
    Notice,
    Observation,
    Output,
    VerdictRecord,
)
from ingest.store import EntryId

_QUIET = (Change.STEP_STARTED, Change.STEP_MET, Change.DELIVERY)
"""Inner workings of a plan: in the records, not in the timeline."""


class Line(msgspec.Struct, frozen=True):
    """One line. `at` is the local time, `entry` the outbox entry that it stands in."""

    at_ms: int
    at: str
    entry: str
    what: str
    text: str


def lines_of(
    records: Iterable[tuple[EntryId, Output]], language: Language, zone: ZoneInfo
) -> list[Line]:
    """Make the timeline of records, in their order."""
    found = []
    for entry_id, output in records:
        text = _text(output, language)
        if text:
            what = str(output.__struct_config__.tag)
            at_ms = entry_id.ms
            at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
            shown = at.isoformat(sep=" ", timespec="milliseconds")
            found.append(Line(at_ms, shown, str(entry_id), what, text))
    return found


def _text(output: Output, language: Language) -> str:
    match output:
        case AlarmRecord() if output.change not in _QUIET:
            said = [output.alarm_class, output.change, output.reason]
            extra = [output.by, output.target, output.detail]
        case IncidentRecord():
            said = [output.change, output.reason]
            extra = [output.by, output.countersigned_by, output.note]
        case Notice():
            said = [output.purpose, output.alarm_class, output.reason]
            extra = [f"-> {output.target} ({output.audience})"]
        case BreachRecord():
            said, extra = [output.change], [output.order_id, output.by, output.note]
        case VerdictRecord():
            verdict = output.verdict
            said = [verdict.state, verdict.reason]
            extra = [verdict.order_id]
            if verdict.distance_mm is not None:
                extra.append(f"{verdict.distance_mm / 1000:.0f} m")
            if verdict.accuracy_mm is not None:
                extra.append(f"± {verdict.accuracy_mm / 1000:.0f} m")
        case CaseRecord():
            said = [output.change, output.outcome or "", output.cause or ""]
            extra = [output.concern or "", output.step or "", output.by, output.note]
            extra += [f"{name} {number}" for name, number in output.facts.items()]
        case LogbookRecord():
            at_ms = output.happened_ms
            extra = [output.person_id, f"({at_ms} ms)", output.text, output.file_name]
            extra.append(output.file_sha256)
            said = []
        case DeviceCommand() | CommandRecord():
            said, extra = [output.reason], [output.device_id]
        case Observation():
            said, extra = [output.reason], [output.order_id or ""]
        case _:
            return ""
    words = [sentence(word, language) for word in said if word]
    return " | ".join([*words, *(one for one in extra if one)])
