"""Contact bans: a pair, judged when either of it reports and when either is silent.

P(d < R) = Phi((R - sqrt(D^2 + s^2)) / s) with s^2 of both errors, each grown by the age of its
position; the 5 % of a jump as for zones. The decisive figure is the time to contact: the way left
to the radius over the closing speed.
"""

import math
from typing import Any, NamedTuple

from afstand.compile import jit_inline, jit_part
from geofence import codes
from geofence.areas import Fix, is_worse, remember_stay, speaks
from geofence.decision import (
    CLEAR,
    CONFIRMED,
    POSSIBLE,
    UNKNOWN,
    WARNING,
    drift_mm_s,
    held_sigma_mm,
    next_state,
    probability_1024,
    step_evidence,
    weight,
)
from geofence.integers import wide
from geofence.kernels.projection import chord_mm
from geofence.layout import (
    ALIKE_TOLD,
    BLIND,
    FRESH,
    LABEL_COALESCED,
    LABEL_HELD,
    LABEL_PARALLEL,
    LABEL_PREDICTED,
    LABEL_STANDSTILL,
    MOVED,
    NONE_MS,
    PAIR_EVENT,
    PROTECTED_STALE,
    WEARER_STALE,
    Ledger,
    World,
)
from geofence.ledger import (
    COUNTED,
    UNCOUNTED,
    keep_pair,
    keep_person,
    new_event,
    protected_at,
    remember_step,
    request_fix,
    show_evidence,
    wearer_at,
)
from geofence.motion import vector_mm
from geofence.parameters import (
    AHEAD_MS,
    BEHIND_MS,
    CLOSING_MIN_MM_S,
    DOUBT_1024,
    FIRST_FIX_MS,
    PARALLEL_SPEED_MM_S,
    POSSIBLE_1024,
    REQUEST_GAP_MS,
    RING_ENTER_1024,
    SEGMENT_MAX_MS,
    SPEED_MAX_MM_PER_MS,
    STALE_PARTNER_MS,
    TOGETHER_MS,
    VELOCITY_AGE_MAX_MS,
    WALK_MM_S,
)

_NO_CONTACT_MS = -1
_CLOSING_SURE = 2
"""Judgements in a row that contact is near before it warns, or is not before that ends."""


class Contact(NamedTuple):
    """What the two last positions of a pair say at one instant."""

    distance_mm: int
    sigma: float
    p_1024: int
    ring_1024: int
    closing_mm_s: int
    closing_wearer_mm_s: int
    """The part of the closing speed that is the wearer's."""
    contact_ms: int
    """Time to contact at the present closing speed; -1: not closing."""
    parallel: bool
    predicted: bool


@jit_inline
def age_ms(time_ms: int, position_ms: int) -> int:
    """Return how far a position is from an instant; a partner's may be ahead of it."""
    return abs(time_ms - position_ms)


@jit_inline
def is_stale(person: Any, silence_ms: int, now_ms: int) -> bool:
    """Return whether a person is silent for an order; before the first fix from when it was put."""
    since = person["last_ms"] if person["last_ms"] != NONE_MS else person["since_ms"]
    return bool(now_ms - since >= silence_ms)


@jit_inline
def freshness(wearer: Any, protected: Any, silence_ms: int, now_ms: int) -> int:
    """Return whose position is too old."""
    stale = WEARER_STALE if is_stale(wearer, silence_ms, now_ms) else FRESH
    if is_stale(protected, silence_ms, now_ms):
        return BLIND if stale == WEARER_STALE else PROTECTED_STALE
    return stale


