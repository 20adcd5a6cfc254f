"""The last known position of every device, and a short track of it.

Latest by device time: a late fix or a copy changes nothing here. The engine's opinion is another
matter; this is what a person looks at when they ask "where, how old, how exact".
"""

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import CONSOLE_TRACK_DEVICES_MAX, CONSOLE_TRACK_POINTS
from console.model.inputs import DeviceStatus, Fixes

ACCURACY_UNKNOWN_DM: Final = 65_535
LAST: Final = np.dtype(
    [
        ("time_ms", "<i8"),  # 0: never a fix
        ("seen_ms", "<i8"),  # journal time
        ("lat_e7", "<i4"),
        ("lon_e7", "<i4"),
        ("accuracy_dm", "<i4"),
        ("speed_cm_s", "<i4"),
        ("heading_cdeg", "<i4"),
        ("mechanism", "u1"),
        ("battery_pct", "u1"),
    ]
)
TRACK: Final = np.dtype(
    [("time_ms", "<i8"), ("lat_e7", "<i4"), ("lon_e7", "<i4"), ("accuracy_dm", "<u2")]
)
_COPIED: Final = (
    "time_ms",
    "lat_e7",
    "lon_e7",
    "accuracy_dm",
    "speed_cm_s",
    "heading_cdeg",
    "mechanism",
    "battery_pct",
)


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """A position as reported. Degrees x 1e7, the 68 % radius, the device's time.

    `seen_ms`: when it was journalled. None: the device did not say.
    """

    time_ms: int
    seen_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_m: float | None
    speed_m_s: float | None
    heading_deg: float | None
    mechanism: int
    battery_pct: int | None


class TrackPoint(msgspec.Struct, frozen=True, array_like=True):
    """One point of a track: device time, place, 68 % radius in metres (None: not said)."""

    time_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_m: float | None


