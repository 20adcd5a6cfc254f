"""The messages of a load run, encoded before it starts.

Valid frames with valid tags at planned instants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import FRAME_RECORDS_MAX
from firmware_contracts import EventCode, Kind, Tagger, event_topic, fix_topic
from firmware_contracts.codes import MAGIC, MAJOR, MINOR
from firmware_contracts.table import HEADER_DTYPE, dtype_of
from simulators.geo import Floats, Ints, LocalPlane
from simulators.seeds import stream

ORBIT_M: Final = 120.0
SPEED_M_S: Final = 1.4
ACCURACY_DM: Final = 60
MINUTE_MS: Final = 60_000


class LoadDevice(NamedTuple):
    """A device that takes part.

    `x_m`, `y_m` is the middle of the circle it walks, in the plane's metres.
    """

    device_id: str
    key: bytes
    x_m: float = 0.0
    y_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LoadPlan:
    """Messages in order of time.

    Arrays of one length; `body` is the frame, `topic` indexes `topics`.

    `offset_ns` after the start; `device` indexes the devices; `panic` marks button presses;
    `sequence` is the frame's.
    """

    topics: list[bytes]
    offset_ns: Ints
    device: npt.NDArray[np.int32]
    topic: npt.NDArray[np.int32]
    panic: npt.NDArray[np.bool_]
    sequence: Ints
    body: list[bytes]
    boot: int
    start_ms: int

    def __len__(self) -> int:
        return len(self.body)


def plan_load(
    devices: Sequence[LoadDevice],
    plane: LocalPlane,
    *,
    rate_per_s: float,
    duration_s: float,
    start_ms: int,
    panic_per_s: float = 0.0,
    fixes_per_frame: int = 1,
    boot: int = 1,
    first_sequence: int = 1,
    seed: int = 0,
    code: EventCode = EventCode.PANIC,
) -> LoadPlan:
    """Encode a run.

    Fix frames evenly at `rate_per_s` over all devices, presses at `panic_per_s` in between (or
    events of another `code`, which count as presses here).

    `start_ms` is the Unix time at which the run starts (`run_load` waits for it): device times are
    the planned instants.
    """
    if not devices or not 1 <= fixes_per_frame <= FRAME_RECORDS_MAX:
        raise ValueError("a load needs devices, and 1 to 64 fixes a frame")
    fixes = int(rate_per_s * duration_s)
    presses = int(panic_per_s * duration_s)
    rng = stream(seed, "load")
    offset_s = np.concatenate(
        (
            np.arange(fixes) / max(rate_per_s, 1e-9),
            (np.arange(presses) + 0.5) / max(panic_per_s, 1e-9),
        )
    )
    panic = np.concatenate((np.zeros(fixes, dtype=np.bool_), np.ones(presses, dtype=np.bool_)))
    order = np.argsort(offset_s, kind="stable")
    offset_s, panic = offset_s[order], panic[order]
    device = _turns(rng, len(order), len(devices))
    sequence = first_sequence + _rank_within(device)
    time_ms = start_ms + np.round(offset_s * 1000.0).astype(np.int64)
    body = _encode(devices, plane, device, sequence, time_ms, panic, fixes_per_frame, boot, code)
    return LoadPlan(
        _topics(devices),
        np.round(offset_s * 1e9).astype(np.int64),
        device,
        (device + np.where(panic, len(devices), 0)).astype(np.int32),
        panic,
        sequence,
        body,
        boot,
        start_ms,
    )


def plan_backlog(
    devices: Sequence[LoadDevice],
    plane: LocalPlane,
    *,
    frames_each: int,
    fixes_per_frame: int,
    spread_s: float,
    start_ms: int,
    boot: int = 1,
    seed: int = 0,
) -> LoadPlan:
    """Encode what devices kept while they could not send: a fix a minute, the oldest frame first.

    The devices come back evenly within `spread_s`, and each sends all it has.
    """
    count = len(devices)
    order = stream(seed, "backlog").permutation(count)
    device = np.repeat(order, frames_each).astype(np.int32)
    frame = np.tile(np.arange(frames_each, dtype=np.int64), count)
    time_ms = start_ms - (frames_each - frame) * fixes_per_frame * MINUTE_MS
    offset_s = np.repeat(np.arange(count) * (spread_s / count), frames_each)
    panic = np.zeros(len(device), np.bool_)
    body = _encode(
        devices, plane, device, frame + 1, time_ms, panic, fixes_per_frame, boot, step_ms=MINUTE_MS
    )
    return LoadPlan(
        _topics(devices),
        np.round(offset_s * 1e9).astype(np.int64),
        device,
        device,
        panic,
        frame + 1,
        body,
        boot,
        start_ms,
    )


def _topics(devices: Sequence[LoadDevice]) -> list[bytes]:
    topics = [fix_topic(device.device_id).encode() for device in devices]
    return topics + [event_topic(device.device_id).encode() for device in devices]


def _turns(rng: np.random.Generator, count: int, devices: int) -> npt.NDArray[np.int32]:
    """Return whose turn it is.

    Every device once per round, each round in the same shuffled order.
    """
    order = rng.permutation(devices).astype(np.int32)
    return order[np.arange(count) % devices]


def _rank_within(device: npt.NDArray[np.int32]) -> Ints:
    """Return for every message how many of the same device came before it."""
    order = np.argsort(device, kind="stable")
    ordered = device[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.concatenate((starts, [len(ordered)])))
    rank = np.empty(len(device), dtype=np.int64)
    rank[order] = np.arange(len(device)) - np.repeat(starts, lengths)
    return rank


def _encode(
    devices: Sequence[LoadDevice],
    plane: LocalPlane,
    device: npt.NDArray[np.int32],
    sequence: Ints,
    time_ms: Ints,
    panic: npt.NDArray[np.bool_],
    fixes_per_frame: int,
    boot: int,
    code: EventCode = EventCode.PANIC,
    step_ms: int = 1000,
) -> list[bytes]:
    lat, lon = _walk(devices, plane, device, time_ms)
    taggers = [Tagger(each.device_id, each.key) for each in devices]
    untagged: list[bytes] = [b""] * len(device)
    for kind, chosen, count in ((Kind.FIX, ~panic, fixes_per_frame), (Kind.EVENT, panic, 1)):
        rows = np.flatnonzero(chosen)
        whole = np.zeros(
            len(rows), dtype=[("header", HEADER_DTYPE), ("records", dtype_of(kind), (count,))]
        )
        _fill_header(whole["header"], kind, count, boot, sequence[rows], time_ms[rows])
        if kind is Kind.FIX:
            _fill_fixes(whole["records"], lat[rows], lon[rows], step_ms)
        else:
            _fill_presses(whole["records"], lat[rows], lon[rows], code)
        width, packed = whole.dtype.itemsize, whole.tobytes()
        for position, row in enumerate(rows.tolist()):
            untagged[row] = packed[position * width : (position + 1) * width]
    return [
        part + taggers[number].tag(part)
        for part, number in zip(untagged, device.tolist(), strict=True)
    ]


def _walk(
    devices: Sequence[LoadDevice],
    plane: LocalPlane,
    device: npt.NDArray[np.int32],
    time_ms: Ints,
) -> tuple[Floats, Floats]:
    """Everybody walks round a circle of `ORBIT_M` around their place."""
    x = np.array([each.x_m for each in devices])[device]
    y = np.array([each.y_m for each in devices])[device]
    turn = (time_ms % 86_400_000) / 1000.0 * (SPEED_M_S / ORBIT_M) + device
    return plane.degrees_many(x + ORBIT_M * np.cos(turn), y + ORBIT_M * np.sin(turn))


def _fill_header(
    header: npt.NDArray[Any], kind: Kind, count: int, boot: int, sequence: Ints, time_ms: Ints
) -> None:
    header["magic"], header["major"], header["minor"] = MAGIC, MAJOR, MINOR
    header["kind"], header["count"] = kind, count
    header["record_bytes"] = dtype_of(kind).itemsize
    header["boot"], header["sequence"], header["device_time_ms"] = boot, sequence, time_ms


def _fill_fixes(records: npt.NDArray[Any], lat: Floats, lon: Floats, step_ms: int) -> None:
    count = records.shape[1]
    records["time_offset_ms"] = (np.arange(count) - (count - 1)) * step_ms
    records["lat_e7"] = np.round(lat * 1e7)[:, None]
    records["lon_e7"] = np.round(lon * 1e7)[:, None]
    records["accuracy_dm"] = ACCURACY_DM
    records["speed_cm_s"] = round(SPEED_M_S * 100)
    records["heading_cdeg"] = 0xFFFF
    records["mechanism"] = 1
    records["satellites"] = 11
    records["battery_pct"] = 80
    records["altitude_m"] = -32768


def _fill_presses(records: npt.NDArray[Any], lat: Floats, lon: Floats, code: EventCode) -> None:
    records["code"] = code
    records["lat_e7"] = np.round(lat * 1e7)[:, None]
    records["lon_e7"] = np.round(lon * 1e7)[:, None]
    records["accuracy_dm"] = ACCURACY_DM
    records["mechanism"] = 1
