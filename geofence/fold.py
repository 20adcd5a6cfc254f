"""Folding a batch of fixes into the rows: one pass, in the order of device time."""

from typing import Any

from afstand.compile import jit_hot, jit_inline, jit_part
from geofence import codes
from geofence.areas import new_fix, observe_units
from geofence.clearing import BANS, CLEARING_COLUMNS, HOMES, in_clearing
from geofence.coalescing import LAT_MAX, LON_MAX, coalesce
from geofence.history import observe_past_pairs, observe_past_units
from geofence.integers import wide
from geofence.kernels.arrays import HEAD_COLUMNS
from geofence.kernels.prefetch import prefetch
from geofence.layout import (
    CACHE_LINE_BYTES,
    DOUBTED,
    DUPLICATES,
    FIXES,
    FUTURE,
    LABEL_SPEED,
    LABEL_STANDSTILL,
    LATE,
    LEAP,
    LEAPT,
    LEG,
    MOVED,
    NONE_MS,
    PERSON,
    UNIT_ROW,
    UNUSABLE,
    Integers,
    Ledger,
    World,
)
from geofence.ledger import (
    UNCOUNTED,
    accuracy_of,
    keep_person,
    push_point,
    request_fix,
    set_due,
)
from geofence.motion import displacement_mm, implausible, speed_of, update_velocity
from geofence.pairs import judge_pair
from geofence.parameters import (
    FIRST_FIX_MS,
    FUTURE_MAX_MS,
    LEAP_ACCURACIES,
    SPEED_UNKNOWN,
    STILL_MM_S,
)
from geofence.silence import has_room

# How far ahead rows are fetched, in fixes: memory takes about as long as two of them.
_FAR_AHEAD = 14
_NEAR_AHEAD = 9
_SOON_AHEAD = 4
_LINE = CACHE_LINE_BYTES
_LEGS_AHEAD = 1024
_PERSON_BYTES = PERSON.itemsize
_LEG_BYTES = LEG.itemsize
_UNIT_BYTES = UNIT_ROW.itemsize
# So near to a fix a zone will probably be asked for, degrees x 1e7: 150 m.
_SOON_LAT = 14_000
_SOON_LON = 22_000


@jit_part
def fold_fixes(
    world: World,
    ledger: Ledger,
    zones: Any,
    fixes: Any,
    order: Integers,
    newer: Integers,
    first: int,
    now_ms: int,
) -> int:
    """Fold fixes in the given order, from `first`; return how far the ledger had room.

    `fixes` is a FixBatch of int64 columns, `order` its permutation by device time, `newer` of an
    entry that was taken while the intake was behind as in geofence.coalescing, else empty.
    """
    stays = wide(0)
    for k in range(first, order.size):
        stays = fetch_ahead(world, zones, fixes, order, k, stays)
        i = order[k]
        person = wide(fixes.person[i])
        if not has_room(world, ledger, person):
            return k
        time_ms = wide(fixes.time_ms[i])
        lat = wide(fixes.lat_e7[i])
        lon = wide(fixes.lon_e7[i])
        ledger.counts[FIXES] += 1
        if time_ms > now_ms + FUTURE_MAX_MS:
            ledger.counts[FUTURE] += 1
            continue
        if time_ms <= 0 or abs(lat) > LAT_MAX or abs(lon) > LON_MAX:
            ledger.counts[UNUSABLE] += 1
            continue
        fold_fix(
            world,
            ledger,
            zones,
            person,
            min(time_ms, now_ms),
            lat,
            lon,
            accuracy_of(wide(fixes.accuracy_dm[i]), wide(fixes.mechanism[i])),
            wide(fixes.mechanism[i]),
            wide(fixes.speed_cm_s[i]),
            wide(fixes.heading_cdeg[i]),
            now_ms,
            fixes,
            order,
            newer,
            k,
        )
    return wide(order.size)