@jit_part
def contact_of(row: Any, a: Any, b: Any, time_ms: int) -> Contact:
    """Judge the positions of a pair at an instant."""
    age_a = age_ms(time_ms, wide(a["last_ms"]))
    age_b = age_ms(time_ms, wide(b["last_ms"]))
    lat_a, lon_a, lat_b, lon_b = (
        wide(a["lat"]),
        wide(a["lon"]),
        wide(b["lat"]),
        wide(b["lon"]),
    )
    dn, de = vector_mm(lat_a, lon_a, lat_b, lon_b)
    shift_an, shift_ae = shift_mm(a, time_ms)
    shift_bn, shift_be = shift_mm(b, time_ms)
    dn += shift_bn - shift_an
    de += shift_be - shift_ae
    predicted = shift_an != 0.0 or shift_ae != 0.0 or shift_bn != 0.0 or shift_be != 0.0
    length = math.sqrt(dn * dn + de * de)
    distance = chord_mm(lat_a, lon_a, lat_b, lon_b)
    if predicted:
        distance = math.floor(length + 0.5)
    sa = held_sigma_mm(wide(a["accuracy"]), wide(a["speed"]), age_a)
    sb = held_sigma_mm(wide(b["accuracy"]), wide(b["speed"]), age_b)
    s = math.sqrt(sa * sa + sb * sb)
    apart = math.sqrt(float(distance) * float(distance) + s * s)
    radius = wide(row["radius"])
    warning = wide(row["warning"])
    p_1024 = probability_1024(float(radius) - apart, s)
    ring_1024 = probability_1024(float(warning) - apart, s) if warning > 0 else 0
    north_a, east_a, north_b, east_b = 0.0, 0.0, 0.0, 0.0
    if age_a <= VELOCITY_AGE_MAX_MS:
        north_a, east_a = float(a["north"]), float(a["east"])
    if age_b <= VELOCITY_AGE_MAX_MS:
        north_b, east_b = float(b["north"]), float(b["east"])
    closing_a = 0.0
    closing_b = 0.0
    if length > 0.0:
        closing_a = (north_a * dn + east_a * de) / length
        closing_b = -(north_b * dn + east_b * de) / length
    closing = math.floor(closing_a + closing_b + 0.5)
    contact = _NO_CONTACT_MS
    # What both have come nearer since then, beyond what is predicted already.
    if not predicted:
        nearer = max(closing_a, 0.0) * age_a / 1000.0 + max(closing_b, 0.0) * age_b / 1000.0
    else:
        nearer = 0.0
    left = float(distance - radius) - nearer
    if distance <= radius:
        contact = 0
    elif closing >= CLOSING_MIN_MM_S:
        contact = math.floor(max(left, 0.0) * 1000.0 / closing + 0.5)
    return Contact(
        distance,
        s,
        p_1024,
        ring_1024,
        closing,
        math.floor(closing_a + 0.5),
        contact,
        parallel(north_a, east_a, north_b, east_b),
        predicted,
    )


@jit_inline
def shift_mm(person: Any, time_ms: int) -> tuple[float, float]:
    """Return how far somebody who drives is moved on, or back, from the last position."""
    if person["speed"] < WALK_MM_S:
        return 0.0, 0.0
    dt_ms = min(max(time_ms - wide(person["last_ms"]), -BEHIND_MS), AHEAD_MS)
    return person["north"] * (dt_ms / 1000.0), person["east"] * (dt_ms / 1000.0)


@jit_inline
def parallel(north_a: float, east_a: float, north_b: float, east_b: float) -> bool:
    """Return whether both move fast and alike: the same train or motorway. A label, no more."""
    speed_a = math.sqrt(north_a * north_a + east_a * east_a)
    speed_b = math.sqrt(north_b * north_b + east_b * east_b)
    apart = math.sqrt((north_a - north_b) ** 2 + (east_a - east_b) ** 2)
    slower = min(speed_a, speed_b)
    return slower >= PARALLEL_SPEED_MM_S and apart <= 0.25 * slower


@jit_inline
def shown_pair(row: Any) -> int:
    """Return what a pair shows: its evidence in the hours of the order."""
    if row["inner"] == UNKNOWN:
        return UNKNOWN
    return wide(row["inner"]) if row["open"] else CLEAR


