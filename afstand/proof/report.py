"""The part of a bundle that people read: a map with error circles, and a report."""

from collections.abc import Iterator
from datetime import UTC, datetime
from math import cos, radians
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from afstand.explain.sentences import Language
from afstand.limits import BUNDLE_CIRCLES_MAX
from afstand.proof.frames import Track
from afstand.proof.replay import Replay
from afstand.proof.timeline import Line
from alerting.book.types import Output, VerdictRecord
from geofence.orders import Zone

_METRES_PER_DEGREE: Final = 111_320.0
_COLUMNS: Final = 108
_ROWS: Final = 62
_COLOURS: Final = ("tab:red", "tab:purple", "tab:orange")
_PROTECTED: Final = ("tab:blue", "tab:cyan", "tab:green")


class Report(NamedTuple):
    """What the map and the report are drawn from."""

    case_id: str
    since_ms: int
    until_ms: int
    view: str
    by: str
    reason: str
    made_ms: int
    language: Language
    zone: ZoneInfo
    zones: list[tuple[Zone, Any]]
    """Zones with their GeoJSON (None: a circle)."""
    tracks: list[Track]
    records: list[Output]
    lines: list[Line]
    replay: Replay
    versions: dict[str, str]


_WORDS: Final = {
    "nl": {
        "title": "Dossier van zaak {case}",
        "period": "Periode: {since} tot {until} ({zone})",
        "made": "Gemaakt {at} door {by}; voor: {view}; reden: {reason}",
        "same": "Opnieuw berekend uit het journaal: {n} regels, bit voor bit gelijk aan toen.",
        "differs": "Opnieuw berekend uit het journaal: {d} van {n} regels zijn NIET gelijk.",
        "check": "Controle: python verify_bundle.py MAP [PUBLIEKE SLEUTEL]",
        "versions": "Versies",
        "map": "Kaart: meters ten opzichte van het midden {middle}. Een cirkel is de straal "
        "waarbinnen het toestel zegt met 68 % kans te zijn.",
        "timeline": "Tijdlijn",
    },
    "en": {
        "title": "File of case {case}",
        "period": "Period: {since} to {until} ({zone})",
        "made": "Made {at} by {by}; for: {view}; reason: {reason}",
        "same": "Computed again from the journal: {n} entries, bit for bit as they were.",
        "differs": "Computed again from the journal: {d} of {n} entries are NOT as they were.",
        "check": "To check: python verify_bundle.py FOLDER [PUBLIC KEY]",
        "versions": "Versions",
        "map": "Map: metres from the middle {middle}. A circle is the radius within which the "
        "device says it is with a probability of 68 %.",
        "timeline": "Timeline",
    },
}


