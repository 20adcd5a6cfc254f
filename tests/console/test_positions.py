"""Last known positions and tracks against a plain dictionary, and what frames give."""

import random

import msgspec
import numpy as np

from afstand.console_feed import journal_input, journal_inputs
from afstand.limits import CONSOLE_TRACK_POINTS
from console.model.inputs import Fixes
from console.model.model import Model
from console.model.positions import Positions
from firmware_contracts import EventCode
from ingest.entries import FrameFlag, FrameRecord, LaneCode
from tests.afstand.journal import LAT_E7
from tests.conftest import run_seed
from tests.console.room import Room


def fixes_of(rows):
    """Rows of (handle, time_ms, lat_e7) as columns."""
    columns = np.array(rows, np.int64).T
    ones = np.ones(len(rows), np.int64)
    return Fixes(
        columns[0], columns[1], columns[2], ones * 44_800_000, ones * 50, ones * 65_535,
        ones * 9_000, ones, ones * 80,
    )  # fmt: skip


def test_random_fixes_leave_the_newest_of_each_device_and_its_newest_track():
    draw = random.Random(run_seed())
    positions = Positions()
    newest: dict[int, tuple[int, int]] = {}
    tracks: dict[int, list[tuple[int, int]]] = {}
    for step in range(300):
        rows = [
            (draw.choice([1, 2, 3, 900, 5_000]), draw.randrange(step * 40, step * 40 + 400) + 1,
             draw.randrange(1_000_000))
            for _ in range(draw.randint(1, 12))
        ]  # fmt: skip
        positions.fold(fixes_of(rows), seen_ms=step)
        # The newest so far when the entry began decides; within an entry all newer ones count.
        before = dict(newest)
        for handle, time_ms, lat in sorted(rows, key=lambda row: row[:2]):
            if time_ms > before.get(handle, (0, 0))[0]:
                tracks.setdefault(handle, []).append((time_ms, lat))
            if time_ms >= newest.get(handle, (1, 0))[0]:
                newest[handle] = (time_ms, lat)
        if step % 50 == 0:
            positions = Positions.load(positions.dump())
    for handle, (time_ms, _) in newest.items():
        fix = positions.last(handle)
        assert fix is not None
        assert fix.time_ms == time_ms
        assert (fix.accuracy_m, fix.speed_m_s, fix.heading_deg) == (5.0, None, 90.0)
        mine = [(point.time_ms, point.lat_e7) for point in positions.track(handle)]
        assert sorted(time for time, _ in mine) == [
            time for time, _ in sorted(tracks[handle][-CONSOLE_TRACK_POINTS:])
        ]
    assert positions.last(4) is None
    assert positions.track(4) == []
    ages = positions.ages_ms(np.array([1, 4, 70_000]), newest[1][0] + 5)
    assert ages.tolist() == [5, -1, -1]


def test_only_proven_frames_move_a_device():
    room = Room()
    room.frames(room.journal.fix("tag-1", 1, 100.0))
    forged = room.journal.fix("tag-1", 1, 900.0)
    room.journal.pass_s(10)
    room.frames(FrameRecord(1, LaneCode.FIX, FrameFlag(0), room.journal.now_ms, forged.payload))
    fix = room.model.positions.last(1)
    assert fix is not None
    assert fix.lat_e7 == LAT_E7 + 9_000


def test_an_event_that_two_intakes_journalled_is_one_line():
    room = Room()
    press = room.journal.event("victim-2", 2, EventCode.BATTERY_LOW)
    room.frames(press)
    room.frames(press)
    log = room.model.log_of("vera")
    said = [(e.what, e.device_id) for e in log if e.key.startswith("2/")]
    assert said == [("battery-low", "victim-2")]
    # Beside it stands what the watch made of it.
    assert [e.lane for e in log] == ["device", "device"]


def test_entries_read_together_say_what_each_says_alone():
    room = Room()
    draw = random.Random(run_seed())
    entries = []
    for step in range(120):
        room.journal.pass_s(1)
        records = []
        for _ in range(draw.randint(1, 5)):
            handle = draw.choice([1, 2])
            device = {1: "tag-1", 2: "victim-2"}[handle]
            match draw.randrange(5):
                case 0:
                    code = draw.choice([EventCode.PANIC, EventCode.BATTERY_LOW])
                    records.append(room.journal.event(device, handle, code))
                case 1:
                    body = (
                        f'{{"_type":"location","lat":52.1,"lon":4.{step},"acc":9,'
                        f'"tst":{room.journal.now_ms // 1000}}}'
                    )
                    phone = FrameRecord(
                        3, LaneCode.OWNTRACKS, draw.choice([FrameFlag(0), FrameFlag.AUTHENTICATED]),
                        room.journal.now_ms, body.encode(),
                    )  # fmt: skip
                    records.append(phone)
                case 2:
                    torn = room.journal.fix(device, handle, 1.0)
                    cut = draw.randrange(len(torn.payload))
                    records.append(msgspec.structs.replace(torn, payload=torn.payload[:cut]))
                case _:
                    records.append(room.journal.fix(device, handle, draw.uniform(0, 900)))
        entry = room.journal.frames(*records)
        if draw.random() < 0.1:
            entry = entry._replace(blob=entry.blob[:-1])  # one that cannot be read
        entries.append(entry)
        if draw.random() < 0.1:
            entries.append(room.journal.tick())
    alone = [said for entry in entries if (said := journal_input("p", entry)) is not None]
    together = journal_inputs("p", entries)
    assert len(together) > 80
    assert list(map(repr, together)) == list(map(repr, alone))
    models = Model(), Model()
    for model, inputs in zip(models, (alone, together), strict=True):
        for said in inputs:
            model.fold(said)
    assert models[0].dump() == models[1].dump()
    assert models[0].positions.fixes > 100
