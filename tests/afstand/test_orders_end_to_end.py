"""From a cases document to the explanation of an alarm, for the orders that are less common.

Border, report duty, many-to-many: imported, watched, alarmed and told. What is expected comes from
plane geometry and the calendar, not from the engine.
"""

import datetime as dt
import itertools
import math
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
import shapely

from afstand.cases import check_cases, import_cases
from afstand.explain.account import Account, account_of
from afstand.explain.reading import gather, read_name
from afstand.explain.telling import tell
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    Change,
    Defined,
    IncidentRecord,
    Notice,
    Rejected,
    VerdictRecord,
)
from firmware_contracts.frames import encode_fixes, fix_records
from geofence.verdicts import VerdictReason, VerdictState
from ingest.entries import Entry, EntryKind, FrameBatch, FrameFlag, FrameRecord, LaneCode
from ingest.outbox import OutboxEntry
from ingest.store import BEGINNING, EntryId

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
KEY = "00112233445566778899aabbccddeeff"
LAT, LON = 51.92, 4.48
M_LAT, M_LON = 1 / 111_260.0, 1 / 68_750.0  # a metre in degrees, there
START = dt.datetime(2026, 10, 19, 8, 30, tzinfo=AMSTERDAM)  # a Monday, six days before winter time
START_MS = round(START.timestamp() * 1000)
VALID = {"valid_from_ms": START_MS - 86_400_000, "signed_at_ms": START_MS - 86_400_000,
         "served_at_ms": START_MS - 86_400_000, "plan_id": "plan"}  # fmt: skip
PLAN = {
    "format": "afstand.plan/1",
    "id": "plan",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 60,
         "classes": ["panic", "proximity", "tamper", "area-breach"]},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 600,
         "needs": "delivered"},
    ],
}  # fmt: skip


class _Registry:
    def __iter__(self):
        return iter(())  # every device is new

    def find(self, device_id):
        return None

    async def put_many(self, records):
        return [msgspec.structs.replace(r, handle=n) for n, r in enumerate(records, 1)]


class Town:
    """A site in memory: a document imported, devices that report, an outbox that is kept."""

    def __init__(self) -> None:
        self.watch = Watch("0")
        self.now_ms = START_MS
        self.kept: list[OutboxEntry] = []
        self.handles: dict[str, int] = {}
        self._ids = itertools.count()
        self._sequences = itertools.count(1)

    async def append_many(self, appends, also=()):
        for append in appends:
            self._fold(append.kind, append.blob)
        return [EntryId(1, n) for n in range(len(appends))], []

    async def take(self, **parts: Any) -> None:
        document = {"format": "afstand.cases/1", "plans": [PLAN], **parts}
        cases = check_cases(msgspec.json.encode(document), "cases.json")
        registry: Any = _Registry()
        journal: Any = self
        await import_cases(cases, registry, journal, ("0",))
        self.handles |= {device.id: n for n, device in enumerate(cases.devices, 1)}
        assert self.outputs(Rejected) == []

    def _fold(self, kind: EntryKind, blob: bytes) -> None:
        entry = Entry(EntryId(self.now_ms, next(self._ids)), kind, blob)
        written = self.watch.step(entry).blob
        if written is not None:
            self.kept.append(OutboxEntry(entry.id, written))

    def until(self, at: dt.datetime) -> None:
        """Let time pass with a tick now and then, and one at its end."""
        end_ms = round(at.timestamp() * 1000)
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + 1_800_000, end_ms)
            self._fold(EntryKind.TICK, b"")

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def report(self, **places: tuple[float, float]) -> None:
        """One entry with a fix of each device, metres north and east of the middle."""
        records = []
        for device, (north, east) in places.items():
            row = fix_records(1)
            row["lat_e7"] = round((LAT + north * M_LAT) * 1e7)
            row["lon_e7"] = round((LON + east * M_LON) * 1e7)
            row["accuracy_dm"], row["mechanism"] = 50, 1
            row["speed_cm_s"], row["heading_cdeg"] = 65_535, 65_535
            raw = encode_fixes(device, bytes.fromhex(KEY), boot=1, sequence=next(self._sequences),
                               device_time_ms=self.now_ms, records=row)  # fmt: skip
            handle = self.handles[device]
            records.append(
                FrameRecord(handle, LaneCode.FIX, FrameFlag.AUTHENTICATED, self.now_ms, raw)
            )
        self._fold(EntryKind.FRAMES, FrameBatch.build(records))

    async def outbox(self, after=BEGINNING, until=None):
        """The outbox as the archive and the store give it."""
        for entry in list(self.kept):
            if entry.id > after and (until is None or entry.id <= until):
                yield [entry]

    def outputs(self, kind):
        return [o for e in self.kept for o in decode_envelope(e.blob).outputs
                if isinstance(o, kind)]  # fmt: skip

    async def told(self, name: str, language="nl") -> tuple[Account, str]:
        account = account_of(await gather(self, read_name(name, ["0"])), language, positions=False)
        return account, "\n".join(tell(account, language, AMSTERDAM))


