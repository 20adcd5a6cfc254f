"""Recorded tracks played by simulated devices, as contract frames and as OwnTracks messages."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from firmware_contracts import Mechanism
from firmware_contracts.codes import Kind
from firmware_contracts.frames import Tagger, fix_records, seal
from simulators.carrier import Carrier
from simulators.device import Device
from simulators.fleet import Cue
from simulators.geo import LocalPlane, separation_m
from simulators.gnss import Receiver
from simulators.happenings import DeviceSpec, Place, Profile, Sensed
from simulators.paths import Fixed
from simulators.seeds import stream
from simulators.tracks import Track

RECORDED_ACCURACY_M: Final = 5.0
SILENT_PROFILE: Final = Profile(moving_s=0, rest_s=0, status_s=0)


class TimedMessage(NamedTuple):
    """One message and the instant at which it is sent."""

    at_ms: int
    topic: str
    payload: bytes


def places(track: Track, accuracy_m: float = RECORDED_ACCURACY_M) -> list[Place]:
    """Return the fixes of a track in wire units; speed and heading from the fix before."""
    speeds, headings = _motion(track)
    return [
        Place(
            lat_e7=round(lat * 1e7),
            lon_e7=round(lon * 1e7),
            accuracy_dm=round(accuracy_m * 10.0),
            speed_cm_s=min(65_534, round(speed * 100.0)),
            heading_cdeg=round(heading * 100.0) % 36_000,
            mechanism=Mechanism.GNSS,
            satellites=10,
        )
        for lat, lon, speed, heading in zip(
            track.lat_deg.tolist(), track.lon_deg.tolist(), speeds, headings, strict=True
        )
    ]


def _motion(track: Track) -> tuple[list[float], list[float]]:
    """Return speed (m/s) and heading (degrees) at every fix; the first one stands still."""
    if len(track) == 1:
        return [0.0], [0.0]
    lat, lon = track.lat_deg, track.lon_deg
    length_m = separation_m(lat[:-1], lon[:-1], lat[1:], lon[1:])
    speeds = length_m / (np.diff(track.t_ms) / 1000.0)
    east = np.diff(lon) * np.cos(np.radians(lat[:-1]))
    headings = np.degrees(np.arctan2(east, np.diff(lat))) % 360.0
    return [0.0, *speeds.tolist()], [0.0, *headings.tolist()]


def fix_columns(track: Track, accuracy_m: float = RECORDED_ACCURACY_M) -> npt.NDArray[Any]:
    """Return the fixes as contract records, `time_offset_ms` relative to the last one."""
    records = fix_records(len(track))
    for row, place in enumerate(places(track, accuracy_m)):
        for field, value in place._asdict().items():
            records[field][row] = value
    records["time_offset_ms"] = track.t_ms - track.t_ms[-1]
    return records


def track_frames(
    track: Track, device_id: str, key: bytes, *, boot: int = 1, first_sequence: int = 1,
    accuracy_m: float = RECORDED_ACCURACY_M,
) -> list[tuple[int, bytes]]:  # fmt: skip
    """Return one sealed fix frame per fix of a track, each with the time at which it is sent."""
    tagger = Tagger(device_id, key)
    records = fix_columns(track, accuracy_m)
    records["time_offset_ms"] = 0
    return [
        (
            int(t_ms),
            seal(
                tagger,
                Kind.FIX,
                records[row : row + 1].tobytes(),
                boot=boot,
                sequence=first_sequence + row,
                device_time_ms=int(t_ms),
            ),
        )
        for row, t_ms in enumerate(track.t_ms)
    ]


def device_on_track(
    track: Track, device_id: str, person_id: str, key: bytes, *, start_ms: int, speed: float = 1.0,
    accuracy_m: float = RECORDED_ACCURACY_M,
) -> tuple[Carrier, list[Cue]]:  # fmt: skip
    """Return a device that reports exactly the fixes of a recorded track.

    And the script that makes it do so.

    The track starts at `start_ms` and runs `speed` times as fast. The device is a whole one: it
    keeps frames until they are acknowledged, and answers a command for a fix with the place on the
    track at that time.
    """
    played = track.rebased(start_ms, speed)
    plane = LocalPlane(float(played.lat_deg[0]), float(played.lon_deg[0]))
    path = played.path(plane)

    def sense(t_ms: int) -> Place:
        truth = path.at(t_ms)
        lat_e7, lon_e7 = plane.e7(truth.x_m, truth.y_m)
        return Place(lat_e7, lon_e7, round(accuracy_m * 10.0), round(truth.speed_m_s * 100.0))

    device = Device(DeviceSpec(device_id=device_id, key=key, profile=SILENT_PROFILE), start_ms)
    carrier = Carrier(device, Fixed(path), plane, Receiver(stream(0, device_id)), sense)
    cues = [
        Cue(int(t_ms), device_id, person_id, "recorded fix", Sensed(place))
        for t_ms, place in zip(played.t_ms, places(played, accuracy_m), strict=True)
    ]
    return carrier, cues


def owntracks_topic(user: str, device: str) -> str:
    """Return the topic that the OwnTracks app publishes on."""
    return f"owntracks/{user}/{device}"


def owntracks_messages(
    track: Track,
    user: str,
    device: str,
    *,
    accuracy_m: float = RECORDED_ACCURACY_M,
    battery_pct: int = 80,
) -> list[TimedMessage]:
    """Return the track as an OwnTracks phone reports it: one location message per fix.

    OwnTracks has whole seconds, metres and km/h; a fix within the second of the one before is left
    out, as the app does.
    """
    topic = owntracks_topic(user, device)
    speeds, headings = _motion(track)
    messages: list[TimedMessage] = []
    last_s = -1
    for row, t_ms in enumerate(track.t_ms.tolist()):
        if t_ms // 1000 == last_s:
            continue
        last_s = t_ms // 1000
        body = {
            "_type": "location",
            "tid": device[-2:],
            "lat": round(float(track.lat_deg[row]), 7),
            "lon": round(float(track.lon_deg[row]), 7),
            "tst": last_s,
            "acc": round(accuracy_m),
            "vel": round(speeds[row] * 3.6),
            "cog": round(headings[row]) % 360,
            "batt": battery_pct,
            "conn": "m",
            "t": "t",
        }
        messages.append(TimedMessage(t_ms, topic, msgspec.json.encode(body)))
    return messages


def in_order(*streams: Sequence[TimedMessage]) -> list[TimedMessage]:
    """Merge several streams by time."""
    return sorted((message for each in streams for message in each), key=lambda m: m.at_ms)
