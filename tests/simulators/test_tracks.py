"""Track readers: the real files, and files that mean harm."""

import csv
import io
import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand import limits
from firmware_contracts.batch import decode_batch
from firmware_contracts.frames import Tagger, read_header
from simulators.geo import LocalPlane, separation_m
from simulators.happenings import ActionKind, LinkChanges, Sensed
from simulators.playback import (
    device_on_track,
    fix_columns,
    in_order,
    owntracks_messages,
    places,
    track_frames,
)
from simulators.tracks import (
    TrackError,
    TrackFault,
    parse_csv,
    parse_gpx,
    read_csv,
    read_csv_zip,
    read_gpx,
)

HEAD = (
    '<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1">'
    "<trk><trkseg>"
)
TAIL = "</trkseg></trk></gpx>"
POINT = '<trkpt lat="51.5" lon="4.5"><time>2026-01-01T00:00:{:02d}Z</time></trkpt>'
KEY = bytes(range(16))
T0 = 1_750_000_000_000


def gpx(points: str, head: str = HEAD, tail: str = TAIL):
    return parse_gpx((head + points + tail).encode(), "file.gpx")


def fault_of(call, *arguments, **named) -> TrackFault:
    with pytest.raises(TrackError) as caught:
        call(*arguments, **named)
    assert caught.value.file
    return caught.value.fault


# --- the real files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hyde_park_1", "battersea_park_2", "thun_1_raw", "thun_2_raw"])
def test_recorded_gpx_files_are_read_as_another_reader_reads_them(data, name):
    path = data / "tracks" / "cmpgpx" / f"{name}.gpx"
    track = read_gpx(path)
    points = ElementTree.parse(path).getroot().iter("{http://www.topografix.com/GPX/1/1}trkpt")
    expected, last = [], -1.0
    total = 0
    for point in points:
        total += 1
        text = str(point.findtext("{http://www.topografix.com/GPX/1/1}time"))
        when = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        if when > last:
            expected.append((when * 1000.0, float(point.attrib["lat"]), float(point.attrib["lon"])))
            last = when
    assert len(track) == len(expected)
    assert track.dropped == total - len(expected)
    assert np.array_equal(
        np.array([track.t_ms, track.lat_deg, track.lon_deg]).T, np.array(expected)
    )


def test_a_bus_route_is_read_trip_by_trip(data):
    path = data / "tracks" / "liverpool_route14.csv"
    trips = read_csv(path, group_by="trip_id")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(trips) == len({row["trip_id"] for row in rows})
    assert sum(len(trip) + trip.dropped for trip in trips.values()) == len(rows) == 1533
    trip = trips[rows[0]["trip_id"]]
    assert trip.lat_deg[0] == float(rows[0]["latitude"])
    for each in trips.values():
        assert (np.diff(each.t_ms) > 0).all()
        speed = separation_m(
            each.lat_deg[:-1], each.lon_deg[:-1], each.lat_deg[1:], each.lon_deg[1:]
        )
        assert np.median(speed / (np.diff(each.t_ms) / 1000.0)) < 20.0


def test_the_zip_of_delivery_tracks_is_read_in_metres(data):
    plane = LocalPlane(51.92, 4.48)
    tracks = read_csv_zip(data / "tracks" / "amazon_goal_trajectories.zip", plane, limit=40)
    assert len(tracks) == 40
    for name, track in tracks.items():
        assert name.endswith(".csv")
        assert 5_000 * 0.5 < np.median(np.diff(track.t_ms)) < 5_000 * 2
        assert abs(track.lat_deg - 51.92).max() < 0.2
    first = tracks["data_anon/trajectory_0000.csv"]
    assert plane.metres(first.lat_deg[0], first.lon_deg[0]) == pytest.approx(
        (-182.8719, 89.6602), abs=1e-3
    )


# --- files that mean harm -------------------------------------------------------------------------


def test_a_sound_file_is_read_in_both_versions_of_gpx():
    for version in ("1/0", "1/1"):
        head = HEAD.replace("1/1", version)
        track = gpx(POINT.format(1) + POINT.format(2), head)
        assert track.t_ms.tolist() == [1_767_225_601_000, 1_767_225_602_000]


