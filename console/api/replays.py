"""Replay: what was where, and what was said about it, in a period of the past."""

import msgspec

from afstand.limits import CONSOLE_REPLAY_MS_MAX, CONSOLE_REPLAY_S_MAX
from alerting.book.roles import Right
from console.api.http import Call, Route
from console.api.incidents import TimeMs, persons_of, row_of
from console.api.problems import Code, FieldError, Problem
from console.api.records import checked_reason
from console.ports import UnavailableError
from console.replay import TrackOf, read_tracks
from console.views import EntryView, OrderView, entry_view, order_view, timeline

BEFORE_MS = 1_800_000
AFTER_MS = 600_000


class PeriodQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A period in Unix ms; without it, from half an hour before the incident on."""

    from_ms: TimeMs | None = None
    to_ms: TimeMs | None = None


class CasePeriodQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A period in Unix ms, and why it is looked at; that is logged."""

    from_ms: TimeMs
    to_ms: TimeMs
    reason: str = ""


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """Tracks, what was said meanwhile, and the orders as they are now."""

    from_ms: int
    to_ms: int
    complete: bool
    until_ms: int
    tracks: tuple[TrackOf, ...]
    entries: tuple[EntryView, ...]
    orders: tuple[OrderView, ...]


async def incident_replay(call: Call) -> ReplayView:
    """Replay an incident. Logged as a consultation."""
    row = row_of(call)
    now_ms = call.now_ms
    end_ms = min(now_ms, row.closed_ms + AFTER_MS) if row.closed_ms else now_ms
    to_ms = call.query.to_ms if call.query.to_ms is not None else end_ms
    least_ms = max(row.opened_ms - BEFORE_MS, to_ms - CONSOLE_REPLAY_MS_MAX)
    from_ms = call.query.from_ms if call.query.from_ms is not None else least_ms
    await call.consult("replay", persons_of(row), incident_id=row.incident_id)
    entries = timeline(row, call.services.hub.model)
    return await _replay(
        call,
        row.partition,
        persons_of(row),
        from_ms,
        to_ms,
        tuple(entry_view(entry, call.rights) for entry in entries),
    )


async def case_replay(call: Call) -> ReplayView:
    """Replay the persons of a case in any period, with a reason. Logged as a consultation."""
    model = call.services.hub.model
    case = model.world.cases.get(call.path("case_id"))
    if case is None:
        raise Problem(Code.NOT_FOUND)
    persons = tuple(one for one in (case.wearer_id, *case.protected_ids) if one is not None)
    reason = checked_reason(call)
    partitions = {
        model.world.persons[one].partition for one in persons if one in model.world.persons
    }
    if len(partitions) != 1:
        raise Problem(Code.CONFLICT, "these persons are not watched together")
    await call.consult("replay", persons, reason=reason)
    entries = [
        entry
        for row in model.incidents.rows.values()
        if row.case_id == case.case_id
        for entry in timeline(row, model)
    ]
    from_ms, to_ms = call.query.from_ms, call.query.to_ms
    entries = [entry for entry in entries if from_ms <= entry.at_ms < to_ms]
    entries.sort(key=lambda entry: entry.at_ms)
    shown = tuple(entry_view(entry, call.rights) for entry in entries)
    return await _replay(call, partitions.pop(), persons, from_ms, to_ms, shown)


async def _replay(
    call: Call,
    partition: str,
    persons: tuple[str, ...],
    from_ms: int,
    to_ms: int,
    entries: tuple[EntryView, ...],
) -> ReplayView:
    if not 0 <= from_ms < to_ms:
        raise Problem(Code.MALFORMED, errors=(FieldError("query.toMs", "must be after fromMs"),))
    if to_ms - from_ms > CONSOLE_REPLAY_MS_MAX:
        hours = CONSOLE_REPLAY_MS_MAX // 3_600_000
        raise Problem(Code.LIMIT, f"at most {hours} hours at once")
    model = call.services.hub.model
    seen = [person for person in persons if _may_see(call, person)]
    try:
        read = await read_tracks(
            call.services.link,
            model.world,
            partition,
            seen,
            from_ms,
            to_ms,
            within_s=CONSOLE_REPLAY_S_MAX,
        )
    except UnavailableError as error:
        raise Problem(Code.UNAVAILABLE, str(error)) from None
    orders = model.world.orders_about(persons) if Right.ORDERS in call.rights else []
    return ReplayView(
        from_ms=from_ms,
        to_ms=to_ms,
        complete=read.complete,
        until_ms=read.until_ms,
        tracks=read.tracks,
        entries=entries,
        orders=tuple(order_view(row, model, call.now_ms) for row in orders),
    )


def _may_see(call: Call, person_id: str) -> bool:
    person = call.services.hub.model.world.persons.get(person_id)
    # Who is not known as a wearer is treated as protected.
    wearer = person is not None and person.role.value == "wearer"
    right = Right.WEARER_POSITION if wearer else Right.PROTECTED_POSITION
    return right in call.rights


ROUTES = (
    Route("GET", "/v1/incidents/{incident_id}/replay", "replay-incident", "Replay an incident",
          incident_replay, (Right.LOOK_UP,), ReplayView, PeriodQuery, tag="replay",
          masks="tracks of the side whose position is not allowed; free words"),
    Route("GET", "/v1/cases/{case_id}/replay", "replay-case", "Replay a period of a case",
          case_replay, (Right.LOOK_UP,), ReplayView, CasePeriodQuery, tag="replay",
          masks="tracks of the side whose position is not allowed; free words"),
)  # fmt: skip
