"""The case around the alarm: screening, review, scaling down, check-in, logbook.

Nothing here raises or ends an alarm of an emergency. What somebody owes is a LEGAL task of the
owner of the case, as the other tasks are, and stays until it is done.
"""

from typing import Final

import msgspec

from afstand.limits import (
    BOOK_LOGBOOK_CHARS_MAX,
    BOOK_NAME_CHARS_MAX,
    BOOK_TEXT_CHARS_MAX,
)
from alerting.book import audience, cases, conditions, tasks
from alerting.book.calendar import date_text
from alerting.book.case_words import (
    CaseChange,
    CheckIn,
    Concern,
    LogbookEntry,
    LogbookRecord,
    Review,
    ReviewOutcome,
    Screen,
    SetCheckIn,
    TellCause,
)
from alerting.book.context import Context
from alerting.book.incidents import KEEP_CLOSED_MS
from alerting.book.inputs import (
    DefineCase,
    VictimPolicy,
)
from alerting.book.outputs import (
    IncidentChange,
    IncidentRecord,
    Notice,
    RejectReason,
)
from alerting.book.risk import (
    CHECK_IN_GRACE_MS,
    HOUR_MS,
    QUIET_MS,
    RISKS,
    WEEK_MS,
)
from alerting.book.state import CaseFile, Delivery, Facts
from alerting.book.words import (
    TARGET_PROTECTED_DEVICE,
    AlarmClass,
    Audience,
    Priority,
    Purpose,
    Role,
)

replace = msgspec.structs.replace

REVIEW_TIMER: Final = "review"
QUIET_TIMER: Final = "quiet"
CHECK_IN_TIMER: Final = "check-in"
MISSED_TIMER: Final = "check-in-missed"


# --- the case and its risk ------------------------------------------------------------------------


def define_case(cx: Context, said: DefineCase) -> None:
    """Take a case. What a screening has set stays set unless the case says a risk itself."""
    cases.define_case(cx, said)
    state = cx.state
    if state.cases.get(said.case_id) != said:
        return  # refused
    file = state.case_files.get(said.case_id)
    if file is None:
        if not said.owners or not said.review_weeks:
            return  # nobody answers for it yet, or nobody wants to be reminded
        state.case_files.put(said.case_id, CaseFile(since_ms=cx.now_ms, reviewed_ms=cx.now_ms))
        _next_review(cx, said)
        state.timers.set(f"{QUIET_TIMER}|{said.case_id}", cx.now_ms + QUIET_MS)
    elif file.concern is not None:
        _apply(cx, said, file.concern)


def screen(cx: Context, said: Screen) -> None:
    """A risk screening: it sets the case's risk class, its plan and how often she is heard."""
    case = tasks.case_of(cx, "screen", said.case_id, said.by, said.note, said.instrument)
    if case is None:
        return
    if said.screened_ms > cx.now_ms:
        cx.reject(RejectReason.IN_THE_FUTURE, "screen", said.case_id)
        return
    file = _file(cx, said.case_id)
    file = replace(file, concern=said.concern, screened_ms=said.screened_ms)
    cx.state.case_files.put(said.case_id, file)
    risk = RISKS[said.concern]
    _apply(cx, case, said.concern)
    lower = [
        order_id
        for order_id in cx.state.wearer_orders.get(case.wearer_id or "") or ()
        if cx.state.orders[order_id].risk_class > risk.risk_class
    ]
    tasks.record(
        cx,
        said.case_id,
        CaseChange.SCREENED,
        by=said.by,
        concern=said.concern,
        risk_class=risk.risk_class,
        note=said.note,
        facts={"orders_of_a_lower_risk_class": len(lower)},
    )
    if lower:
        detail = f"orders of a lower risk class: {', '.join(lower)}"
        tasks.tell_owners(cx, case, "order-below-screening", detail)
    _set_check_in(cx, said.case_id, risk.check_in_h, said.by)