def write_report(folder: Path, report: Report) -> None:
    """Write map.svg, map.png and report.pdf."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second that only a report needs

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = report.case_id
    from matplotlib.backends.backend_pdf import PdfPages  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = Figure(figsize=(11.7, 8.3))
    middle = _draw(drawn.add_subplot(), report)
    drawn.savefig(folder / "map.svg", metadata={"Date": None})
    drawn.savefig(folder / "map.png", dpi=110)
    made = datetime.fromtimestamp(report.made_ms // 1000, UTC)
    with PdfPages(folder / "report.pdf", metadata={"CreationDate": made}) as pdf:
        for page in _pages(list(_text(report, middle))):
            sheet = Figure(figsize=(8.3, 11.7))
            sheet.text(0.06, 0.96, "\n".join(page), va="top", family="monospace", size=6.5)
            pdf.savefig(sheet)
        pdf.savefig(drawn)


def _pages(lines: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(lines), _ROWS):
        # A dollar sign would begin a formula.
        yield [line.replace("$", r"\$") for line in lines[first : first + _ROWS]]


def _text(report: Report, middle: str) -> Iterator[str]:
    words = _WORDS[report.language]

    def at(ms: int) -> str:
        moment = datetime.fromtimestamp(ms // 1000, UTC).astimezone(report.zone)
        return moment.isoformat(sep=" ", timespec="seconds")

    yield words["title"].format(case=report.case_id)
    yield words["period"].format(
        since=at(report.since_ms), until=at(report.until_ms), zone=report.zone.key
    )
    yield from wrap(
        words["made"].format(
            at=at(report.made_ms), by=report.by, view=report.view, reason=report.reason
        ),
        _COLUMNS,
    )
    replay = report.replay
    said = words["same" if replay.same else "differs"]
    yield said.format(n=replay.compared, d=replay.differing)
    yield words["check"]
    yield from wrap(words["map"].format(middle=middle), _COLUMNS)
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    yield from wrap(f"{words['versions']}: {versions}", _COLUMNS)
    yield ""
    yield words["timeline"]
    for line in report.lines:
        yield from wrap(f"{line.at}  {line.text}", _COLUMNS, subsequent_indent=" " * 31)


class _Plane(NamedTuple):
    """Metres from a middle, good enough to look at."""

    lat: float
    lon: float

    def xy(self, lat_e7: float, lon_e7: float) -> tuple[float, float]:
        north = (lat_e7 / 1e7 - self.lat) * _METRES_PER_DEGREE
        east = (lon_e7 / 1e7 - self.lon) * _METRES_PER_DEGREE * cos(radians(self.lat))
        return east, north


def _draw(axes: Any, report: Report) -> str:
    places: list[tuple[float, float]] = [
        (p.lat_e7, p.lon_e7) for track in report.tracks for p in track.points
    ]
    places += [place for zone, shape in report.zones for place in _corners(zone, shape)]
    axes.set_aspect("equal")
    axes.set_xlabel("m")
    axes.set_ylabel("m")
    axes.set_title(report.case_id)
    if not places:
        return "-"
    plane = _Plane(
        (min(p[0] for p in places) + max(p[0] for p in places)) / 2e7,
        (min(p[1] for p in places) + max(p[1] for p in places)) / 2e7,
    )
    for zone, shape in report.zones:
        _zone(axes, plane, zone, shape)
    own = [track for track in report.tracks if not track.protected]
    hers = [track for track in report.tracks if track.protected]
    for colours, tracks in ((_COLOURS, own), (_PROTECTED, hers)):
        for index, track in enumerate(tracks):
            _track(axes, plane, track, colours[index % len(colours)])
    for record in report.records:
        if isinstance(record, VerdictRecord) and record.verdict.wearer_position is not None:
            place = record.verdict.wearer_position
            axes.plot(*plane.xy(place.lat_e7, place.lon_e7), "k+", markersize=9)
    axes.grid(visible=True, linewidth=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize=7)
    return f"{plane.lat:.6f} N {plane.lon:.6f} E"


def _track(axes: Any, plane: _Plane, track: Track, colour: str) -> None:
    from matplotlib.patches import Circle  # noqa: PLC0415

    points = [plane.xy(p.lat_e7, p.lon_e7) for p in track.points]
    if not points:
        return
    label = f"{track.person_id} ({track.device_id})"
    axes.plot(*zip(*points, strict=True), ".-", color=colour, linewidth=0.7, label=label)
    every = max(1, len(points) // BUNDLE_CIRCLES_MAX)
    for place, point in list(zip(points, track.points, strict=True))[::every]:
        if point.accuracy_m is not None:
            axes.add_patch(Circle(place, point.accuracy_m, fill=False, color=colour, alpha=0.35))


def _zone(axes: Any, plane: _Plane, zone: Zone, shape: Any) -> None:
    from matplotlib.patches import Circle, Polygon  # noqa: PLC0415

    label = f"{zone.id} v{zone.version} {zone.name}".strip()
    style: dict[str, Any] = {"facecolor": "tab:gray", "edgecolor": "black", "alpha": 0.25}
    if zone.circle is not None:
        middle = plane.xy(zone.circle.lat_e7, zone.circle.lon_e7)
        axes.add_patch(Circle(middle, zone.circle.radius_m, label=label, **style))
        axes.autoscale_view()
        return
    for ring in _rings(shape):
        corners = [plane.xy(lat * 1e7, lon * 1e7) for lon, lat in ring]
        axes.add_patch(Polygon(corners, label=label, **style))
        label = ""
    axes.autoscale_view()


def _rings(shape: Any) -> Iterator[list[tuple[float, float]]]:
    """Every ring of a GeoJSON object."""
    match shape:
        case {"type": "Polygon", "coordinates": list() as rings}:
            yield from ([(p[0], p[1]) for p in ring] for ring in rings)
        case {"type": "MultiPolygon", "coordinates": list() as polygons}:
            yield from ([(p[0], p[1]) for p in ring] for rings in polygons for ring in rings)
        case {"type": "Feature", "geometry": geometry}:
            yield from _rings(geometry)
        case {"features": list() as many} | {"geometries": list() as many}:
            for one in many:
                yield from _rings(one)
        case _:
            return


def _corners(zone: Zone, shape: Any) -> Iterator[tuple[float, float]]:
    if zone.circle is not None:
        yield zone.circle.lat_e7, zone.circle.lon_e7
    else:
        yield from ((lat * 1e7, lon * 1e7) for ring in _rings(shape) for lon, lat in ring)
