"""Events of kernels as findings: ids for row numbers, integers in the units of the records."""

from typing import Any

from geofence import codes
from geofence.docket import Docket, OrderEntry
from geofence.layout import EVENTS, LABEL_EXPIRING, NONE_MS, PAIR_EVENT, REQUEST_EVENT
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
    events = ledger.events[: int(ledger.counts[EVENTS])]
    found: list[Finding] = []
    for event in events:
        entry = docket.entries[int(event["order"])]
        if event["kind"] == REQUEST_EVENT:
            found.append(_request(docket, entry, event))
        elif not event["historic"] or _tell_historic(docket, entry, event):
            found.append(_verdict(docket, entry, event))
    # Rows kept for the way back stay; events are told once.
    docket.undo.ledger.counts[EVENTS] = 0
    return found


def _request(docket: Docket, entry: OrderEntry, event: Any) -> PositionRequest:
    return PositionRequest(
        person_id=docket.names[int(event["row"])],
        order_id=entry.order.id,
        interval_s=BURST_INTERVAL_S,
        duration_s=BURST_DURATION_S,
        reason=codes.REQUESTS[int(event["reason"])],
        at_ms=int(event["at_ms"]),
    )


def _tell_historic(docket: Docket, entry: OrderEntry, event: Any) -> bool:
    """Return whether a candidate is a historic breach that was not told; remember the answer."""
    tables, undo = docket.tables, docket.undo
    index = int(event["row"])
    is_pair = event["kind"] == PAIR_EVENT
    row = tables.world.pairs[index] if is_pair else tables.world.units[index]
    run_ms, fix_ms = int(event["run_ms"]), int(event["fix_ms"])
    if row["told_ms"] == run_ms or row["free_from_ms"] <= fix_ms < row["free_to_ms"]:
        return False
    if is_pair:
        undo.keep_pair(tables, index)
    else:
        undo.keep_unit(tables, index)
    if enforceable(entry.order, fix_ms) and in_hours(entry.order, fix_ms):
        # A later run in the same batch has another start, and is told by itself.
        row["told_ms"] = run_ms
        return True
    row["free_from_ms"], row["free_to_ms"] = steady_span_ms(entry.order, fix_ms)
    return False


def _verdict(docket: Docket, entry: OrderEntry, event: Any) -> Verdict:
    order = entry.order
    is_pair = event["kind"] == PAIR_EVENT
    at_ms = int(event["at_ms"])
    measured = bool(event["measured"])
    wearer = _position(event, "wearer")
    protected = _position(event, "protected") if is_pair else None
    protected_id = None
    if is_pair:
        row = docket.tables.world.pairs[int(event["row"])]
        protected_id = docket.names[int(row["protected"])]
    zone_id = docket.zone_names.get(int(event["zone"]))
    contact_ms = int(event["contact_ms"])
    return Verdict(
        order_id=order.id,
        order_kind=order.kind,
        order_version=order.version,
        wearer_id=order.wearer_id,
        protected_id=protected_id,
        plan_id=order.plan_id,
        risk_class=order.risk_class,
        state=codes.STATES[int(event["state"])],
        previous=codes.STATES[int(event["previous"])],
        freshness=codes.FRESHNESS[int(event["fresh"])],
        previous_freshness=codes.FRESHNESS[int(event["previous_fresh"])],
        reason=codes.REASONS[int(event["reason"])],
        at_ms=at_ms,
        fix_ms=_time(event["fix_ms"]),
        zone_id=zone_id,
        zone_version=None if zone_id is None else docket.zones[zone_id].zone.version,
        distance_mm=int(event["distance"]) if measured else None,
        accuracy_mm=int(event["accuracy"]) if measured else None,
        probability_1024=int(event["p"]),
        evidence_1024=int(event["evidence"]) >> _EVIDENCE_SHIFT,
        speed_mm_s=int(event["speed"]) if event["speed"] >= 0 else None,
        closing_mm_s=int(event["closing"]) if is_pair and measured else None,
        time_to_contact_ms=contact_ms if contact_ms >= 0 else None,
        wearer_age_ms=None if wearer is None else max(at_ms - wearer.time_ms, 0),
        protected_age_ms=None if protected is None else max(at_ms - protected.time_ms, 0),
        historic=bool(event["historic"]),
        escalate=_escalates(entry, event),
        labels=_labels(event),
        wearer_position=wearer,
        protected_position=protected,
    )


def _labels(event: Any) -> tuple[Label, ...]:
    bits = int(event["labels"])
    if codes.REASONS[int(event["reason"])] is VerdictReason.ORDER_EXPIRING:
        bits |= LABEL_EXPIRING
    return tuple(label for bit, label in enumerate(codes.LABELS) if bits >> bit & 1)


def _escalates(entry: OrderEntry, event: Any) -> bool:
    """Return whether a verdict may be escalated: a historic one by what held then."""
    if event["historic"]:
        return enforceable(entry.order, int(event["fix_ms"]))
    return bool(event["force"])


def _time(value: Any) -> int | None:
    return None if value == NONE_MS else int(value)


def _position(event: Any, who: str) -> Position | None:
    time_ms = int(event[f"{who}_ms"])
    if time_ms == NONE_MS:
        return None
    return Position(
        lat_e7=int(event[f"{who}_lat"]),
        lon_e7=int(event[f"{who}_lon"]),
        accuracy_mm=int(event[f"{who}_accuracy"]),
        time_ms=time_ms,
        mechanism=int(event[f"{who}_mechanism"]),
    )