def person(name: str, role: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A person and the device of that person, under the name of the person."""
    return {"id": name, "role": role}, {"id": name, "person": name, "role": role, "key": KEY}


async def test_a_border_of_forty_thousand_vertices():
    """A country and an island of it; leaving both is the breach."""
    turns = np.arange(39_900) * 2 * math.pi / 39_900
    radii = 30_000 * (1 + 0.1 * np.sin(7 * turns))
    ring = np.column_stack([LON + radii * np.cos(turns) * M_LON,
                            LAT + radii * np.sin(turns) * M_LAT]).round(7).tolist()  # fmt: skip
    corners = ((-900, -900), (-900, 900), (900, 900), (900, -900), (-900, -900))
    island = [[LON + (60_000 + e) * M_LON, LAT + n * M_LAT] for n, e in corners]
    border = {"type": "MultiPolygon", "coordinates": [[[*ring, ring[0]]], [island]]}
    wim, tag = person("wim", "wearer")
    town = Town()
    order = {"id": "uitreis", "kind": "exit-ban", "wearer_id": "wim", "zone_ids": ["land"],
             "buffer_m": 2000, "risk_class": 1, "title": "Uitreisverbod, art. 14c Sr",
             "authority": "Rechtbank Den Haag", "case_number": "09/654321-26", **VALID}  # fmt: skip
    zone = {"id": "land", "name": "Nederland", "geometry": border}
    await town.take(persons=[wim], devices=[tag], zones=[zone], orders=[order])
    assert "zone land@1" in [f"{taken.what} {taken.ref}" for taken in town.outputs(Defined)]
    # East along a line on which the border is at 30 km: 7 turns of the wave give no swing there.
    for east in (0, 5000, 15_000, 25_000, 27_500, 29_500, 30_100, 31_500, 33_000):
        town.wait(300)
        town.report(wim=(0, east))
    states = [r.verdict.state for r in town.outputs(VerdictRecord) if r.verdict.zone_id == "land"]
    assert states[0] is VerdictState.CLEAR
    assert VerdictState.WARNING in states
    alarms = [a for a in town.outputs(AlarmRecord) if a.change is Change.RAISED]
    assert {a.alarm_class for a in alarms} >= {AlarmClass.AREA_BREACH}
    raised = next(a for a in alarms if a.alarm_class is AlarmClass.AREA_BREACH)
    account, text = await town.told(raised.alarm_id)
    out = next(j.verdict for j in account.verdicts if j.verdict.state is VerdictState.CONFIRMED)
    assert out.order_kind == "exit-ban"
    # One fix is worth 0.5 ln(39) = 1.83 and the threshold is 2: the second beyond.
    assert out.distance_mm is not None
    metres = [((lon - LON) / M_LON, (lat - LAT) / M_LAT) for lon, lat in ring]
    beyond = shapely.Polygon(metres).distance(shapely.Point(31_500, 0))
    assert 1000 < beyond < 1500, "the border runs aslant there"
    assert out.distance_mm / 1000 == pytest.approx(-beyond, rel=0.005)
    assert "Uitreisverbod: niet over de grens" in text
    assert "Grond: Uitreisverbod, art. 14c Sr, Rechtbank Den Haag, 09/654321-26" in text
    assert 'Gebied land "Nederland", versie 1' in text
    assert "over de landsgrens" in text
    assert "Strook die waarschuwt: 2.000 m" in text


async def test_a_report_duty_that_is_missed_met_late_and_met():
    """Mondays from nine to ten at the office; the first is missed without a single fix."""
    wim, tag = person("wim", "wearer")
    town = Town()
    circle = {"lat_e7": round(LAT * 1e7), "lon_e7": round(LON * 1e7), "radius_m": 100}
    office = {"id": "bureau", "name": "Bureau reclassering", "circle": circle}
    order = {"id": "meldplicht", "kind": "location-order", "wearer_id": "wim",
             "zone_ids": ["bureau"], "presence": "once", "title": "Meldplicht, art. 509hh Sv",
             "silence_s": 86_400, "risk_class": 2, **VALID,
             "schedule": {"timezone": "Europe/Amsterdam",
                          "weekly": [{"day": 0, "start": "09:00", "end": "10:00"}]}}  # fmt: skip
    await town.take(persons=[wim], devices=[tag], zones=[office], orders=[order])
    town.until(START.replace(hour=10, minute=5))
    missed = [r.verdict for r in town.outputs(VerdictRecord)
              if r.verdict.reason is VerdictReason.REPORT_DUTY_MISSED]  # fmt: skip
    ten = round(START.replace(hour=10, minute=0).timestamp() * 1000)
    assert [(v.at_ms, v.fix_ms, v.escalate) for v in missed] == [(ten, None, True)]
    raised = next(a for a in town.outputs(AlarmRecord) if a.change is Change.RAISED)
    assert raised.alarm_class is AlarmClass.ORDER_BREACH
    assert "reclassering" in {n.target for n in town.outputs(Notice)}
    _, text = await town.told(raised.alarm_id)
    assert "Meldplicht: ten minste eenmaal in elk tijdvak op de plaats zijn." in text
    assert "is er niet op de plaats gezien. [report-duty-missed]" in text
    # He comes at half past ten: late, and told as such.
    town.until(START.replace(hour=10, minute=30))
    town.report(wim=(10, 0))
    town.wait(60)
    town.report(wim=(10, 0))
    _, text = await town.told(raised.alarm_id)
    assert "De drager heeft zich alsnog gemeld, na afloop van het tijdvak." in text
    # The next Monday is one of winter time: nine o'clock is an hour later. He is there at 09:50.
    monday = dt.datetime(2026, 10, 26, 9, 50, tzinfo=AMSTERDAM)
    town.until(monday)
    town.report(wim=(20, 0))
    town.until(monday.replace(hour=12))
    missed = [r.verdict for r in town.outputs(VerdictRecord)
              if r.verdict.reason is VerdictReason.REPORT_DUTY_MISSED]  # fmt: skip
    assert len(missed) == 1
    # And the Monday after that he is not.
    town.until(dt.datetime(2026, 11, 2, 12, 0, tzinfo=AMSTERDAM))
    missed = [r.verdict.at_ms for r in town.outputs(VerdictRecord)
              if r.verdict.reason is VerdictReason.REPORT_DUTY_MISSED]  # fmt: skip
    end = dt.datetime(2026, 11, 2, 10, 0, tzinfo=AMSTERDAM)
    assert missed == [ten, round(end.timestamp() * 1000)]


async def test_every_pair_of_three_wearers_and_four_protected_persons_is_judged():
    """Who is within 500 m of whom, by plane geometry; one incident for each such pair."""
    wearers = {"w1": (0, 0), "w2": (3000, 0), "w3": (0, 6000)}
    protected = {"p1": (300, 0), "p2": (3000, 350), "p3": (2800, -200), "p4": (0, 9000)}
    bans = {"w1": ("p1", "p2", "p4"), "w2": ("p1", "p2", "p3"), "w3": ("p2", "p3", "p4")}
    people = [person(name, "wearer") for name in wearers]
    people += [person(name, "protected") for name in protected]
    orders = [{"id": f"ban-{wearer}", "kind": "contact-ban", "wearer_id": wearer,
               "protected_ids": list(names), "radius_m": 500, "risk_class": 1, **VALID}
              for wearer, names in bans.items()]  # fmt: skip
    town = Town()
    await town.take(
        persons=[one[0] for one in people], devices=[one[1] for one in people], orders=orders
    )
    for _ in range(5):
        town.wait(60)
        town.report(**wearers, **protected)
    # p4 goes to w3, and p1 away from w1.
    places = protected | {"p4": (0, 6100), "p1": (300, -2000)}
    for _ in range(8):
        town.wait(60)
        town.report(**wearers, **places)

    def near(where: dict[str, tuple[int, int]]) -> set[tuple[str, str]]:
        return {(w, p) for w, names in bans.items() for p in names
                if math.dist(wearers[w], where[p]) < 500}  # fmt: skip

    expected = near(protected) | near(places)
    assert expected == {("w1", "p1"), ("w2", "p2"), ("w2", "p3"), ("w3", "p4")}
    verdicts = [r.verdict for r in town.outputs(VerdictRecord)]
    judged = {(v.wearer_id, v.protected_id) for v in verdicts}
    assert judged == {(w, p) for w, names in bans.items() for p in names}
    confirmed = {(v.wearer_id, v.protected_id)
                 for v in verdicts if v.state is VerdictState.CONFIRMED}  # fmt: skip
    assert confirmed == expected
    incidents = {i.incident_id: (i.wearer_id, i.protected_id)
                 for i in town.outputs(IncidentRecord)}  # fmt: skip
    assert sorted(incidents.values()) == sorted(expected)
    for name, (wearer, victim) in incidents.items():
        account, text = await town.told(name)
        assert {(j.verdict.wearer_id, j.verdict.protected_id) for j in account.verdicts} == {
            (wearer, victim)
        }
        assert f"beschermde persoon {victim}" in text
        for other in set(protected) - {victim}:
            assert other not in text, "nothing of another protected person"
    # A person who is taken out of a ban is told of no more, and what held of her ends.
    changed = orders[1] | {"version": 2, "protected_ids": ["p1", "p3"]}
    town.wait(60)
    await town.take(
        persons=[one[0] for one in people],
        devices=[one[1] for one in people],
        orders=[orders[0], changed, orders[2]],
    )
    ended = town.outputs(VerdictRecord)[-1].verdict
    withdrawn = [r.verdict for r in town.outputs(VerdictRecord)
                 if r.verdict.reason is VerdictReason.ORDER_WITHDRAWN]  # fmt: skip
    assert [(v.wearer_id, v.protected_id) for v in withdrawn] == [("w2", "p2")]
    assert ended.at_ms == town.now_ms
    pair = next(name for name, pair in incidents.items() if pair == ("w2", "p2"))
    account, _ = await town.told(pair)
    returned = [a for a in account.alarms if a.change is Change.RETURNED]
    assert returned[-1].reason == VerdictReason.ORDER_WITHDRAWN