class Positions:
    """Columns by handle; they grow with the highest handle seen."""

    def __init__(self) -> None:
        self._last = np.zeros(1024, LAST)
        self._track = np.zeros((1024, CONSOLE_TRACK_POINTS), TRACK)
        self._count = np.zeros(1024, np.int64)
        self.statuses: dict[int, DeviceStatus] = {}
        self.fixes = 0

    def fold(self, fixes: Fixes, seen_ms: int) -> None:
        """Take the fixes of one journal entry."""
        self.fixes += len(fixes.handle)
        self._grow(int(fixes.handle.max()))
        # The newest of a device stands last among its rows.
        order = np.lexsort((fixes.time_ms, fixes.handle))
        handle, time_ms = fixes.handle[order], np.asarray(fixes.time_ms)[order]
        newer = time_ms > self._last["time_ms"][handle]
        if not newer.any():
            return
        order, handle, time_ms = order[newer], handle[newer], time_ms[newer]
        self._add_to_tracks(fixes, order, handle)
        last_of_each = np.append(handle[1:] != handle[:-1], True)
        rows, at = order[last_of_each], handle[last_of_each]
        for name in _COPIED:
            self._last[name][at] = getattr(fixes, name)[rows]
        self._last["seen_ms"][at] = seen_ms

    def forget(self, handle: int, until_ms: int | None = None) -> None:
        """Forget where a device was, up to a time; None: all, its health with it."""
        if until_ms is None:
            self.statuses.pop(handle, None)
        if handle < len(self._track):
            rows = self._track[handle]
            rows[slice(None) if until_ms is None else rows["time_ms"] <= until_ms] = 0
        if handle < len(self._last):
            row = self._last[handle : handle + 1]
            row[slice(None) if until_ms is None else row["seen_ms"] <= until_ms] = 0

    def status(self, said: DeviceStatus) -> None:
        """Take the health of a device."""
        self.statuses[said.handle] = said

    def last(self, handle: int) -> Fix | None:
        """The last known position of a device."""
        if handle >= len(self._last) or not self._last["time_ms"][handle]:
            return None
        row = self._last[handle]
        accuracy = int(row["accuracy_dm"])
        speed, heading = int(row["speed_cm_s"]), int(row["heading_cdeg"])
        battery = int(row["battery_pct"])
        return Fix(
            time_ms=int(row["time_ms"]),
            seen_ms=int(row["seen_ms"]),
            lat_e7=int(row["lat_e7"]),
            lon_e7=int(row["lon_e7"]),
            accuracy_m=_accuracy_m(accuracy),
            speed_m_s=None if speed >= 65_535 else speed / 100,
            heading_deg=None if heading >= 65_535 else heading / 100,
            mechanism=int(row["mechanism"]),
            battery_pct=None if battery == 255 else battery,
        )

    def track(self, handle: int, since_ms: int = 0) -> list[TrackPoint]:
        """The newest fixes of a device after `since_ms`, oldest first."""
        if handle >= len(self._track):
            return []
        rows = self._track[handle]
        rows = np.sort(rows[rows["time_ms"] > since_ms], order="time_ms")
        return [
            TrackPoint(
                int(row["time_ms"]),
                int(row["lat_e7"]),
                int(row["lon_e7"]),
                _accuracy_m(int(row["accuracy_dm"])),
            )
            for row in rows
        ]

    def ages_ms(self, handles: npt.NDArray[np.int64], now_ms: int) -> npt.NDArray[np.int64]:
        """How old the last position of each device is; -1: it never had one."""
        ages = np.full(len(handles), -1, np.int64)
        known = handles < len(self._last)
        times = self._last["time_ms"][handles[known]]
        ages[known] = np.where(times > 0, np.maximum(0, now_ms - times), -1)
        return ages

    def newest_seen_ms(self) -> int:
        """When the last fix of anybody was journalled; 0: never."""
        return int(self._last["seen_ms"].max())

    def dump(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "last": self._last.tobytes(),
            "track": self._track.tobytes(),
            "count": self._count.tobytes(),
            "statuses": list(self.statuses.values()),
            "fixes": self.fixes,
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "Positions":
        """The reverse of `dump`. Raises ValueError for anything else."""
        positions = cls()
        positions._last = np.frombuffer(dumped["last"], LAST).copy()
        track = np.frombuffer(dumped["track"], TRACK).copy()
        positions._track = track.reshape(-1, CONSOLE_TRACK_POINTS)
        positions._count = np.frombuffer(dumped["count"], np.int64).copy()
        positions.statuses = {status[0]: DeviceStatus(*status) for status in dumped["statuses"]}
        positions.fixes = int(dumped["fixes"])
        return positions

    def _add_to_tracks(
        self, fixes: Fixes, order: npt.NDArray[np.int64], handle: npt.NDArray[np.int64]
    ) -> None:
        kept = handle < len(self._track)
        order, handle = order[kept], handle[kept]
        if not len(handle):
            return
        first = np.append(True, handle[1:] != handle[:-1])
        starts = np.flatnonzero(first)
        within = np.arange(len(handle)) - np.repeat(starts, np.diff(np.append(starts, len(handle))))
        slot = (self._count[handle] + within) % CONSOLE_TRACK_POINTS
        for name in ("time_ms", "lat_e7", "lon_e7"):
            self._track[name][handle, slot] = getattr(fixes, name)[order]
        accuracy = np.minimum(fixes.accuracy_dm[order], ACCURACY_UNKNOWN_DM)
        self._track["accuracy_dm"][handle, slot] = accuracy
        np.add.at(self._count, handle, 1)

    def _grow(self, handle: int) -> None:
        if handle < len(self._last):
            return
        size = max(handle + 1, 2 * len(self._last))
        self._last = _grown(self._last, size)
        tracks = min(size, CONSOLE_TRACK_DEVICES_MAX)
        if tracks > len(self._track):
            self._track = _grown(self._track, tracks)
            self._count = _grown(self._count, tracks)


def _grown(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    grown = np.zeros((size, *rows.shape[1:]), rows.dtype)
    grown[: len(rows)] = rows
    return grown


def _accuracy_m(accuracy_dm: int) -> float | None:
    return None if accuracy_dm >= ACCURACY_UNKNOWN_DM else accuracy_dm / 10
