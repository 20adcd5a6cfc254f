"""Several partitions give the alarms of one: everybody who is tied is in one of them.

The same people, orders and frames, once in one journal and once spread over four as an import
spreads them; every entry has the same time in both.
"""

import random
from typing import Any

import msgspec
import pytest

from afstand.cases import check_cases, import_cases
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, Notice
from firmware_contracts import EventCode
from ingest.columns import EntryColumns
from ingest.entries import FrameRecord
from tests.afstand.journal import LAT_E7, LON_E7, PLAN, START_MS, Journal
from tests.afstand.test_cases import _Journal, _Registry
from tests.conftest import run_seed

PAIRS = 10
NAMES = ("a", "b", "c", "d")
BAN = {
    "valid_from_ms": START_MS - 10**6, "signed_at_ms": START_MS - 10**6,
    "served_at_ms": START_MS - 10**6, "plan_id": "plan",
}  # fmt: skip


def document() -> bytes:
    """Wearers tied to protected persons, two of them to two; each has an area ban as well."""
    persons = [(f"{kind}{n}", kind) for n in range(PAIRS) for kind in "wv"]
    roles = {"w": "wearer", "v": "protected"}
    return msgspec.json.encode(
        {
            "format": "afstand.cases/1",
            "persons": [{"id": one, "role": roles[kind]} for one, kind in persons],
            "devices": [
                {"id": f"d-{one}", "person": one, "role": roles[kind], "contract": "em1",
                 "key": "ab" * 16}
                for one, kind in persons
            ],
            "zones": [
                {"id": "z", "circle": {"lat_e7": LAT_E7, "lon_e7": LON_E7, "radius_m": 300}}
            ],
            "orders": [
                {"id": f"c{n}", "kind": "contact-ban", "wearer_id": f"w{n}", "radius_m": 200,
                 "protected_ids": [f"v{n}", f"v{n + 1}"] if n in {2, 6} else [f"v{n}"], **BAN}
                for n in range(PAIRS)
            ] + [
                {"id": f"a{n}", "kind": "area-ban", "wearer_id": f"w{n}", "zone_ids": ["z"],
                 "buffer_m": 100, **BAN}
                for n in range(PAIRS)
            ],
            "plans": [PLAN],
        }
    )  # fmt: skip


async def imported(names: tuple[str, ...]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The definitions of every partition, and the devices."""
    journal: Any = _Journal()
    registry: Any = _Registry()
    await import_cases(check_cases(document(), "f"), registry, journal, names)
    commands = {name: [c for at, c in journal.commands if at == name] for name in names}
    return commands, registry.devices


def alarms(watch: Watch, journal: Journal) -> set[tuple[Any, ...]]:
    """Who is told when, about whom, and why; without the alarms of the service about itself."""
    blobs = [one.blob for one in watch.fold(EntryColumns.of(journal.entries)) if one.blob]
    return {
        (one.at_ms, one.alarm_class, one.device_id, one.wearer_id, one.protected_id, one.order_id,
         one.target, one.purpose, one.reason)
        for blob in blobs
        for one in decode_envelope(blob).outputs
        # How busy its operators are each partition counts for itself.
        if isinstance(one, Notice) and one.alarm_class is not AlarmClass.SYSTEM
    }  # fmt: skip


@pytest.mark.parametrize("offset", range(3))
async def test_four_partitions_give_the_alarms_of_one(offset):
    seed = run_seed() + offset
    draw = random.Random(seed)
    one_commands, one_devices = await imported(("0",))
    commands, devices = await imported(NAMES)
    assert {device.handle for device in one_devices.values()} == {
        device.handle for device in devices.values()
    }
    assert len({device.partition for device in devices.values()}) > 2
    one, parts = Journal(), {name: Journal() for name in NAMES}
    for journal, mine in [(one, one_commands["0"]), *((parts[n], commands[n]) for n in NAMES)]:
        for command in mine:
            journal.command(command)
    home = {name: draw.uniform(1_500, 9_000) for name in devices}
    for turn in range(60):
        records: dict[str, list[FrameRecord]] = {name: [] for name in NAMES}
        for name, device in sorted(devices.items()):
            number = int(name.removeprefix("d-")[1:])
            north = home[name] + draw.uniform(-20, 20)
            if turn > 10 and number % 3 == 0:
                # The wearer comes nearer to the first protected person from turn to turn.
                target = home[f"d-v{number}"]
                if name.startswith("d-w"):
                    north = target + max(20.0, 2_500.0 - 90.0 * turn) + draw.uniform(-9, 9)
            if turn > 30 and number % 4 == 1 and name.startswith("d-w"):
                north = draw.uniform(-30, 30)  # in the zone
            silent = turn > 20 and number == 8 and name.startswith("d-w")
            if draw.random() < 0.1 or silent:
                continue
            records[device.partition].append(one.fix(name, device.handle, north))
            if draw.random() < 0.01:
                code = EventCode.STRAP_CUT if name.startswith("d-w") else EventCode.PANIC
                records[device.partition].append(one.event(name, device.handle, code))
        one.frames(*(record for part in records.values() for record in part))
        for name, journal in parts.items():
            journal.now_ms = one.now_ms
            if records[name]:
                journal.frames(*records[name])
            else:
                journal.tick()
            journal.pass_s(10)
        one.pass_s(10)
    expected = alarms(Watch("0"), one)
    found: set[tuple[Any, ...]] = set()
    for name, journal in parts.items():
        found |= alarms(Watch(name), journal)
    assert found == expected, f"seed {seed}"
    classes = {alarm[1] for alarm in expected}
    assert {AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH} <= classes
