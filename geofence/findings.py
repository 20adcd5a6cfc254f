"""Events of kernels as findings: ids for row numbers, integers in the units of the records."""

from geofence import codes
from geofence.docket import Docket, OrderEntry
from geofence.layout import EVENTS, LABEL_EXPIRING, NONE_MS, PAIR_EVENT, REQUEST_EVENT, Event
from geofence.orders import enforceable, in_hours, steady_span_ms
from geofence.parameters import BURST_DURATION_S, BURST_INTERVAL_S
from geofence.verdicts import (
    Finding,
    Label,
    Position,
    PositionRequest,
    Verdict,
    VerdictReason,
)

_EVIDENCE_SHIFT = 6
"""From 1/65536 to 1/1024."""


def read_findings(docket: Docket) -> list[Finding]:
    """Take the events out of the ledger and return their findings, in their order.

    A historic breach becomes a verdict when the order was in force and in its hours then, once a
    run of late fixes.
    """
    ledger = docket.undo.ledger
    found: list[Finding] = []
    for row in ledger.events[: int(ledger.counts[EVENTS])].tolist():
        event = Event._make(row)
        entry = docket.entries[event.order]
        if event.kind == REQUEST_EVENT:
            found.append(_request(docket, entry, event))
        elif not event.historic or _tell_historic(docket, entry, event):
            found.append(_verdict(docket, entry, event))
    # Rows kept for the way back stay; events are told once.
    docket.undo.ledger.counts[EVENTS] = 0
    return found


def _request(docket: Docket, entry: OrderEntry, event: Event) -> PositionRequest:
    return PositionRequest(
        person_id=docket.names[event.row],
        order_id=entry.order.id,
        interval_s=BURST_INTERVAL_S,
        duration_s=BURST_DURATION_S,
        reason=codes.REQUESTS[event.reason],
        at_ms=event.at_ms,
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


def _verdict(docket: Docket, entry: OrderEntry, event: Event) -> Verdict:
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
        row = docket.tables.world.pairs[event.row]
        protected_id = docket.names[int(row["protected"])]
        if event.protected_ms != NONE_MS:
            protected = Position(
                event.protected_lat,
                event.protected_lon,
                event.protected_accuracy,
                event.protected_ms,
                event.protected_mechanism,
            )
    zone_id = docket.zone_set.name(event.zone)
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
        zone_version=None if zone_id is None else docket.zone_set.version(zone_id),
        distance_mm=event.distance if measured else None,
        accuracy_mm=event.accuracy if measured else None,
        probability_1024=event.p,
        evidence_1024=event.evidence >> _EVIDENCE_SHIFT,
        speed_mm_s=event.speed if event.speed >= 0 else None,
        closing_mm_s=event.closing if is_pair and measured else None,
        time_to_contact_ms=event.contact_ms if event.contact_ms >= 0 else None,
        wearer_age_ms=None if wearer is None else max(at_ms - wearer.time_ms, 0),
        protected_age_ms=None if protected is None else max(at_ms - protected.time_ms, 0),
        historic=event.historic != 0,
        escalate=_escalates(entry, event),
        labels=_labels(event),
        wearer_position=wearer,
        protected_position=protected,
    )


def _labels(event: Event) -> tuple[Label, ...]:
    bits = event.labels
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