def _apply(cx: Context, case: DefineCase, concern: Concern) -> None:
    risk = RISKS[concern]
    plan_id = risk.plan_id if risk.plan_id in cx.state.current_plans else case.plan_id
    changed = replace(case, risk_class=risk.risk_class, plan_id=plan_id)
    cx.state.cases.put(case.case_id, changed)


# --- review and scaling down ----------------------------------------------------------------------


def review(cx: Context, said: Review) -> None:
    """The case was reviewed; the next review is due as many weeks on as its case says."""
    case = tasks.case_of(cx, "review", said.case_id, said.by, said.note)
    if case is None:
        return
    if not said.note.strip():
        cx.reject(RejectReason.NO_REASON_GIVEN, "review", said.case_id, "note")
        return
    file = replace(_file(cx, said.case_id), reviewed_ms=cx.now_ms)
    cx.state.case_files.put(said.case_id, file)
    conditions.end(cx, tasks.matter(said.case_id, "review-due"), "reviewed")
    ended = said.outcome is ReviewOutcome.END
    due_ms = None if ended else _next_review(cx, case)
    if ended:
        for timer in (REVIEW_TIMER, QUIET_TIMER, CHECK_IN_TIMER, MISSED_TIMER):
            cx.state.timers.clear(f"{timer}|{said.case_id}")
    tasks.record(
        cx,
        said.case_id,
        CaseChange.REVIEWED,
        by=said.by,
        outcome=said.outcome,
        note=said.note,
        due_ms=due_ms,
    )


def _next_review(cx: Context, case: DefineCase) -> int | None:
    if not case.review_weeks:
        return None
    due_ms = cx.now_ms + case.review_weeks * WEEK_MS
    cx.state.timers.set(f"{REVIEW_TIMER}|{case.case_id}", due_ms)
    return due_ms


def review_due(cx: Context, case_id: str) -> None:
    """Too long without a review: a task of the owner until there is one."""
    case, file = cx.state.cases.get(case_id), cx.state.case_files.get(case_id)
    if case is None or file is None:
        return
    tasks.record(cx, case_id, CaseChange.REVIEW_DUE, facts=_figures(cx, case, file))
    detail = f"last reviewed {date_text(file.reviewed_ms)}, incidents since: {file.incidents}"
    tasks.task(cx, case, "review-due", detail)


def quiet(cx: Context, case_id: str) -> None:
    """Six months without an incident: scaling down is proposed, with the figures, never done."""
    case, file = cx.state.cases.get(case_id), cx.state.case_files.get(case_id)
    if case is None or file is None:
        return
    quiet_since_ms = max(file.since_ms, file.last_incident_ms)
    if cx.now_ms - quiet_since_ms < QUIET_MS:
        cx.state.timers.set(f"{QUIET_TIMER}|{case_id}", quiet_since_ms + QUIET_MS)
        return
    # Said again at every half year that stays quiet.
    cx.state.timers.set(f"{QUIET_TIMER}|{case_id}", cx.now_ms + QUIET_MS)
    if file.concern is not None and not RISKS[file.concern].may_scale_down:
        return
    tasks.record(cx, case_id, CaseChange.SCALE_DOWN_PROPOSED, facts=_figures(cx, case, file))
    detail = f"no incident since {date_text(quiet_since_ms)}"
    tasks.tell_owners(cx, case, "scale-down-proposed", detail)


def _figures(cx: Context, case: DefineCase, file: CaseFile) -> dict[str, int]:
    """What a proposal rests on."""
    orders = cx.state.wearer_orders.get(case.wearer_id or "") or ()
    keys = [f"{order_id}/{her}" for order_id in orders for her in ("", *case.protected_ids)]
    owed = [row for row in map(cx.state.breaches.get, keys) if row is not None]
    return {
        "days_since_an_incident": (cx.now_ms - max(file.since_ms, file.last_incident_ms))
        // (24 * HOUR_MS),
        "incidents_ever": file.incidents_ever,
        "incidents_since_review": file.incidents,
        "breaches_counted": sum(row.count for row in owed),
        "decisions_owed": sum(1 for row in owed if row.due_ms is not None),
        "logbook_entries": file.logbook,
    }


