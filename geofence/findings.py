"""Events of kernels as findings: ids for row numbers, integers in the units of the records."""

import struct
from typing import Any, Final

import numpy as np

from geofence import codes
from geofence.docket import Docket, OrderEntry
from geofence.layout import (
    EVENT,
    EVENTS,
    LABEL_CHANGED,
    LABEL_EXPIRING,
    LABEL_HELD,
    NONE_MS,
    PAIR_EVENT,
    REQUEST_EVENT,
    Event,
)
from geofence.ledger import EVIDENCE_SHIFT
from geofence.orders import Presence, enforceable, in_hours, steady_span_ms
from geofence.parameters import (
    BURST_DURATION_S,
    BURST_INTERVAL_S,
    REACH_ACCURACIES,
    REACH_MM,
    RULES_VERSION,
    STEPS_KEPT,
)
from geofence.verdicts import (
    EvidenceStep,
    Finding,
    Label,
    Position,
    PositionRequest,
    Terms,
    Verdict,
    VerdictReason,
)

_REQUEST_COLUMNS = ("row", "order", "reason", "at_ms")


_LETTERS: Final = {"i8": "q", "i4": "i", "i2": "h", "u2": "H", "u1": "B"}
_SCALARS: Final = len(Event._fields)


def _reader(kind: np.dtype[Any]) -> struct.Struct:
    """Return what reads rows of a record type as tuples, without a numpy scalar per number."""
    parts, at = ["="], 0
    assert kind.fields is not None
    for name in kind.names or ():
        column, offset = kind.fields[name][:2]
        parts.append(f"{offset - at}x{column.shape[0] if column.shape else 1}")
        parts.append(_LETTERS[column.base.str[1:]])
        at = offset + column.itemsize
    return struct.Struct("".join([*parts, f"{kind.itemsize - at}x"]))


_EVENT_READER: Final = _reader(EVENT)


def read_findings(docket: Docket) -> list[Finding]:
    """Take the events out of the ledger and return their findings, in their order.

    A historic breach becomes a verdict when the order was in force and in its hours then, once a
    run of late fixes.
    """
    counts = docket.undo.ledger.counts
    events = docket.undo.ledger.events[: int(counts[EVENTS])]
    # Rows kept for the way back stay; events are told once.
    counts[EVENTS] = 0
    if len(events) == 0:
        return []
    found: list[Finding] = []
    entries = docket.entries
    is_verdict = events["kind"] != REQUEST_EVENT
    verdicts = _EVENT_READER.iter_unpack(events[is_verdict].tobytes())
    # Most events are requests, of which few columns count.
    for judged, *request in zip(
        is_verdict.tolist(), *(events[name].tolist() for name in _REQUEST_COLUMNS), strict=True
    ):
        if not judged:
            found.append(_request(docket, *request))
            continue
        values = next(verdicts)
        event = Event._make(values[:_SCALARS])
        entry = entries[event.order]
        if not event.historic or _tell_historic(docket, entry, event):
            found.append(_verdict(docket, entry, event, values[_SCALARS:]))
    return found


def _request(docket: Docket, row: int, order: int, reason: int, at_ms: int) -> PositionRequest:
    return PositionRequest(
        person_id=docket.names[row],
        order_id=docket.entries[order].order.id,
        interval_s=BURST_INTERVAL_S,
        duration_s=BURST_DURATION_S,
        reason=codes.REQUESTS[reason],
        at_ms=at_ms,
    )


def _tell_historic(docket: Docket, entry: OrderEntry, event: Event) -> bool:
    """Return whether a candidate is a historic breach that was not told; remember the answer."""
    tables, undo = docket.tables, docket.undo
    is_pair = event.kind == PAIR_EVENT
    row = tables.world.pairs[event.row] if is_pair else tables.world.units[event.row]
    run_ms, fix_ms = event.run_ms, event.fix_ms
    if row["told_ms"] == run_ms or row["free_from_ms"] <= fix_ms < row["free_to_ms"]:
        return False
    if is_pair:
        undo.keep_pair(tables, event.row)
    else:
        undo.keep_unit(tables, event.row)
    if enforceable(entry.order, fix_ms) and in_hours(entry.order, fix_ms):
        # A later run in the same batch has another start, and is told by itself.
        row["told_ms"] = run_ms
        return True
    row["free_from_ms"], row["free_to_ms"] = steady_span_ms(entry.order, fix_ms)
    return False


