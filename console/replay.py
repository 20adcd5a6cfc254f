"""The past as the journal has it: the tracks of a few persons in a period, within bounds."""

import time
from collections.abc import Iterable, Sequence

import msgspec

from afstand.limits import CONSOLE_REPLAY_POINTS_MAX
from console.model.world import World
from console.ports import Link

UNKNOWN_DM = 65_535


class ReplayPoint(msgspec.Struct, frozen=True, array_like=True):
    """Device time, journal time, place, 68 % radius in metres, speed in m/s (None: not said)."""

    time_ms: int
    seen_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_m: float | None
    speed_m_s: float | None


class TrackOf(msgspec.Struct, frozen=True, kw_only=True):
    """The fixes of one device of a person, in order of device time."""

    person_id: str
    role: str
    device_id: str
    points: tuple[ReplayPoint, ...]


class Tracks(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `complete`: no bound cut it off. `until_ms`: how far it was read."""

    tracks: tuple[TrackOf, ...]
    complete: bool
    until_ms: int


async def read_tracks(
    link: Link,
    world: World,
    partition: str,
    persons: Iterable[str],
    from_ms: int,
    to_ms: int,
    *,
    within_s: float,
) -> Tracks:
    """The tracks of persons as journalled in [from, to). Raises UnavailableError."""
    devices = [device for person in persons for device in world.devices_of(person)]
    points: dict[int, list[ReplayPoint]] = {device.handle: [] for device in devices}
    deadline = time.monotonic() + within_s
    complete, until_ms = True, to_ms
    if points:
        async for at in link.past_fixes(partition, list(points), from_ms, to_ms):
            columns = [column.tolist() for column in at.fixes]
            for handle, time_ms, lat, lon, accuracy, speed, *_ in zip(*columns, strict=True):
                kept = points.get(handle)
                if kept is None:
                    continue
                if len(kept) >= CONSOLE_REPLAY_POINTS_MAX:
                    complete = False
                    continue
                kept.append(
                    ReplayPoint(
                        time_ms,
                        at.at_ms,
                        lat,
                        lon,
                        None if accuracy >= UNKNOWN_DM else accuracy / 10,
                        None if speed >= UNKNOWN_DM else speed / 100,
                    )
                )
            if time.monotonic() > deadline:
                complete, until_ms = False, at.at_ms
                break
    return Tracks(
        tracks=tuple(
            TrackOf(
                person_id=device.person_id or "",
                role=device.role.value,
                device_id=device.device_id,
                points=_ordered(points[device.handle]),
            )
            for device in devices
        ),
        complete=complete,
        until_ms=until_ms,
    )


def _ordered(points: Sequence[ReplayPoint]) -> tuple[ReplayPoint, ...]:
    """In order of device time; a fix that was journalled twice counts once."""
    once = {(point.time_ms, point.lat_e7, point.lon_e7): point for point in reversed(points)}
    return tuple(sorted(once.values(), key=lambda point: point.time_ms))