def after_step(cx: Context) -> None:
    """Note the incidents that this step has opened."""
    for output in cx.outputs:
        if not isinstance(output, IncidentRecord) or output.change is not IncidentChange.OPENED:
            continue
        file = cx.state.case_files.get(output.case_id or "")
        if file is None or output.drill or "task/" in output.subject:
            continue
        file = replace(
            file,
            last_incident_ms=cx.now_ms,
            incidents=1 if file.last_incident_ms < file.reviewed_ms else file.incidents + 1,
            incidents_ever=file.incidents_ever + 1,
        )
        cx.state.case_files.put(output.case_id or "", file)


# --- the protected person -------------------------------------------------------------------------


def logbook_entry(cx: Context, said: LogbookEntry) -> None:
    """Put the protected person's own words on the timeline of her case, whole and unread."""
    case = cx.state.cases.get(said.case_id)
    what, ref = "logbook-entry", said.case_id
    if case is None or said.person_id not in case.protected_ids:
        cx.reject(RejectReason.BAD_CASE, what, ref, "no protected person of this case")
    elif len(said.text) > BOOK_LOGBOOK_CHARS_MAX or len(said.file_name) > BOOK_NAME_CHARS_MAX:
        detail = f"a text of more than {BOOK_LOGBOOK_CHARS_MAX} characters, or a long name"
        cx.reject(RejectReason.LIMIT, what, ref, detail)
    elif not said.text.strip() and not said.file_sha256:
        cx.reject(RejectReason.NO_REASON_GIVEN, what, ref, "neither words nor a file")
    elif said.happened_ms > cx.now_ms:
        cx.reject(RejectReason.IN_THE_FUTURE, what, ref)
    else:
        file = _file(cx, ref)
        cx.state.case_files.put(ref, replace(file, logbook=file.logbook + 1))
        cx.emit(
            LogbookRecord(
                case_id=ref,
                person_id=said.person_id,
                at_ms=cx.now_ms,
                happened_ms=said.happened_ms,
                text=said.text,
                by=said.by,
                incident_id=said.incident_id,
                file_name=said.file_name,
                file_sha256=said.file_sha256,
            )
        )


def set_check_in(cx: Context, said: SetCheckIn) -> None:
    """Set how often the protected person is heard."""
    if tasks.case_of(cx, "set-check-in", said.case_id, said.by) is not None:
        _set_check_in(cx, said.case_id, said.every_h, said.by)


def _set_check_in(cx: Context, case_id: str, every_h: int, by: str) -> None:
    file = _file(cx, case_id)
    cx.state.case_files.put(case_id, replace(file, check_in_h=every_h))
    due_ms = cx.now_ms + every_h * HOUR_MS if every_h else None
    _next_check_in(cx, case_id, due_ms)
    if every_h != file.check_in_h:
        tasks.record(cx, case_id, CaseChange.CHECK_IN_SET, by=by, due_ms=due_ms)


def _next_check_in(cx: Context, case_id: str, due_ms: int | None) -> None:
    cx.state.timers.clear(f"{MISSED_TIMER}|{case_id}")
    if due_ms is None:
        cx.state.timers.clear(f"{CHECK_IN_TIMER}|{case_id}")
    else:
        cx.state.timers.set(f"{CHECK_IN_TIMER}|{case_id}", due_ms)
    conditions.end(cx, tasks.matter(case_id, "check-in-missed"), "heard-again")


def check_in(cx: Context, said: CheckIn) -> None:
    """She was heard. When she is not well her contact is told at once."""
    case = cx.state.cases.get(said.case_id)
    if case is None or said.person_id not in case.protected_ids:
        detail = "no protected person of this case"
        cx.reject(RejectReason.BAD_CASE, "check-in", said.case_id, detail)
        return
    if len(said.text) > BOOK_TEXT_CHARS_MAX:
        cx.reject(RejectReason.LIMIT, "check-in", said.case_id, "text")
        return
    every_h = _file(cx, said.case_id).check_in_h
    tasks.record(
        cx,
        said.case_id,
        CaseChange.CHECKED_IN,
        by=said.by,
        person_id=said.person_id,
        note=said.text,
        facts={"well": int(said.well)},
    )
    _next_check_in(cx, said.case_id, cx.now_ms + every_h * HOUR_MS if every_h else None)
    if not said.well:
        tasks.tell_owners(cx, case, "asks-to-be-called", case.contact)