def _verdict(docket: Docket, entry: OrderEntry, event: Event, kept: tuple[int, ...]) -> Verdict:
    order = entry.order
    at_ms = event.at_ms
    measured = event.measured != 0
    wearer = protected = protected_id = None
    if event.wearer_ms != NONE_MS:
        wearer = Position(
            event.wearer_lat,
            event.wearer_lon,
            event.wearer_accuracy,
            event.wearer_ms,
            event.wearer_mechanism,
        )
    is_pair = event.kind == PAIR_EVENT
    if is_pair:
        protected_id = docket.names[event.protected]
        if event.protected_ms != NONE_MS:
            protected = Position(
                event.protected_lat,
                event.protected_lon,
                event.protected_accuracy,
                event.protected_ms,
                event.protected_mechanism,
            )
    zone_id, zone_version, since_ms = docket.zone_set.told(event.zone)
    steps = _steps(event, kept) if _shows_steps(event, kept) else ()
    return Verdict(
        order_id=order.id,
        order_kind=order.kind,
        order_version=order.version,
        wearer_id=order.wearer_id,
        protected_id=protected_id,
        plan_id=order.plan_id,
        risk_class=order.risk_class,
        state=codes.STATES[event.state],
        previous=codes.STATES[event.previous],
        freshness=codes.FRESHNESS[event.fresh],
        previous_freshness=codes.FRESHNESS[event.previous_fresh],
        reason=codes.REASONS[event.reason],
        at_ms=at_ms,
        fix_ms=None if event.fix_ms == NONE_MS else event.fix_ms,
        zone_id=zone_id,
        zone_version=zone_version,
        zone_since_ms=since_ms,
        distance_mm=event.distance if measured else None,
        accuracy_mm=event.accuracy if measured else None,
        probability_1024=event.p,
        evidence_1024=event.evidence >> EVIDENCE_SHIFT,
        threshold_1024=event.threshold >> EVIDENCE_SHIFT,
        rules_version=RULES_VERSION,
        speed_mm_s=event.speed if event.speed >= 0 else None,
        closing_mm_s=event.closing if is_pair and measured else None,
        time_to_contact_ms=event.contact_ms if event.contact_ms >= 0 else None,
        wearer_age_ms=None if wearer is None else max(at_ms - wearer.time_ms, 0),
        protected_age_ms=None if protected is None else max(at_ms - protected.time_ms, 0),
        historic=event.historic != 0,
        escalate=_escalates(entry, event),
        labels=_labels(event, since_ms),
        wearer_position=wearer,
        protected_position=protected,
        steps=steps,
        steps_total=event.steps if steps else 0,
        terms=_terms(entry, docket.zone_texts.get(event.zone, "")),
    )


def _shows_steps(event: Event, kept: tuple[int, ...]) -> bool:
    """Return whether the steps of a row still speak of the present: not once they are forgotten."""
    if event.steps == 0:
        return False
    last = (event.steps - 1) // _stride(event.steps)
    return event.evidence > 0 or kept[last] == event.fix_ms


def _stride(steps: int) -> int:
    stride = 1
    while (steps - 1) // stride >= STEPS_KEPT:
        stride *= 2
    return stride


def _steps(event: Event, kept: tuple[int, ...]) -> tuple[EvidenceStep, ...]:
    """Return how the evidence grew (geofence.ledger.remember_step), oldest first.

    `kept` are the columns of the steps one after another, STEPS_KEPT numbers each.
    """
    beyond_mm = REACH_MM + event.ring
    is_bound = event.kind != PAIR_EVENT
    return tuple(
        [
            EvidenceStep(
                kept[k],
                distance,
                is_bound and abs(distance) > REACH_ACCURACIES * accuracy + beyond_mm,
                accuracy,
                kept[3 * STEPS_KEPT + k],
                kept[4 * STEPS_KEPT + k],
            )
            for k in range((event.steps - 1) // _stride(event.steps) + 1)
            for distance, accuracy in [(kept[STEPS_KEPT + k], kept[2 * STEPS_KEPT + k])]
        ]
    )


def _terms(entry: OrderEntry, zone_name: str) -> Terms:
    """Return what an order says, made once while it says the same."""
    order, told = entry.order, entry.told
    if told is not None and told[0] is order and told[1].zone_name == zone_name:
        return told[1]
    terms = Terms(
        title=order.title,
        authority=order.authority,
        case_number=order.case_number,
        zone_name=zone_name,
        radius_m=order.radius_m,
        warning_m=order.warning_m,
        buffer_m=order.buffer_m,
        time_to_contact_s=order.time_to_contact_s,
        report_duty=order.presence is Presence.ONCE,
        scheduled=order.schedule is not None,
        valid_from_ms=order.valid_from_ms,
        valid_to_ms=order.valid_to_ms,
        served_at_ms=order.served_at_ms,
    )
    entry.told = order, terms
    return terms


def _labels(event: Event, zone_since_ms: int | None) -> tuple[Label, ...]:
    bits = event.labels if event.measured else event.labels & ~LABEL_HELD
    if event.historic and zone_since_ms is not None and event.fix_ms < zone_since_ms:
        bits |= LABEL_CHANGED
    if codes.REASONS[event.reason] is VerdictReason.ORDER_EXPIRING:
        bits |= LABEL_EXPIRING
    if not bits:
        return ()
    return tuple(label for bit, label in enumerate(codes.LABELS) if bits >> bit & 1)


def _escalates(entry: OrderEntry, event: Event) -> bool:
    """Return whether a verdict may be escalated: a historic one by what held then."""
    if event.historic:
        return enforceable(entry.order, event.fix_ms)
    return event.force != 0