@jit_part
def passage(world: World, row: Any, mover: int, fix: Fix, c: Contact) -> tuple[int, int]:
    """Return (P that the path since the last fix ran through the radius, its nearest distance).

    A path that began inside is no passage. It is the path as seen from the partner, who is moved
    along when driving; it is uncertain by half of its duration times the drift.
    """
    partner = world.persons[row["protected"] if row["wearer"] == mover else row["wearer"]]
    x0, y0 = vector_mm(wide(partner["lat"]), wide(partner["lon"]), fix.last_lat, fix.last_lon)
    x1, y1 = vector_mm(wide(partner["lat"]), wide(partner["lon"]), fix.lat, fix.lon)
    north0, east0 = shift_mm(partner, fix.time_ms - fix.path_ms)
    north1, east1 = shift_mm(partner, fix.time_ms)
    x0 -= north0
    y0 -= east0
    x1 -= north1
    y1 -= east1
    if x0 * x0 + y0 * y0 < float(row["radius"]) * float(row["radius"]):
        return 0, 0
    dx = x1 - x0
    dy = y1 - y0
    length2 = dx * dx + dy * dy
    t = 0.0
    if length2 > 0.0:
        t = min(max(-(x0 * dx + y0 * dy) / length2, 0.0), 1.0)
    nearest = math.sqrt((x0 + t * dx) ** 2 + (y0 + t * dy) ** 2)
    off = drift_mm_s(fix.speed) * (fix.path_ms / 2000.0)
    s = math.sqrt(c.sigma * c.sigma + off * off)
    apart = math.floor(math.sqrt(nearest * nearest + s * s) + 0.5)
    return probability_1024(float(wide(row["radius"]) - apart), s), math.floor(nearest + 0.5)


@jit_part
def judge_pair(
    world: World, ledger: Ledger, index: int, fix: Fix, mover: int, now_ms: int, reason: int
) -> None:
    """Judge a pair at the time of a fix of `mover`, or at an instant of time (`mover` -1).

    Without a mover nothing is new: freshness, ring and time to contact may change, evidence does
    not, and a breach stands. `reason` names the cause of a change that is not one of evidence (-1:
    none).
    """
    keep_pair(world, ledger, index)
    feed = mover >= 0
    row = world.pairs[index]
    a = world.persons[row["wearer"]]
    b = world.persons[row["protected"]]
    fresh = freshness(a, b, wide(row["silence_ms"]), now_ms)
    was_shown = shown_pair(row)
    if a["last_ms"] == NONE_MS or b["last_ms"] == NONE_MS:
        nothing = Contact(0, 1.0, 0, 0, 0, 0, _NO_CONTACT_MS, False, False)
        by_time = row["near"] != 0
        tell_pair(
            world,
            ledger,
            index,
            fresh,
            fix,
            now_ms,
            reason,
            nothing,
            feed,
            by_time,
            wide(0),
            was_shown,
        )
        if feed and row["force"] and row["open"] and not fix.waits:
            missing = wide(row["wearer"]) if a["last_ms"] == NONE_MS else wide(row["protected"])
            ask(world, ledger, missing, row, now_ms, codes.ASK_PARTNER, wide(COUNTED))
        return
    c = contact_of(row, a, b, fix.time_ms)
    before = wide(row["inner"])
    was_near = row["near"] != 0
    passed = wide(0)
    if feed:
        part = c.closing_wearer_mm_s
        if mover != row["wearer"]:
            part = c.closing_mm_s - part
        count_closing(row, c, part)
        passed = feed_pair(world, row, mover, fix, c)
    elif before not in (CONFIRMED, POSSIBLE):
        row["inner"] = next_state(before, 0, wide(row["threshold"]), 0, c.ring_1024)
    if row["inner"] == CLEAR and row["near"]:
        row["inner"] = WARNING
    remember_stay(row, before, wide(row["inner"]), fix.time_ms)
    by_time = (was_near or row["near"] != 0) and c.ring_1024 < RING_ENTER_1024
    tell_pair(world, ledger, index, fresh, fix, now_ms, reason, c, feed, by_time, passed, was_shown)
    if row["force"] and row["open"] and not fix.waits:
        ask_pair(world, ledger, row, c, fix.time_ms, now_ms, feed)