def check_in_due(cx: Context, case_id: str) -> None:
    """Her contact is to hear from her now."""
    case = cx.state.cases.get(case_id)
    if case is not None:
        due_ms = cx.now_ms + CHECK_IN_GRACE_MS
        cx.state.timers.set(f"{MISSED_TIMER}|{case_id}", due_ms)
        tasks.record(cx, case_id, CaseChange.CHECK_IN_DUE, due_ms=due_ms)
        tasks.tell_owners(cx, case, "check-in-due", case.contact, due_ms)


def check_in_missed(cx: Context, case_id: str) -> None:
    """Nobody heard from her: a task until somebody does."""
    case = cx.state.cases.get(case_id)
    if case is not None:
        tasks.record(cx, case_id, CaseChange.CHECK_IN_MISSED)
        tasks.task(cx, case, "check-in-missed", case.contact)


def tell_cause(cx: Context, said: TellCause) -> None:
    """Tell the protected person why there was an alarm, unless her case asks for silence.

    She who pressed herself is told whatever the policy: she knows of the alarm.
    """
    incident = cx.state.incidents.get(said.incident_id)
    if not said.by:
        cx.reject(RejectReason.NO_REASON_GIVEN, "tell-cause", said.incident_id, "by")
        return
    person_id = incident.protected_id if incident is not None else None
    if incident is None or person_id is None:
        cx.reject(RejectReason.UNKNOWN_INCIDENT, "tell-cause", said.incident_id)
        return
    pressed = AlarmClass.PANIC in incident.classes
    if cases.victim_policy(cx.state, person_id) is VictimPolicy.SILENT and not pressed:
        cx.reject(RejectReason.SILENT_POLICY, "tell-cause", said.incident_id)
        return
    for device_id in cases.devices_of(cx.state, person_id):
        key = cx.next_key()
        cx.emit(_explained(cx, said, person_id, device_id, incident.opened_ms))
        target, reader = TARGET_PROTECTED_DEVICE, Audience.PROTECTED_PERSON
        cx.state.deliveries.put(key, Delivery("", 0, -1, target, reader))
        cx.state.timers.set(f"forget|{key}", cx.now_ms + KEEP_CLOSED_MS)
    tasks.record(
        cx,
        incident.case_id or "",
        CaseChange.CAUSE_TOLD,
        by=said.by,
        person_id=person_id,
        incident_id=said.incident_id,
        cause=said.cause,
    )


def _explained(
    cx: Context, said: TellCause, person_id: str, device_id: str, opened_ms: int
) -> Notice:
    incident = cx.state.incidents[said.incident_id]
    alarm_class = incident.classes[0] if incident.classes else AlarmClass.PANIC
    facts = Facts(reason=said.cause.value, role=Role.PROTECTED, protected_id=person_id)
    return Notice(
        incident_id=said.incident_id,
        alarm_id=said.incident_id,
        alarm_class=alarm_class,
        priority=Priority.LOW,
        plan_id="",
        step=-1,
        target=TARGET_PROTECTED_DEVICE,
        audience=Audience.PROTECTED_PERSON,
        purpose=Purpose.EXPLANATION,
        text_key=f"{alarm_class}.{Purpose.EXPLANATION}",
        reason=said.cause.value,
        at_ms=cx.now_ms,
        opened_at_ms=opened_ms,
        drill=incident.drill,
        recipient_id=person_id,
        subject_device_id=device_id,
        **{
            name: value
            for name, value in audience.visible(facts, Audience.PROTECTED_PERSON, person_id).items()
            if name != "drill"
        },
    )


def _file(cx: Context, case_id: str) -> CaseFile:
    return cx.state.case_files.get(case_id) or CaseFile(since_ms=cx.now_ms, reviewed_ms=cx.now_ms)
