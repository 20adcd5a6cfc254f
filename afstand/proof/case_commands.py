"""`afstand case`: what people do about a case, and its summary for whoever may see it."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import TypeVar

import msgspec

from afstand.commands import DefineOrder
from afstand.config import Config
from afstand.consultations import ConsultationError, log_consultation
from afstand.proof.arguments import QUESTIONS
from afstand.proof.commands import VIEWS, Found, find_case
from afstand.proof.feedback import feedback
from afstand.proof.past import ProofError
from afstand.proof.timeline import lines_of
from afstand.roles import open_store
from afstand.tools import command_and_answer
from afstand.watch.envelope import decode_envelope
from alerting.book.roles import Right
from alerting.book.types import (
    Activate,
    ActivationStep,
    BreachRecord,
    CaseChange,
    CaseRecord,
    Cause,
    CheckIn,
    ChecklistStep,
    Command,
    Concern,
    IncidentChange,
    IncidentRecord,
    LogbookEntry,
    LogbookRecord,
    Output,
    Rejected,
    Review,
    ReviewOutcome,
    Screen,
    SetCheckIn,
    TellCause,
)
from alerting.book.views import seen
from console.ports import Consultation
from geofence.orders import order_state
from geofence.schedule import time_zone
from ingest.store import BEGINNING, EntryId, StoreUnavailableError

_LINES = 40


async def case_command(config: Config, options: argparse.Namespace) -> int:
    """Journal what somebody says about a case; tell what the watch made of it."""
    try:
        command = _command(options)
        async with open_store(config) as store:
            found = await find_case(config, store, options.case)
            outputs = await command_and_answer(store, found.partition, command)
    except (ProofError, StoreUnavailableError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if outputs is None:
        print("no watch answered: the command is in the journal", file=sys.stderr)
        return 1
    refused = [one for one in outputs if isinstance(one, Rejected)]
    for one in refused:
        print(f"refused: {one.reason}: {one.detail}", file=sys.stderr)
    if not refused:
        print("done")
    return 1 if refused else 0


def _command(options: argparse.Namespace) -> Command:
    """What the words of the command line say. Raises ValueError naming what may be said."""
    what, case_id, by, note = options.what, options.case, options.by, options.note
    value = options.value
    now_ms = time.time_ns() // 1_000_000
    match what:
        case "screen":
            concern = _word(Concern, value)
            return Screen(case_id=case_id, by=by, concern=concern, screened_ms=now_ms, note=note)
        case "review":
            return Review(case_id=case_id, by=by, outcome=_word(ReviewOutcome, value), note=note)
        case "log":
            return LogbookEntry(
                case_id=case_id,
                person_id=value,
                by=by,
                text=note,
                happened_ms=options.happened or now_ms,
                file_name=options.file_name,
                file_sha256=options.file_sha256,
            )
        case "check-in":
            well = not options.not_well
            return CheckIn(case_id=case_id, person_id=value, by=by, well=well, text=note)
        case "check-in-every":
            return SetCheckIn(case_id=case_id, by=by, every_h=int(value))
        case "activate":
            return Activate(case_id=case_id, device_id=value, by=by, urgent=not options.not_urgent)
        case "activation-step":
            step = _word(ChecklistStep, options.step)
            return ActivationStep(device_id=value, by=by, step=step)
        case "tell-cause":
            return TellCause(incident_id=value, by=by, cause=_word(Cause, options.cause))
        case _:
            raise ValueError(f"{what}: not one of {', '.join(QUESTIONS)}")


_Kind = TypeVar("_Kind", bound=StrEnum)


def _word(kind: type[_Kind], text: str) -> _Kind:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(kind)}") from None


async def case_feedback(config: Config, options: argparse.Namespace) -> int:
    """Print what happened with an alarm, for the protected person to read."""
    try:
        async with open_store(config) as store:
            found = await find_case(config, store, options.case)
            said = Consultation(
                at_ms=time.time_ns() // 1_000_000,
                by=options.by,
                role="victim-support",
                what="feedback",
                persons=found.definitions.scope.persons,
                incident_id=options.incident,
            )
            await log_consultation(store, config.pseudonym_key(), said)
            outputs = [output async for _, output in _records(found)]
    except (ProofError, ConsultationError, StoreUnavailableError) as error:
        print(error, file=sys.stderr)
        return 1
    language = options.language or config.notify.language
    lines = feedback(outputs, options.incident, language, time_zone("Europe/Amsterdam"))
    if not lines:
        print(f"case {options.case} has no incident {options.incident}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


# --- the summary ----------------------------------------------------------------------------------


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A case for a case conference, cut down to what its reader may see."""

    format: str = "afstand.case-summary/1"
    case_id: str
    view: str
    wearer_id: str | None = None
    protected_ids: tuple[str, ...] = ()
    owners: dict[str, str] = {}
    contact: str = ""
    risk_class: int = 0
    concern: str = ""
    last_reviewed_ms: int | None = None
    orders: tuple[dict[str, object], ...] = ()
    incidents: dict[str, int] = {}
    incidents_open: int = 0
    last_incident_ms: int | None = None
    breaches: dict[str, dict[str, int]] = {}
    logbook: tuple[dict[str, object], ...] = ()
    timeline: tuple[str, ...] = ()