@jit_hot
def fetch_ahead(world: World, zones: Any, fixes: Any, order: Integers, k: int, stays: int) -> int:
    """Ask for the rows of fixes to come: the person's, the legs, then the zones that are near.

    `stays` has a bit for each of the last fixes looked at: 1 for one that will probably need
    nothing more than its person; it is returned with the bit of one more.
    """
    if k + _FAR_AHEAD < order.size:
        person = fixes.person[order[k + _FAR_AHEAD]]
        for offset in range(0, _PERSON_BYTES, _LINE):
            prefetch(world.persons, person, offset)
        prefetch(world.due, person, 0)
        prefetch(world.clearings, person * CLEARING_COLUMNS, 0)
    stays = stays << 1
    if k + _NEAR_AHEAD < order.size:
        i = order[k + _NEAR_AHEAD]
        if _stays(world, fixes, i):
            stays |= 1
        else:
            p = world.persons[fixes.person[i]]
            leg0 = wide(p["leg0"])
            for offset in range(0, min(wide(p["legs"]) * _LEG_BYTES, _LEGS_AHEAD) + _LINE, _LINE):
                prefetch(world.legs, leg0, offset)
            for offset in range(0, min(wide(p["units"]) * _UNIT_BYTES, _LEGS_AHEAD) + _LINE, _LINE):
                prefetch(world.units, wide(p["unit0"]), offset)
    if (stays >> (_NEAR_AHEAD - _SOON_AHEAD)) & 1 == 0 and k + _SOON_AHEAD < order.size:
        i = order[k + _SOON_AHEAD]
        p = world.persons[fixes.person[i]]
        lat, lon = wide(fixes.lat_e7[i]), wide(fixes.lon_e7[i])
        leg0 = wide(p["leg0"])
        for j in range(leg0, leg0 + wide(p["legs"])):
            leg = world.legs[j]
            if (
                (leg["south"] <= lat + _SOON_LAT)
                & (leg["north"] >= lat - _SOON_LAT)
                & (leg["west"] <= lon + _SOON_LON)
                & (leg["east"] >= lon - _SOON_LON)
            ):
                prefetch(zones.head, wide(leg["zone"]) * HEAD_COLUMNS, 0)
    return wide(stays)


@jit_hot
def _stays(world: World, fixes: Any, i: int) -> bool:
    """Return whether a fix will probably be no news: within the clearings and without doubts."""
    person = fixes.person[i]
    lat, lon = wide(fixes.lat_e7[i]), wide(fixes.lon_e7[i])
    return (
        world.persons[person]["active"] == 0
        and in_clearing(world, person, wide(HOMES), lat, lat, lon, lon)
        and in_clearing(
            world,
            person,
            wide(BANS),
            lat - _SOON_LAT,
            lat + _SOON_LAT,
            lon - _SOON_LON,
            lon + _SOON_LON,
        )
    )


@jit_hot
def fold_fix(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    mechanism: int,
    speed_cm_s: int,
    heading: int,
    now_ms: int,
    fixes: Any,
    order: Integers,
    newer: Integers,
    k: int,
) -> None:
    """Fold one fix: a copy, a late one, a doubted one, or the new position of its person.

    It stands at place `k` of `order`.
    """
    p = world.persons[person]
    seen_ms = wide(p["seen_ms"])
    last_ms = wide(p["last_ms"])
    if time_ms == last_ms and lat == p["lat"] and lon == p["lon"] and accuracy == p["accuracy"]:
        ledger.counts[DUPLICATES] += 1
        return
    if time_ms == p["doubt_ms"] and lat == p["doubt_lat"] and lon == p["doubt_lon"]:
        ledger.counts[DUPLICATES] += 1
        return
    keep_person(world, ledger, person)
    if time_ms < seen_ms:
        ledger.counts[LATE] += 1
        fold_late(
            world, ledger, zones, person, time_ms, lat, lon, accuracy, mechanism, speed_cm_s, now_ms
        )
        return
    has_last = last_ms != NONE_MS
    last_lat = wide(p["lat"])
    last_lon = wide(p["lon"])
    last_accuracy = wide(p["accuracy"])
    moved = displacement_mm(last_lat, last_lon, lat, lon) if has_last else 0
    since_last = time_ms - last_ms
    doubted = has_last and implausible(moved, since_last, last_accuracy, accuracy)
    labels = 0
    if doubted and p["doubt_ms"] != NONE_MS:
        # The second one in a row: the person is there, however it came there.
        doubted = False
        has_last = False
        labels = LABEL_SPEED
    speed = speed_of(speed_cm_s, has_last, moved, since_last, last_accuracy, accuracy)
    reported_still = 0 <= speed_cm_s * 10 < STILL_MM_S
    was_still = 0 <= p["speed"] < STILL_MM_S
    leapt = wide(p["leapt"])
    if not doubted:
        leaps = last_ms != NONE_MS and reported_still and was_still
        leaps = leaps and moved > LEAP_ACCURACIES * (accuracy + last_accuracy)
        leapt = how_it_came(p, lat, lon, accuracy, leaps, reported_still)
    if leapt != MOVED:
        labels |= LABEL_STANDSTILL
    behind, waits, label = coalesce(
        ledger, fixes, order, newer, k, doubted, time_ms, lat, lon, accuracy, now_ms
    )
    labels |= label
    fix = new_fix(
        time_ms,
        lat,
        lon,
        accuracy,
        mechanism,
        SPEED_UNKNOWN if doubted else speed,
        labels | LABEL_SPEED if doubted else labels,
        doubted,
        time_ms - seen_ms if seen_ms != NONE_MS else FIRST_FIX_MS,
        since_last if has_last and not doubted else NONE_MS,
        last_lat,
        last_lon,
        last_accuracy,
        moved,
        leapt,
        behind,
        waits,
    )
    p["seen_ms"] = time_ms
    if doubted:
        ledger.counts[DOUBTED] += 1
        p["doubt_ms"] = time_ms
        p["doubt_lat"] = lat
        p["doubt_lon"] = lon
        if not waits:
            ask_about_jump(world, ledger, person, now_ms)
    else:
        believe(world, person, time_ms, lat, lon, accuracy, mechanism, speed, heading)
    observe_units(world, ledger, zones, person, fix, now_ms)
    if p["pairs"] > 0 and not doubted:
        push_point(world, ledger, person, time_ms, lat, lon, accuracy, speed)
        pair0 = wide(p["pair0"])
        for link in range(pair0, pair0 + wide(p["pairs"])):
            judge_pair(world, ledger, wide(world.links[link]), fix, person, now_ms, wide(-1))