BILLION = (
    '<!DOCTYPE gpx [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
OUTSIDE = '<!DOCTYPE gpx [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
REMOTE = '<!DOCTYPE gpx SYSTEM "http://example.org/gpx.dtd">'
BODY = HEAD.removeprefix('<?xml version="1.0"?>')


@pytest.mark.parametrize("evil", [BILLION, OUTSIDE, REMOTE, "<!DOCTYPE gpx>"])
def test_no_dtd_and_no_entity_is_ever_read(evil):
    assert (
        fault_of(gpx, POINT.format(1), '<?xml version="1.0"?>' + evil + BODY)
        is TrackFault.DTD_FORBIDDEN
    )


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        ("", TrackFault.NO_POINTS),
        ("&lol;", TrackFault.NOT_XML),
        ("<trkpt", TrackFault.NOT_XML),
        (
            '<trkpt lat="91" lon="4"><time>2026-01-01T00:00:00Z</time></trkpt>',
            TrackFault.BAD_COORDINATE,
        ),
        (
            '<trkpt lat="nan" lon="4"><time>2026-01-01T00:00:00Z</time></trkpt>',
            TrackFault.BAD_COORDINATE,
        ),
        (
            '<trkpt lat="1e999" lon="4"><time>2026-01-01T00:00:00Z</time></trkpt>',
            TrackFault.BAD_COORDINATE,
        ),
        ('<trkpt lon="4"><time>2026-01-01T00:00:00Z</time></trkpt>', TrackFault.BAD_COORDINATE),
        ('<trkpt lat="5" lon="4"/>', TrackFault.BAD_TIME),
        ('<trkpt lat="5" lon="4"><time>yesterday</time></trkpt>', TrackFault.BAD_TIME),
        (f'<trkpt lat="5" lon="4"><time>{"2" * 5_000}</time></trkpt>', TrackFault.BAD_TIME),
        ("<x>" * 60 + "</x>" * 60, TrackFault.TOO_DEEP),
    ],
)
def test_a_bad_gpx_file_has_its_reason(points, fault):
    assert fault_of(gpx, points) is fault


def test_what_is_no_gpx_is_refused():
    assert fault_of(parse_gpx, b"<html/>", "x") is TrackFault.NOT_GPX
    assert fault_of(parse_gpx, b"<gpx/>", "x") is TrackFault.NOT_GPX
    assert fault_of(parse_gpx, b"", "x") is TrackFault.NOT_XML
    assert fault_of(parse_gpx, b"\xff\xfe\x00", "x") is TrackFault.NOT_XML


def test_files_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr("simulators.tracks.SIM_TRACK_POINTS_MAX", 3)
    points = "".join(POINT.format(n) for n in range(5))
    assert fault_of(gpx, points) is TrackFault.TOO_MANY_POINTS
    monkeypatch.setattr("simulators.tracks.SIM_TRACK_BYTES_MAX", 20)
    assert fault_of(gpx, points) is TrackFault.TOO_LARGE
    path = tmp_path / "big.gpx"
    path.write_bytes(b"x" * 21)
    assert fault_of(read_gpx, path) is TrackFault.TOO_LARGE
    assert fault_of(read_gpx, tmp_path / "none.gpx") is TrackFault.UNREADABLE
    assert fault_of(parse_csv, b"time,lat,lon\n" + b"1" * 30, "x") is TrackFault.TOO_LARGE
    assert limits.SIM_TRACK_POINTS_MAX > 1_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", TrackFault.NO_POINTS),
        (b"time,lat,lon\n", TrackFault.NO_POINTS),
        (b"a,b\n1,2\n", TrackFault.NO_COLUMN),
        (b"time,lat,lon\n2026-01-01,1\n", TrackFault.NO_COLUMN),
        (b"time,lat,lon\n2026-01-01,1,x\n", TrackFault.BAD_COORDINATE),
        (b"time,lat,lon\n2026-01-01,1,-181\n", TrackFault.BAD_COORDINATE),
        (b"time,lat,lon\nsoon,1,1\n", TrackFault.BAD_TIME),
        (b'time,lat,lon\n"2026-01-01,1,1\n', TrackFault.UNREADABLE),
        (b"\xff\xfe\xfa", TrackFault.UNREADABLE),
        (b"time,lat,lon\n" + b"9" * 200_000, TrackFault.UNREADABLE),
    ],
)
def test_a_bad_csv_file_has_its_reason(text, fault):
    assert fault_of(parse_csv, text, "file.csv") is fault


def test_metres_must_be_numbers():
    plane = LocalPlane(0.0, 0.0)
    for value in ("inf", "nan", "far", "1e300"):
        text = f"timestamp,x,y\n2026-01-01,{value},0\n".encode()
        assert fault_of(parse_csv, text, "f", plane=plane) is TrackFault.BAD_COORDINATE


def test_a_bad_line_is_named():
    with pytest.raises(TrackError, match=r"f\.csv:3: bad-time"):
        parse_csv(b"time,lat,lon\n2026-01-01,1,1\nnever,1,1\n", "f.csv")


def zipped(tmp_path, members, compression=zipfile.ZIP_DEFLATED):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_a_zip_that_unpacks_to_the_sky_is_refused(tmp_path, monkeypatch):
    bomb = b"time,lat,lon\n" + b"0" * 5_000_000
    assert fault_of(read_csv_zip, zipped(tmp_path, [("a.csv", bomb)])) is TrackFault.BAD_ZIP
    row = b"time,lat,lon\n2026-01-01,1,1\n"
    assert fault_of(read_csv_zip, zipped(tmp_path, [("a.txt", row)])) is TrackFault.NO_POINTS
    monkeypatch.setattr("simulators.tracks.SIM_TRACK_FILES_MAX", 2)
    many = [(f"{n}.csv", row) for n in range(3)]
    assert fault_of(read_csv_zip, zipped(tmp_path, many)) is TrackFault.TOO_MANY_FILES
    monkeypatch.setattr("simulators.tracks.SIM_TRACK_BYTES_MAX", 40)
    assert fault_of(read_csv_zip, zipped(tmp_path, many[:2])) is TrackFault.TOO_LARGE
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 not a zip")
    assert fault_of(read_csv_zip, broken) is TrackFault.BAD_ZIP