async def case_summary(config: Config, options: argparse.Namespace) -> int:
    """Print a case as a role may see it; the look is logged first."""
    view = VIEWS[options.view]
    try:
        async with open_store(config) as store:
            found = await find_case(config, store, options.case)
            now_ms = time.time_ns() // 1_000_000
            said = Consultation(
                at_ms=now_ms,
                by=options.by,
                role=view.name,
                what="case-summary",
                persons=found.definitions.scope.persons,
                reason=options.reason,
            )
            await log_consultation(store, config.pseudonym_key(), said)
            hidden = found.definitions.scope.protected_ids() if view.wearer_side else None
            records = [
                (entry_id, cut)
                async for entry_id, output in _records(found)
                if (cut := seen(output, view.rights, hidden)) is not None
            ]
            summary = summarise(found, records, view.name, now_ms)
    except (ProofError, ConsultationError, StoreUnavailableError) as error:
        print(error, file=sys.stderr)
        return 1
    print(msgspec.json.format(msgspec.json.encode(summary)).decode())
    return 0


async def _records(found: Found) -> AsyncIterator[tuple[EntryId, Output]]:
    scope = found.definitions.scope
    async for page in found.history.outbox(BEGINNING):
        for entry in page:
            for output in decode_envelope(entry.blob).outputs:
                if scope.owns(output):
                    yield entry.id, output


def summarise(
    found: Found, records: list[tuple[EntryId, Output]], view_name: str, now_ms: int
) -> Summary:
    """Make the summary of records that the reader may see."""
    view = VIEWS[view_name]
    case = found.definitions.scope.case
    about = Right.CASES in view.rights and not view.wearer_side
    incidents: dict[str, IncidentRecord] = {}
    opened: Counter[str] = Counter()
    breaches: dict[str, dict[str, int]] = {}
    logbook: list[dict[str, object]] = []
    changes: dict[CaseChange, CaseRecord] = {}
    for _, output in records:
        match output:
            case IncidentRecord():
                incidents[output.incident_id] = output
                if output.change is IncidentChange.OPENED and not output.drill:
                    opened.update(one.value for one in output.alarm_classes)
            case BreachRecord():
                breaches[output.order_id] = {"counted": output.count, "owed": output.owed}
            case LogbookRecord():
                logbook.append({"happened_ms": output.happened_ms, "text": output.text})
            case CaseRecord():
                changes[output.change] = output
            case _:
                pass
    screened, reviewed = changes.get(CaseChange.SCREENED), changes.get(CaseChange.REVIEWED)
    orders = {
        one.command.order.id: one.command.order
        for one in found.definitions.commands
        if isinstance(one.command, DefineOrder)
    }
    hidden = found.definitions.scope.protected_ids() if view.wearer_side else frozenset()
    lines = lines_of(records[-_LINES:], "nl", time_zone("Europe/Amsterdam"))
    return Summary(
        case_id=case.case_id,
        view=view_name,
        wearer_id=case.wearer_id,
        protected_ids=case.protected_ids if about else (),
        owners={one.side.value: one.name for one in case.owners} if about else {},
        contact=case.contact if about else "",
        risk_class=_risk(case.risk_class, screened) if about else 0,
        concern=str(screened.concern or "") if screened is not None and about else "",
        last_reviewed_ms=reviewed.at_ms if reviewed is not None else None,
        orders=tuple(
            {
                "id": order.id,
                "kind": order.kind.value,
                "title": order.title,
                "state": order_state(order, now_ms).value,
                "valid_to_ms": order.valid_to_ms,
            }
            for order in orders.values()
            if Right.ORDERS in view.rights and not hidden.intersection(order.protected_ids)
        ),
        incidents=dict(opened),
        incidents_open=sum(1 for one in incidents.values() if one.state == "open"),
        last_incident_ms=max((one.opened_at_ms for one in incidents.values()), default=None),
        breaches=breaches,
        logbook=tuple(logbook),
        timeline=tuple(f"{line.at}  {line.text}" for line in lines),
    )


def _risk(defined: int, screened: CaseRecord | None) -> int:
    return defined if screened is None or screened.risk_class is None else screened.risk_class