@jit_part
def feed_pair(world: World, row: Any, mover: int, fix: Fix, c: Contact) -> int:
    """Add a fix to the evidence of a pair; return P of a passage that counted, else 0."""
    state = wide(row["inner"])
    threshold = wide(row["threshold"])
    judged_ms = wide(row["judged_ms"])
    again = judged_ms != NONE_MS and fix.time_ms - row["together_ms"] <= TOGETHER_MS
    if not again:
        row["before"] = row["evidence"]
        row["before_ms"] = judged_ms
        row["together_ms"] = fix.time_ms
    evidence = wide(row["before"])
    dt_ms = FIRST_FIX_MS
    if row["before_ms"] != NONE_MS:
        dt_ms = max(fix.time_ms - wide(row["before_ms"]), 0)
    row["judged_ms"] = max(judged_ms, fix.time_ms)
    a = world.persons[row["wearer"]]
    b = world.persons[row["protected"]]
    leapt = max(wide(a["leapt"]), wide(b["leapt"]))
    passed = 0
    told_mm = c.distance_mm
    has_path = 0 <= fix.path_ms <= SEGMENT_MAX_MS and fix.moved_mm > 0
    near = c.distance_mm - wide(row["radius"]) <= fix.moved_mm
    if has_path and near and state != CONFIRMED and c.p_1024 < POSSIBLE_1024:
        passed, nearest = passage(world, row, mover, fix, c)
        if nearest >= row["radius"] or passed <= c.p_1024:
            passed = 0
        else:
            told_mm = nearest
    if passed > 0:
        half = weight(dt_ms, passed, leapt) >> 1
        evidence = step_evidence(evidence, passed, half, threshold)
        if evidence >= threshold:
            state = CONFIRMED
        half = weight(dt_ms, c.p_1024, leapt) >> 1
        evidence = step_evidence(evidence, c.p_1024, half, threshold)
    else:
        w = weight(dt_ms, c.p_1024, leapt)
        evidence = step_evidence(evidence, c.p_1024, w, threshold)
    remember_step(
        row,
        wide(row["before"]),
        evidence,
        again,
        fix.time_ms,
        told_mm,
        pair_accuracy(a, b),
        max(c.p_1024, passed),
    )
    row["evidence"] = evidence
    row["inner"] = next_state(state, evidence, threshold, max(c.p_1024, passed), c.ring_1024)
    return passed


@jit_inline
def pair_accuracy(a: Any, b: Any) -> int:
    """Return the 68 % radius of the way between two reported positions."""
    return math.floor(math.sqrt(float(a["accuracy"]) ** 2 + float(b["accuracy"]) ** 2) + 0.5)


@jit_inline
def count_closing(row: Any, c: Contact, part_mm_s: int) -> None:
    """Count judgements that contact is near: two in a row warn, two of the opposite end it.

    Only the fix of one who comes nearer counts up; the other one's repeats what was known.
    """
    limit = wide(row["contact_ms"])
    if limit == 0:
        return
    count = wide(row["closing"])
    if 0 <= c.contact_ms <= limit:
        if part_mm_s >= CLOSING_MIN_MM_S // 2:
            count = min(count + 1, _CLOSING_SURE)
    elif c.contact_ms < 0 or 2 * c.contact_ms > 3 * limit:
        count = max(count - 1, 0)
    row["closing"] = count
    if count == _CLOSING_SURE:
        row["near"] = 1
    elif count == 0:
        row["near"] = 0