def test_names_in_a_zip_reach_no_file(tmp_path):
    row = b"time,lat,lon\n2026-01-01,1,1\n"
    tracks = read_csv_zip(zipped(tmp_path, [("../../evil.csv", row)]))
    assert list(tracks) == ["../../evil.csv"]
    assert not (tmp_path.parent / "evil.csv").exists()


@given(st.binary(max_size=300))
def test_any_bytes_give_a_track_or_a_reason(noise):
    for read in (parse_gpx, parse_csv):
        with suppress(TrackError):
            assert read(noise, "noise")


# --- played ---------------------------------------------------------------------------------------


def small_track(count=6, step_s=10):
    rows = [
        f"2026-01-01T00:00:{n * step_s:02d}Z,{51.5 + n * 1e-3},{4.5 + n * 1e-3}"
        for n in range(count)
    ]
    return parse_csv(("time,lat,lon\n" + "\n".join(rows)).encode(), "small")[""]


def test_a_track_is_rebased_and_compressed():
    track = small_track()
    played = track.rebased(T0, speed=4.0)
    assert played.t_ms.tolist() == [T0 + 2_500 * n for n in range(6)]
    assert track.rebased(T0, 1e6).dropped == 5
    with pytest.raises(ValueError, match="speed"):
        track.rebased(T0, 0.0)


def test_frames_of_a_track_are_its_fixes():
    track = small_track().rebased(T0)
    frames = track_frames(track, "d-1", KEY, boot=3, first_sequence=10)
    payloads = [frame for _, frame in frames]
    lengths = np.array([len(p) for p in payloads])
    batch = decode_batch(
        b"".join(payloads), np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths
    )
    assert not batch.fault.any()
    assert all(Tagger("d-1", KEY).valid(p) for p in payloads)
    assert batch.fixes.time_ms.tolist() == track.t_ms.tolist() == [at for at, _ in frames]
    assert batch.fixes.lat_e7.tolist() == np.round(track.lat_deg * 1e7).astype(int).tolist()
    assert [read_header(p).sequence for p in payloads] == list(range(10, 16))
    assert fix_columns(track)["time_offset_ms"].tolist() == [
        -50_000,
        -40_000,
        -30_000,
        -20_000,
        -10_000,
        0,
    ]


def test_speed_and_heading_come_from_the_fix_before():
    track = small_track()
    step_m = separation_m(51.5, 4.5, 51.501, 4.501)
    speeds = [place.speed_cm_s for place in places(track)]
    assert speeds[0] == 0
    assert speeds[1] == pytest.approx(step_m * 10, abs=1)
    assert 30 < places(track)[1].heading_cdeg / 100 < 33
    assert len(places(small_track(1))) == 1


def test_a_device_on_a_track_reports_its_fixes_and_answers_in_between():
    carrier, cues = device_on_track(small_track(), "d-1", "p-1", KEY, start_ms=T0, speed=2.0)
    assert [cue.at_ms for cue in cues] == [T0 + 5_000 * n for n in range(6)]
    carrier.handle(LinkChanges(True), T0)
    for cue in cues:
        assert isinstance(cue.what, Sensed)
        out = carrier.handle(cue.what, cue.at_ms)
        assert len(out.frames) == 1
    middle = carrier.sense(T0 + 2_500)
    assert middle is not None
    assert middle.lat_e7 == pytest.approx(515_005_000, abs=2)
    assert carrier.due_ms(T0 + 60_000) is not None
    assert all(action.kind is not ActionKind.TAKE_FIX for action in out.actions)


def test_owntracks_messages_say_what_the_app_says():
    track = small_track().rebased(T0, 0.5)
    messages = owntracks_messages(track, "jan", "phone")
    assert {message.topic for message in messages} == {"owntracks/jan/phone"}
    bodies = [msgspec.json.decode(message.payload) for message in messages]
    assert [body["tst"] for body in bodies] == [T0 // 1000 + 20 * n for n in range(6)]
    assert {body["_type"] for body in bodies} == {"location"}
    assert all(
        isinstance(body[name], int)
        for body in bodies
        for name in ("tst", "acc", "vel", "cog", "batt")
    )
    assert bodies[3]["lat"] == pytest.approx(51.503)
    hurried = owntracks_messages(small_track().rebased(T0, 40.0), "jan", "phone")
    assert len(hurried) == 2
    merged = in_order(messages, hurried)
    assert [m.at_ms for m in merged] == sorted(m.at_ms for m in merged)


def test_the_csv_reader_takes_a_byte_order_mark_and_empty_lines():
    text = io.BytesIO(b"\xef\xbb\xbftime,lat,lon\n\n2026-01-01,1,1\n\n").getvalue()
    assert len(parse_csv(text, "f")[""]) == 1
