"""How an incident ends by a person: disposition, and four eyes for what is critical.

A person proposes how an incident with a critical alarm is closed, with a note of the evidence; a
second person countersigns. Until then it stays open, in the proposer's hand; what happens meanwhile
makes the proposal void, and so does time (domain F11: false dispositions).
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_TEXT_CHARS_MAX
from alerting.book import alarms, decisions, incidents, patterns
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context
from alerting.book.inputs import Countersign, Dispose, Disposition
from alerting.book.outputs import IncidentChange, RejectReason
from alerting.book.state import Incident, Proposal

replace = msgspec.structs.replace

PROPOSAL_MS: Final = 1_800_000
"""How long a proposal waits for a second person."""

_NO_BREACH: Final = (
    Disposition.FALSE_ALARM,
    Disposition.TECHNICAL,
    Disposition.PERMITTED,
    Disposition.DUPLICATE,
    Disposition.TEST,
)
"""What was closed so counts neither as a breach nor towards a pattern."""


def dispose(cx: Context, said: Dispose) -> None:
    """Close every alarm of the incident and the incident itself, or the one alarm that is named.

    What needs four eyes is proposed; a second person countersigns.
    """
    incident = cx.state.incidents.get(said.incident_id)
    if incident is None or incident.closed:
        cx.reject(RejectReason.UNKNOWN_INCIDENT, "dispose", said.incident_id)
    elif not said.by:
        cx.reject(RejectReason.NO_REASON_GIVEN, "dispose", said.incident_id, "by")
    elif len(said.note) > BOOK_TEXT_CHARS_MAX:
        detail = f"{len(said.note)} characters, at most {BOOK_TEXT_CHARS_MAX}"
        cx.reject(RejectReason.LIMIT, "dispose", said.incident_id, detail)
    elif said.alarm_id is not None and said.alarm_id not in incident.alarm_ids:
        cx.reject(RejectReason.UNKNOWN_ALARM, "dispose", said.alarm_id)
    elif _nothing_lasts(cx, "dispose", incident, said):
        if not _four_eyes(cx, incident, said):
            _close(cx, incident, said)
        elif said.note.strip():
            _propose(cx, incident, said)
        else:
            cx.reject(RejectReason.NO_REASON_GIVEN, "dispose", said.incident_id, "note")


def countersign(cx: Context, said: Countersign) -> None:
    """A second person agrees with the closing that was proposed."""
    incident = cx.state.incidents.get(said.incident_id)
    if incident is None or incident.closed:
        cx.reject(RejectReason.UNKNOWN_INCIDENT, "countersign", said.incident_id)
    elif not said.by:
        cx.reject(RejectReason.NO_REASON_GIVEN, "countersign", said.incident_id, "by")
    elif incident.proposal is None:
        cx.reject(RejectReason.NOT_PROPOSED, "countersign", said.incident_id)
    elif _name(said.by) == _name(incident.proposal.said.by):
        cx.reject(RejectReason.SAME_PERSON, "countersign", said.incident_id, said.by)
    elif _nothing_lasts(cx, "countersign", incident, incident.proposal.said):
        _close(cx, incident, incident.proposal.said, countersigned_by=said.by)


def _name(by: str) -> str:
    return by.strip().casefold()


def _about(incident: Incident, said: Dispose) -> tuple[str, ...]:
    return incident.alarm_ids if said.alarm_id is None else (said.alarm_id,)


def _nothing_lasts(cx: Context, what: str, incident: Incident, said: Dispose) -> bool:
    """Whether no condition lasts, or the person says that this is known; else it is refused."""
    state = cx.state
    lasting = [
        source
        for alarm_id in _about(incident, said)
        for source in state.alarms[alarm_id].sources
        if (condition := state.conditions.get(source)) is not None and condition.lasting
    ]
    if not lasting or said.despite_active:
        return True
    reason = RejectReason.CONDITION_STILL_ACTIVE
    cx.reject(reason, what, incident.incident_id, ", ".join(lasting))
    return False


def _four_eyes(cx: Context, incident: Incident, said: Dispose) -> bool:
    """Whether what would be closed needs a second person: also when only a part of it does."""
    closing = [cx.state.alarms[alarm_id].alarm_class for alarm_id in _about(incident, said)]
    return any(ALARM_BOOK[alarm_class].four_eyes for alarm_class in closing)


def _propose(cx: Context, incident: Incident, said: Dispose) -> None:
    proposed = replace(incident, proposal=Proposal(said, cx.now_ms))
    cx.state.incidents.put(incident.incident_id, proposed)
    cx.state.timers.set(incidents.proposal_timer(incident.incident_id), cx.now_ms + PROPOSAL_MS)
    incidents.record(
        cx,
        proposed,
        IncidentChange.CLOSING_PROPOSED,
        "four-eyes",
        by=said.by,
        note=said.note,
        disposition=said.disposition,
    )
    for alarm_id in _about(incident, said):
        alarms.acknowledge(cx, cx.state.alarms[alarm_id], said.by, "closing-proposed")


def _close(cx: Context, incident: Incident, said: Dispose, *, countersigned_by: str = "") -> None:
    state = cx.state
    for alarm_id in _about(incident, said):
        alarm = state.alarms[alarm_id]
        alarms.close_alarm(cx, alarm, said.disposition.value, tell=True, by=said.by)
    state.timers.clear(incidents.proposal_timer(incident.incident_id))
    incident = replace(state.incidents[incident.incident_id], proposal=None)
    state.incidents.put(incident.incident_id, incident)
    if incident.alarm_ids:
        return
    if said.disposition in _NO_BREACH:
        patterns.withdraw(cx, incident.incident_id, incident.counted)
        decisions.withdraw(cx, incident.incident_id, incident.counted)
    incidents.close(
        cx,
        incident,
        "disposed",
        by=said.by,
        countersigned_by=countersigned_by,
        note=said.note,
        disposition=said.disposition,
    )