@jit_part
def ask(
    world: World, ledger: Ledger, person: int, row: Any, now_ms: int, reason: int, counted: int
) -> None:
    """Ask a person of a pair for a burst."""
    asked_ms = world.persons[person]["requested_ms"]
    if asked_ms != NONE_MS and now_ms - asked_ms < REQUEST_GAP_MS:
        return
    keep_person(world, ledger, person)
    request_fix(world, ledger, person, wide(row["order"]), now_ms, reason, counted)


@jit_part
def ask_pair(
    world: World,
    ledger: Ledger,
    row: Any,
    c: Contact,
    time_ms: int,
    now_ms: int,
    feed: bool,
) -> None:
    """Ask for positions where the answer is open: possible, approach, doubt, stale partner."""
    wearer = wide(row["wearer"])
    protected = wide(row["protected"])
    state = wide(row["inner"])
    approach = row["contact_ms"] > 0 and 0 <= c.contact_ms <= row["contact_ms"]
    if feed and state == POSSIBLE:
        ask(world, ledger, wearer, row, now_ms, codes.ASK_POSSIBLE, wide(UNCOUNTED))
        ask(world, ledger, protected, row, now_ms, codes.ASK_POSSIBLE, wide(UNCOUNTED))
    elif feed and approach and state != CONFIRMED:
        ask(world, ledger, wearer, row, now_ms, codes.ASK_APPROACH, wide(UNCOUNTED))
        ask(world, ledger, protected, row, now_ms, codes.ASK_APPROACH, wide(UNCOUNTED))
    elif feed and DOUBT_1024 <= c.p_1024 < POSSIBLE_1024:
        ask(world, ledger, wearer, row, now_ms, codes.ASK_DOUBTFUL, wide(COUNTED))
        ask(world, ledger, protected, row, now_ms, codes.ASK_DOUBTFUL, wide(COUNTED))
    ages = 0
    for person in (wearer, protected):
        ages += age_ms(time_ms, wide(world.persons[person]["last_ms"]))
    ring = max(wide(row["radius"]), wide(row["warning"]))
    within = c.distance_mm - ring <= SPEED_MAX_MM_PER_MS * ages
    for person in (wearer, protected):
        age = age_ms(time_ms, wide(world.persons[person]["last_ms"]))
        doubtful = age >= STALE_PARTNER_MS and c.ring_1024 >= DOUBT_1024
        if doubtful or (within and age >= row["silence_ms"]):
            ask(world, ledger, person, row, now_ms, codes.ASK_PARTNER, wide(COUNTED))


