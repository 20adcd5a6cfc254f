"""Events of kernels as findings: ids for row numbers, integers in the units of the records."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from geofence import codes
from geofence.docket import Docket, OrderEntry
from geofence.layout import (
    EVENTS,
    LABEL_CHANGED,
    LABEL_EXPIRING,
    LABEL_HELD,
    NONE_MS,
    PAIR_EVENT,
    REQUEST_EVENT,
    Event,
    Rows,
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


class _Facts(NamedTuple):
    """What the row of an event says of it beside the event: evidence in 1/65536, ring in mm."""

    threshold: int
    ring: int
    protected: int


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
    verdicts = _read_verdicts(docket, events[is_verdict])
    # Most events are requests, of which few columns count.
    for judged, *request in zip(
        is_verdict.tolist(), *(events[name].tolist() for name in _REQUEST_COLUMNS), strict=True
    ):
        if not judged:
            found.append(_request(docket, *request))
            continue
        event, facts = next(verdicts)
        entry = entries[event.order]
        if not event.historic or _tell_historic(docket, entry, event):
            found.append(_verdict(docket, entry, event, facts))
    return found


def _read_verdicts(docket: Docket, events: Rows) -> Iterator[tuple[Event, _Facts]]:
    """Read events and their rows by column: a number out of a row costs as much as a column."""
    world = docket.tables.world
    of_pair = events["kind"] == PAIR_EVENT
    rows = events["row"]
    pairs, units = world.pairs[rows[of_pair]], world.units[rows[~of_pair]]
    threshold, ring, protected = np.zeros((3, len(events)), np.int64)
    threshold[of_pair], threshold[~of_pair] = pairs["threshold"], units["threshold"]
    ring[~of_pair] = units["ring"]
    protected[of_pair] = pairs["protected"]
    columns = (events[name].tolist() for name in Event._fields)
    facts = (column.tolist() for column in (threshold, ring, protected))
    return zip(
        map(Event._make, zip(*columns, strict=True)),
        map(_Facts._make, zip(*facts, strict=True)),
        strict=True,
    )


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


def _verdict(docket: Docket, entry: OrderEntry, event: Event, facts: _Facts) -> Verdict:
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
        protected_id = docket.names[facts.protected]
        if event.protected_ms != NONE_MS:
            protected = Position(
                event.protected_lat,
                event.protected_lon,
                event.protected_accuracy,
                event.protected_ms,
                event.protected_mechanism,
            )
    zone_id, zone_version, since_ms = docket.zone_set.told(event.zone)
    steps = _steps(event, facts.ring) if _shows_steps(event) else ()
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
        threshold_1024=facts.threshold >> EVIDENCE_SHIFT,
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


def _shows_steps(event: Event) -> bool:
    """Return whether the steps of a row still speak of the present: not once they are forgotten."""
    if event.steps == 0:
        return False
    last = (event.steps - 1) // _stride(event.steps)
    return event.evidence > 0 or event.step_ms[last] == event.fix_ms


def _stride(steps: int) -> int:
    stride = 1
    while (steps - 1) // stride >= STEPS_KEPT:
        stride *= 2
    return stride


def _steps(event: Event, ring_mm: int) -> tuple[EvidenceStep, ...]:
    """Return how the evidence grew (geofence.ledger.remember_step), oldest first."""
    kept = (event.steps - 1) // _stride(event.steps) + 1
    beyond_mm = REACH_MM + ring_mm
    is_bound = event.kind != PAIR_EVENT
    return tuple(
        EvidenceStep(
            fix_ms,
            distance,
            is_bound and abs(distance) > REACH_ACCURACIES * accuracy + beyond_mm,
            accuracy,
            p_1024,
            evidence,
        )
        for fix_ms, distance, accuracy, p_1024, evidence in zip(
            event.step_ms[:kept],
            event.step_distance[:kept],
            event.step_accuracy[:kept],
            event.step_p[:kept],
            event.step_evidence[:kept],
            strict=True,
        )
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
