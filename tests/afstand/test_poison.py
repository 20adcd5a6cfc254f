"""Faults of the program that some devices bring to light: set aside, told, the same everywhere.

A tenth of the devices make the engine raise, another tenth make decoding raise, and a tenth of all
frames are malformed. What the others have to say is what it would be without them.
"""

import random
import re

import msgspec
import numpy as np
import pytest

from afstand.commands import DefineDevice, DefineOrder, DefinePerson, DefineZone
from afstand.watch import fold as fold_module
from afstand.watch import frames as frames_module
from afstand.watch import page as page_module
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, AlarmRecord, DefinePlan, Notice
from firmware_contracts import EventCode
from geofence.engine import Engine
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind
from ingest.columns import EntryColumns
from ingest.entries import FrameRecord, LaneCode
from tests.afstand.journal import LAT_E7, LON_E7, PLAN, START_MS, Journal
from tests.conftest import run_seed

DEVICES = 40
FAR_M = 3_000


class BoomError(Exception):
    """A fault of the program."""


def throws_in_engine(n: int) -> bool:
    return n % 10 == 3


def throws_in_decoding(n: int) -> bool:
    return n % 10 == 7


def is_well(n: int) -> bool:
    return not throws_in_engine(n) and not throws_in_decoding(n)


def made(seed: int, wanted) -> Journal:
    """Everybody walks; some go into the zone, some press. Of `wanted` devices only."""
    draw = random.Random(seed)
    journal = Journal()
    circle = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=200)
    journal.command(DefinePlan(plan=msgspec.json.encode(PLAN)))
    journal.command(DefineZone(zone=Zone(id="z", circle=circle)))
    for n in range(DEVICES):
        journal.command(DefinePerson(person_id=f"p{n}", role=Role.WEARER))
        journal.command(
            DefineDevice(handle=n + 1, device_id=f"d{n}", person_id=f"p{n}", role=Role.WEARER)
        )
        journal.command(
            DefineOrder(
                order=Order(
                    id=f"o{n}",
                    kind=OrderKind.AREA_BAN,
                    wearer_id=f"p{n}",
                    zone_ids=("z",),
                    valid_from_ms=START_MS - 10**6,
                    signed_at_ms=START_MS - 10**6,
                    served_at_ms=START_MS - 10**6,
                    plan_id="plan",
                )
            )
        )
    for minute in range(12):
        for part in range(5):
            journal.pass_s(4)
            records: list[FrameRecord] = []
            for n in range(part, DEVICES, 5):
                inside = n % 4 == 0 and minute >= 5
                metres = (20 if inside else FAR_M) + draw.uniform(-9, 9)
                malformed, kept, late = draw.random() < 0.1, draw.random(), draw.choice([0, 0, 1])
                presses = minute == 8 and n % 6 == 1
                sequence = journal.next_sequence(f"d{n}")
                if not wanted(n):
                    continue
                record = journal.fix(f"d{n}", n + 1, metres, late_s=late, sequence=sequence)
                if malformed:
                    payload = record.payload[: int(kept * len(record.payload))]
                    record = FrameRecord(
                        record.handle, LaneCode.FIX, record.flags, record.received_ms, payload
                    )
                records.append(record)
                if presses:
                    records.append(journal.event(f"d{n}", n + 1, EventCode.PANIC))
            journal.frames(*records)
    return journal


@pytest.fixture
def faults(monkeypatch):
    """The faults of the program."""
    bad_persons = [n for n in range(DEVICES) if throws_in_engine(n)]
    bad_handles = {n + 1 for n in range(DEVICES) if throws_in_decoding(n)}
    for name in ("observe", "quiet_entries"):
        whole = getattr(Engine, name)

        def raising(self, fixes, *rest, whole=whole, **more):
            rows = [self.person_handle(f"p{n}") for n in bad_persons]
            if np.isin(fixes.person, [row for row in rows if row is not None]).any():
                raise BoomError("in the engine")
            return whole(self, fixes, *rest, **more)

        monkeypatch.setattr(Engine, name, raising)
    read_inputs, read_page = frames_module.read_inputs, page_module.read_page

    def reading(batch, devices, now_ms):
        if bad_handles & set(batch.handles.tolist()):
            raise BoomError("in decoding")
        return read_inputs(batch, devices, now_ms)

    def paging(entries):
        page = read_page(entries)
        if bad_handles & set(page.handles.tolist()):
            raise BoomError("in decoding")
        return page

    monkeypatch.setattr(fold_module, "read_inputs", reading)
    monkeypatch.setattr(fold_module, "read_page", paging)


def outbox(journal: Journal, sizes, *, reload: bool = False):
    """All outbox entries and the state, folded in pages of the given sizes."""
    watch, found, at = Watch("p"), [], 0
    while at < len(journal.entries):
        page = journal.entries[at : at + sizes()]
        at += len(page)
        folding = watch.fold(EntryColumns.of(page))
        found += [(one.id, one.blob) for one in folding if one.blob is not None]
        if reload:
            watch = Watch.load("p", watch.dump())
    return found, watch.dump()


def notices(found) -> list[Notice]:
    return [
        output
        for _, blob in found
        for output in decode_envelope(blob).outputs
        if isinstance(output, Notice)
    ]


def about(found) -> set:
    """Who is told what about whom, without the alarms of the program about itself."""
    return {
        (one.alarm_class, one.device_id, one.wearer_id, one.order_id, one.target)
        for one in notices(found)
        if one.alarm_class is not AlarmClass.SYSTEM
    }


@pytest.mark.usefixtures("faults")
def test_replicas_that_read_in_other_pages_and_start_from_snapshots_do_not_differ():
    seed = run_seed()
    journal, draw = made(seed, lambda _: True), random.Random(seed)
    expected = outbox(journal, lambda: 1)
    assert outbox(journal, lambda: draw.randrange(1, 40)) == expected, seed
    assert outbox(journal, lambda: 10_000) == expected, seed
    found, _ = outbox(journal, lambda: draw.randrange(1, 40), reload=True)
    assert found == expected[0], seed


def test_devices_that_raise_are_told_and_take_nobody_along(faults):
    seed = run_seed()
    del faults
    found, _ = outbox(made(seed, lambda _: True), lambda: 17)
    well, _ = outbox(made(seed, is_well), lambda: 17)
    mine = {one for one in about(found) if is_well(int((one[1] or one[2] or "d0")[1:]))}
    assert mine == about(well)
    assert any(one[0] is AlarmClass.AREA_BREACH for one in mine)
    assert any(one[0] is AlarmClass.PANIC for one in mine)
    outputs = [output for _, blob in found for output in decode_envelope(blob).outputs]
    told = [one for one in outputs if getattr(one, "reason", "") == "device-set-aside"]
    text = " ".join(one.detail for one in told if isinstance(one, Notice | AlarmRecord))
    named = {int(n) for n in re.findall(r"\bd(\d+)\b", text)}
    assert named == {n for n in range(DEVICES) if not is_well(n)}
    assert "BoomError" in text
    last = [one for one in told if isinstance(one, Notice)][-1]
    assert f"{len(named)} set aside in all" in last.detail