@jit_part
def tell_pair(
    world: World,
    ledger: Ledger,
    index: int,
    now_fresh: int,
    fix: Fix,
    now_ms: int,
    reason: int,
    c: Contact,
    feed: bool,
    by_time: bool,
    passed: int,
    was_shown: int,
) -> None:
    """Compare what a pair shows with what was told last, and tell the difference.

    `was_shown` as for geofence.areas.settle.
    """
    row = world.pairs[index]
    shown = wide(row["shown"])
    fresh = wide(row["fresh"])
    now_shown = shown_pair(row)
    alike = count_alike(row, now_shown, c.parallel, feed)
    rises = is_worse(fix, shown, was_shown, now_shown)
    changed = now_shown != shown or now_fresh != fresh or reason >= 0
    if not speaks(fix, changed, alike or rises):
        return
    row["shown"] = now_shown
    row["fresh"] = now_fresh
    if reason < 0 and now_shown == shown and not rises:
        reason = remark_reason(fresh, now_fresh)
    elif reason < 0:
        reason = pair_reason(shown, now_shown, by_time, passed)
    if c.parallel:
        row["alike"] = ALIKE_TOLD
    event = new_event(ledger, wide(PAIR_EVENT), index, wide(row["order"]), now_ms)
    e = ledger.events[event]
    e["reason"] = reason
    e["state"] = now_shown
    e["previous"] = shown
    e["fresh"] = now_fresh
    e["previous_fresh"] = fresh
    e["force"] = row["force"]
    e["protected"] = row["protected"]
    show_evidence(e, row)
    if c.parallel:
        e["labels"] = LABEL_PARALLEL
    if c.predicted:
        e["labels"] = e["labels"] | LABEL_PREDICTED
    if not feed:
        e["labels"] = e["labels"] | LABEL_HELD
    e["labels"] = e["labels"] | (fix.labels & LABEL_COALESCED)
    a = world.persons[row["wearer"]]
    b = world.persons[row["protected"]]
    if a["leapt"] != MOVED or b["leapt"] != MOVED:
        e["labels"] = e["labels"] | LABEL_STANDSTILL
    e["speed"] = a["speed"]
    if a["last_ms"] != NONE_MS:
        wearer_at(
            ledger,
            event,
            wide(a["last_ms"]),
            wide(a["lat"]),
            wide(a["lon"]),
            wide(a["accuracy"]),
            wide(a["mechanism"]),
        )
    if b["last_ms"] != NONE_MS:
        protected_at(
            ledger,
            event,
            wide(b["last_ms"]),
            wide(b["lat"]),
            wide(b["lon"]),
            wide(b["accuracy"]),
            wide(b["mechanism"]),
        )
    if a["last_ms"] != NONE_MS and b["last_ms"] != NONE_MS:
        e["measured"] = 1
        e["fix_ms"] = max(a["last_ms"], b["last_ms"])
        e["distance"] = c.distance_mm
        e["accuracy"] = pair_accuracy(a, b)
        e["p"] = max(c.p_1024, passed)
        e["closing"] = c.closing_mm_s
        e["contact_ms"] = c.contact_ms


@jit_inline
def count_alike(row: Any, now_shown: int, is_parallel: bool, feed: bool) -> bool:
    """Count judgements of travelling alike; return whether that is news of a stay or an approach.

    A stay may begin long before both drive off together: who handles it has to hear of it then.
    """
    told = row["alike"] == ALIKE_TOLD
    if now_shown in (CLEAR, UNKNOWN):
        row["alike"] = 0
    elif feed and not told:
        row["alike"] = row["alike"] + 1 if is_parallel else 0
        return bool(row["alike"] == ALIKE_TOLD)
    return False


@jit_inline
def silent_reason(fresh: int) -> int:
    """Return which silence a freshness means."""
    if fresh == BLIND:
        return codes.BOTH_SILENT
    return codes.WEARER_SILENT if fresh == WEARER_STALE else codes.PROTECTED_SILENT


@jit_inline
def remark_reason(fresh: int, now_fresh: int) -> int:
    """Return the reason of what is told without a change of state."""
    if now_fresh & ~fresh:
        return silent_reason(now_fresh)
    return codes.SILENCE_ENDED if now_fresh != fresh else codes.TRAVELLING_ALIKE


@jit_inline
def pair_reason(shown: int, now_shown: int, by_time: bool, passed: int) -> int:
    """Return the reason of a change of state."""
    if now_shown == CONFIRMED:
        return codes.PASSED_THROUGH if passed > 0 else codes.EVIDENCE_CONFIRMED
    if now_shown == POSSIBLE:
        return codes.PASSED_THROUGH if passed > 0 else codes.ONE_FIX
    if shown == CONFIRMED:
        return codes.CLEARED
    if shown == POSSIBLE:
        return codes.DOUBT_ENDED
    if now_shown == WARNING:
        return codes.TIME_TO_CONTACT if by_time else codes.INSIDE_WARNING_RING
    if shown == WARNING:
        return codes.CONTACT_NO_LONGER_NEAR if by_time else codes.LEFT_WARNING_RING
    return codes.FIRST_POSITION
