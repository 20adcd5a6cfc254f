"""Recorded tracks: GPX and CSV readers that trust nothing in the file.

A GPX file may have no DTD and no entity, whatever it is called. A zip is read member by member
within bounds and never unpacked to disk. Every refusal is a `TrackError` with the file, an
enumerated reason and the detail.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Any, Final
from xml.parsers import expat

import numpy as np

from afstand.limits import SIM_TRACK_BYTES_MAX, SIM_TRACK_FILES_MAX, SIM_TRACK_POINTS_MAX
from simulators.geo import Floats, Ints, LocalPlane
from simulators.paths import Environment, Mode, Path

GPX_NAMESPACES: Final = (
    "http://www.topografix.com/GPX/1/0",
    "http://www.topografix.com/GPX/1/1",
)
DEPTH_MAX: Final = 32
TEXT_CHARACTERS_MAX: Final = 256
COMPRESSION_RATIO_MAX: Final = 200


class TrackFault(StrEnum):
    """Why a track file was refused."""

    UNREADABLE = "unreadable"
    TOO_LARGE = "too-large"
    TOO_MANY_POINTS = "too-many-points"
    TOO_MANY_FILES = "too-many-files"
    TOO_DEEP = "too-deep"
    NOT_XML = "not-xml"
    DTD_FORBIDDEN = "dtd-forbidden"
    NOT_GPX = "not-gpx"
    NO_COLUMN = "no-column"
    BAD_COORDINATE = "bad-coordinate"
    BAD_TIME = "bad-time"
    NO_POINTS = "no-points"
    BAD_ZIP = "bad-zip"


class TrackError(Exception):
    """A track file that is not one; `fault` is the reason, `detail` is for people."""

    def __init__(self, file: str, fault: TrackFault, detail: str) -> None:
        super().__init__(f"{file}: {fault.value}: {detail}")
        self.file = file
        self.fault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Fixes in time order, strictly increasing.

    `t_ms` int64 Unix ms; degrees; all of one length >= 1.

    `dropped` counts fixes left out because they were not later than the one before.
    """

    name: str
    t_ms: Ints
    lat_deg: Floats
    lon_deg: Floats
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.t_ms)

    def rebased(self, start_ms: int, speed: float = 1.0) -> "Track":
        """Return the track starting at `start_ms` and `speed` times as fast, whole ms.

        Still strictly increasing.
        """
        if not speed > 0.0:
            raise ValueError(f"speed must be above 0, not {speed}")
        t_ms = start_ms + np.round((self.t_ms - self.t_ms[0]) / speed).astype(np.int64)
        keep = np.concatenate(([True], np.diff(t_ms) > 0))
        return replace(
            self,
            t_ms=t_ms[keep],
            lat_deg=self.lat_deg[keep],
            lon_deg=self.lon_deg[keep],
            dropped=self.dropped + int(np.count_nonzero(~keep)),
        )

    def path(self, plane: LocalPlane, mode: Mode = Mode.WALK) -> Path:
        """Return the track as true motion: straight between fixes."""
        x, y = plane.metres_many(self.lat_deg, self.lon_deg)
        count = len(self.t_ms)
        return Path(
            self.t_ms,
            x,
            y,
            np.full(count, Environment.OPEN_SKY, dtype=np.uint8),
            np.full(count, mode, dtype=np.uint8),
        )


