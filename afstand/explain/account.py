"""The account of one alarm or incident: what is told, before any words. For people and machines.

Positions are left out unless they are asked for: whoever reads an account must be allowed to know
where the persons were, the protected person above all.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from afstand.explain.reading import Gathered
from afstand.explain.sentences import Language, kind_of, sentence
from alerting.book.types import (
    AlarmRecord,
    Audience,
    CommandRecord,
    DeviceCommand,
    IncidentRecord,
    Purpose,
    Verdict,
)

ACCOUNT_FORMAT: Final = "afstand.explanation/1"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict and how it came: the journal entry, and when the intake had its oldest frame."""

    entry: str
    received_ms: int | None
    decisive: bool
    verdict: Verdict


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A notice: to whom, not what, because it was cut down for its audience."""

    key: str
    at_ms: int
    alarm_id: str
    target: str
    audience: Audience
    purpose: Purpose
    reason: str
    deadline_ms: int | None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told, oldest first. Units and meanings are those of the records.

    `sentences` has what each word in it means, by kind, in the language that was asked for.
    """

    format: str = ACCOUNT_FORMAT
    partition: str
    incident_id: str
    alarm_id: str | None
    positions_shown: bool
    verdicts_left_off: int
    incident: tuple[IncidentRecord, ...]
    alarms: tuple[AlarmRecord, ...]
    verdicts: tuple[Judged, ...]
    notices: tuple[Told, ...]
    requests: tuple[DeviceCommand | CommandRecord, ...]
    sentences: dict[str, dict[str, str]]


def account_of(gathered: Gathered, language: Language, *, positions: bool) -> Account:
    """Return the account of what was gathered."""
    verdicts = tuple(
        Judged(
            entry=taken.entry,
            received_ms=taken.received_ms or None,
            decisive=taken.decisive,
            verdict=taken.verdict if positions else _without_positions(taken.verdict),
        )
        for taken in gathered.verdicts
    )
    notices = tuple(
        Told(
            key=key,
            at_ms=notice.at_ms,
            alarm_id=notice.alarm_id,
            target=notice.target,
            audience=notice.audience,
            purpose=notice.purpose,
            reason=notice.reason,
            deadline_ms=notice.deadline_ms,
        )
        for key, notice in gathered.notices
    )
    sentences: dict[str, dict[str, str]] = {}
    for word in _words(gathered):
        sentences.setdefault(kind_of(word), {})[str(word)] = sentence(word, language)
    return Account(
        partition=gathered.name.partition,
        incident_id=gathered.name.incident_id,
        alarm_id=gathered.name.alarm_id or None,
        positions_shown=positions,
        verdicts_left_off=gathered.left_off,
        incident=tuple(gathered.incidents),
        alarms=tuple(gathered.alarms),
        verdicts=verdicts,
        notices=notices,
        requests=tuple(gathered.commands),
        sentences=sentences,
    )


def _without_positions(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, wearer_position=None, protected_position=None)


def _words(gathered: Gathered) -> Iterator[str]:
    """Every word of the records that has a sentence."""
    for incident in gathered.incidents:
        yield from (incident.change, incident.reason, *incident.alarm_classes)
        if incident.disposition is not None:
            yield incident.disposition
    for alarm in gathered.alarms:
        yield from (alarm.alarm_class, alarm.change, alarm.reason)
    for taken in gathered.verdicts:
        verdict = taken.verdict
        yield from (verdict.order_kind, verdict.state, verdict.reason, verdict.freshness)
        yield from verdict.labels
    for sent in gathered.notices:
        yield from (sent.notice.purpose, sent.notice.reason)
    for command in gathered.commands:
        yield command.reason