@jit_inline
def believe(
    world: World,
    person: int,
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    mechanism: int,
    speed: int,
    heading: int,
) -> None:
    """Make a fix the position of its person."""
    p = world.persons[person]
    p["doubt_ms"] = NONE_MS
    p["last_ms"] = time_ms
    p["lat"] = lat
    p["lon"] = lon
    p["accuracy"] = accuracy
    p["mechanism"] = mechanism
    p["speed"] = speed
    p["heading"] = heading
    p["reviews"] = 0
    if p["silence_ms"] > 0:
        set_due(world, person, time_ms + wide(p["silence_ms"]))
    update_velocity(world, person, time_ms, lat, lon, accuracy)


@jit_inline
def how_it_came(p: Any, lat: int, lon: int, accuracy: int, leaps: bool, still: bool) -> int:
    """Return and remember how a person came to the place of a new fix.

    A leap is over when a fix shows movement, or lies where it began.
    """
    leapt = wide(p["leapt"])
    if leapt != MOVED:
        back = displacement_mm(wide(p["leap_lat"]), wide(p["leap_lon"]), lat, lon)
        slack = LEAP_ACCURACIES * (accuracy + wide(p["accuracy"]))
        leapt = MOVED if not still or back <= slack else LEAP if leaps else LEAPT
    elif leaps:
        p["leap_lat"] = p["lat"]
        p["leap_lon"] = p["lon"]
        leapt = LEAP
    p["leapt"] = leapt
    return wide(leapt)


@jit_part
def ask_about_jump(world: World, ledger: Ledger, person: int, now_ms: int) -> None:
    """Ask a device about an implausible jump, in the name of the first order of its person."""
    p = world.persons[person]
    order = -1
    if p["units"] > 0:
        order = wide(world.units[p["unit0"]]["order"])
    elif p["pairs"] > 0:
        order = wide(world.pairs[world.links[p["pair0"]]]["order"])
    if order >= 0:
        request_fix(world, ledger, person, order, now_ms, codes.ASK_JUMP, wide(UNCOUNTED))


@jit_part
def fold_late(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    mechanism: int,
    speed_cm_s: int,
    now_ms: int,
) -> None:
    """Give a fix that is older than the newest of its person to history."""
    speed = speed_of(speed_cm_s, False, 0, 0, accuracy, accuracy)
    fix = new_fix(
        time_ms,
        lat,
        lon,
        accuracy,
        mechanism,
        speed,
        0,
        False,
        0,
        NONE_MS,
        lat,
        lon,
        accuracy,
        0,
        0,
        False,
        False,
    )
    observe_past_units(world, ledger, zones, person, fix, now_ms)
    if world.persons[person]["pairs"] > 0:
        push_point(world, ledger, person, time_ms, lat, lon, accuracy, speed)
        observe_past_pairs(world, ledger, person, fix, now_ms)