class _Collector:
    """Points as they come out of a file: checked, bounded, put in order."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.t_ms: list[int] = []
        self.lat: list[float] = []
        self.lon: list[float] = []
        self.dropped = 0

    def add(self, lat: str | float | None, lon: str | float | None, t_ms: int) -> None:
        lat_deg, lon_deg = self._degrees(lat, 90.0), self._degrees(lon, 180.0)
        if self.t_ms and t_ms <= self.t_ms[-1]:
            self.dropped += 1
            return
        if len(self.t_ms) >= SIM_TRACK_POINTS_MAX:
            raise self.error(TrackFault.TOO_MANY_POINTS, f"at most {SIM_TRACK_POINTS_MAX}")
        self.t_ms.append(t_ms)
        self.lat.append(lat_deg)
        self.lon.append(lon_deg)

    def _degrees(self, text: str | float | None, bound: float) -> float:
        try:
            value = float(text)  # type: ignore[arg-type] # None is caught below
        except (TypeError, ValueError):
            raise self.error(TrackFault.BAD_COORDINATE, repr(text)[:80]) from None
        if not -bound <= value <= bound:  # also false for NaN
            raise self.error(TrackFault.BAD_COORDINATE, f"{value} is not within {bound} degrees")
        return value

    def time_ms(self, text: str | None) -> int:
        """Read an ISO 8601 time; without an offset it is UTC."""
        try:
            when = datetime.fromisoformat((text or "").strip())
        except ValueError:
            raise self.error(TrackFault.BAD_TIME, repr(text)[:80]) from None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        try:
            return round(when.timestamp() * 1000.0)
        except (OverflowError, ValueError):
            raise self.error(TrackFault.BAD_TIME, repr(text)[:80]) from None

    def error(self, fault: TrackFault, detail: str) -> TrackError:
        return TrackError(self.file, fault, detail)

    def track(self, name: str) -> Track:
        if not self.t_ms:
            raise self.error(TrackFault.NO_POINTS, "no point with a place and a time")
        return Track(
            name,
            np.array(self.t_ms, dtype=np.int64),
            np.array(self.lat),
            np.array(self.lon),
            self.dropped,
        )


def _read_bounded(path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SIM_TRACK_BYTES_MAX + 1)
    except OSError as error:
        raise TrackError(str(path), TrackFault.UNREADABLE, error.strerror or "") from error
    if len(data) > SIM_TRACK_BYTES_MAX:
        raise TrackError(str(path), TrackFault.TOO_LARGE, f"at most {SIM_TRACK_BYTES_MAX} bytes")
    return data


class _GpxReader:
    """Callbacks of expat; every route to outside the document raises."""

    def __init__(self, collector: _Collector) -> None:
        self._collector = collector
        self._depth = 0
        self._point: tuple[str | None, str | None] | None = None
        self._point_depth = 0
        self._time: list[str] | None = None
        self._seen_time: str | None = None
        self._namespace = ""

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._forbidden
        parser.EntityDeclHandler = self._forbidden
        parser.UnparsedEntityDeclHandler = self._forbidden
        parser.ExternalEntityRefHandler = self._forbidden
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise self._collector.error(TrackFault.NOT_XML, str(error)) from None

    def _forbidden(self, *_: Any) -> int:
        raise self._collector.error(TrackFault.DTD_FORBIDDEN, "a DTD or an entity")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._collector.error(TrackFault.TOO_DEEP, f"more than {DEPTH_MAX} levels")
        namespace, _, name = tag.rpartition(" ")
        if self._depth == 1:
            if name != "gpx" or namespace not in GPX_NAMESPACES:
                raise self._collector.error(TrackFault.NOT_GPX, f"root element {tag[:80]!r}")
            self._namespace = namespace
        if namespace != self._namespace:
            return
        if name == "trkpt":
            self._point = (attributes.get("lat"), attributes.get("lon"))
            self._point_depth, self._seen_time = self._depth, None
        elif name == "time" and self._point is not None and self._depth == self._point_depth + 1:
            self._time = []

    def _text(self, text: str) -> None:
        if self._time is not None:
            self._time.append(text)
            if sum(map(len, self._time)) > TEXT_CHARACTERS_MAX:
                raise self._collector.error(TrackFault.BAD_TIME, "a time of many characters")

    def _end(self, tag: str) -> None:
        if self._time is not None and tag == f"{self._namespace} time":
            self._seen_time, self._time = "".join(self._time), None
        elif self._point is not None and self._depth == self._point_depth:
            self._collector.add(*self._point, self._collector.time_ms(self._seen_time))
            self._point = None
        self._depth -= 1


def parse_gpx(data: bytes, name: str) -> Track:
    """Read every track point of a GPX 1.0 or 1.1 document; raises TrackError."""
    if len(data) > SIM_TRACK_BYTES_MAX:
        raise TrackError(name, TrackFault.TOO_LARGE, f"at most {SIM_TRACK_BYTES_MAX} bytes")
    collector = _Collector(name)
    _GpxReader(collector).read(data)
    return collector.track(name)


def read_gpx(path: FilePath) -> Track:
    """Read a GPX file; raises TrackError."""
    return parse_gpx(_read_bounded(path), path.name)


_TIME_COLUMNS: Final = ("timestamp", "time", "datetime", "t")
_LAT_COLUMNS: Final = ("latitude", "lat")
_LON_COLUMNS: Final = ("longitude", "lon", "lng")


def _column(header: list[str], names: tuple[str, ...], file: str) -> int:
    lowered = [cell.strip().lower() for cell in header]
    for name in names:
        if name in lowered:
            return lowered.index(name)
    raise TrackError(file, TrackFault.NO_COLUMN, f"none of {', '.join(names)}")


def parse_csv(
    data: bytes, name: str, *, plane: LocalPlane | None = None, group_by: str | None = None
) -> dict[str, Track]:
    """Read a CSV file with a header row into tracks by the value of `group_by` ("" without it).

    Columns: timestamp | time | datetime | t (ISO 8601, UTC), and latitude | lat with longitude |
    lon | lng; with `plane`, `x` and `y` in metres instead. Raises TrackError.
    """
    if len(data) > SIM_TRACK_BYTES_MAX:
        raise TrackError(name, TrackFault.TOO_LARGE, f"at most {SIM_TRACK_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
        rows: Iterator[list[str]] = csv.reader(io.StringIO(text, newline=""), strict=True)
        return _collect_rows(rows, name, plane, group_by)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrackError(name, TrackFault.UNREADABLE, str(error)) from None


def _collect_rows(
    rows: Iterator[list[str]], name: str, plane: LocalPlane | None, group_by: str | None
) -> dict[str, Track]:
    header = next(rows, None)
    if header is None:
        raise TrackError(name, TrackFault.NO_POINTS, "an empty file")
    time_at = _column(header, _TIME_COLUMNS, name)
    first_at = _column(header, _LAT_COLUMNS if plane is None else ("x",), name)
    second_at = _column(header, _LON_COLUMNS if plane is None else ("y",), name)
    group_at = None if group_by is None else _column(header, (group_by.lower(),), name)
    width = 1 + max(time_at, first_at, second_at, group_at or 0)
    found: dict[str, _Collector] = {}
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) < width:
            raise TrackError(name, TrackFault.NO_COLUMN, f"line {number} has {len(row)} columns")
        group = "" if group_at is None else row[group_at]
        collector = found.setdefault(group, _Collector(f"{name}:{number}"))
        collector.file = f"{name}:{number}"
        if len(found) > SIM_TRACK_FILES_MAX:
            raise TrackError(name, TrackFault.TOO_MANY_FILES, f"more than {SIM_TRACK_FILES_MAX}")
        t_ms = collector.time_ms(row[time_at])
        if plane is None:
            collector.add(row[first_at], row[second_at], t_ms)
        else:
            collector.add(*_from_metres(row[first_at], row[second_at], plane, collector), t_ms)
    if not found:
        raise TrackError(name, TrackFault.NO_POINTS, "no row after the header")
    return {
        group: collector.track(name + (f":{group}" if group else ""))
        for group, collector in found.items()
    }


def _from_metres(x: str, y: str, plane: LocalPlane, collector: _Collector) -> tuple[float, float]:
    try:
        x_m, y_m = float(x), float(y)
    except ValueError:
        raise collector.error(TrackFault.BAD_COORDINATE, f"{x[:40]!r}, {y[:40]!r}") from None
    if not (math.isfinite(x_m) and math.isfinite(y_m)):
        raise collector.error(TrackFault.BAD_COORDINATE, f"{x_m}, {y_m}")
    return plane.degrees(x_m, y_m)


def read_csv(
    path: FilePath, *, plane: LocalPlane | None = None, group_by: str | None = None
) -> dict[str, Track]:
    """Read a CSV file (see `parse_csv`); raises TrackError."""
    return parse_csv(_read_bounded(path), path.name, plane=plane, group_by=group_by)


def read_csv_zip(
    path: FilePath, plane: LocalPlane | None = None, limit: int | None = None
) -> dict[str, Track]:
    """Read the .csv members of a zip, in name order, up to `limit`; raises TrackError.

    Bounded in members, in bytes and in compression ratio; nothing is written to disk.
    """
    found: dict[str, Track] = {}
    budget = SIM_TRACK_BYTES_MAX
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                (info for info in archive.infolist() if info.filename.lower().endswith(".csv")),
                key=lambda info: info.filename,
            )
            if len(members) > SIM_TRACK_FILES_MAX:
                raise TrackError(path.name, TrackFault.TOO_MANY_FILES, f"{len(members)}")
            for info in members[:limit]:
                if info.file_size > COMPRESSION_RATIO_MAX * max(1, info.compress_size):
                    raise TrackError(
                        path.name, TrackFault.BAD_ZIP, f"{info.filename}: too compressed"
                    )
                with archive.open(info) as member:
                    data = member.read(budget + 1)
                budget -= len(data)
                if budget < 0:
                    raise TrackError(
                        path.name, TrackFault.TOO_LARGE, f"{SIM_TRACK_BYTES_MAX} bytes"
                    )
                name = f"{path.name}!{info.filename}"
                found[info.filename] = parse_csv(data, name, plane=plane)[""]
    except OSError as error:
        raise TrackError(str(path), TrackFault.UNREADABLE, error.strerror or str(error)) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise TrackError(path.name, TrackFault.BAD_ZIP, str(error)) from error
    if not found:
        raise TrackError(path.name, TrackFault.NO_POINTS, "no .csv inside")
    return found
