"""The scenario suite through the journals of a cluster gives the alarms of one process.

Three primaries with replicas, four partitions, two watches of each, as real processes. What the
devices of the suite send is written into the journals under the times at which it arrived, so that
hours take seconds; a single fold gets the same frames in one journal.

`AFSTAND_SUITE=all ./run test tests/acceptance/test_suite_on_cluster.py` plays every family; without
it some runs of each.
"""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import pytest

from afstand.cases import check_cases, import_cases
from afstand.commands import JournalCommand, encode_command
from afstand.embedded import Endpoint
from afstand.roles import open_store
from afstand.site import Site, TargetSpec, new_secret, write_config
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, Notice
from firmware_contracts.frames import encode_event, encode_fixes, fix_records
from ingest.columns import EntryColumns
from ingest.entries import (
    Entry,
    EntryKind,
    FrameBatch,
    FrameFlag,
    FrameRecord,
    LaneCode,
    entry_fields,
)
from ingest.journal import Journal
from ingest.store import EntryId, Store, journal_key, pipeline
from simulators.suite import Play, Run, boundaries, coincidences, long_days, queensland
from tests.acceptance.partitioned import PLAN, outputs_of, until
from tests.afstand.test_cases import _Journal, _Registry
from tests.cluster_servers import ClusterServers

PARTITIONS = ("p0", "p1", "p2", "p3")
WATCHES = ("watch-0", "watch-1")
SEED = 3
KEY = bytes(range(16))
TURN_MS = 5_000
PIPELINE = 500


def chosen() -> list[Run]:
    everything = [
        *queensland(SEED), *coincidences(SEED), *boundaries(SEED), *long_days(SEED, hours=2.0)
    ]  # fmt: skip
    if os.environ.get("AFSTAND_SUITE") == "all":
        return everything
    return [run for run in everything if run.end_ms - run.start_ms <= 3_600_000][::2]


def document(runs: Sequence[Run]) -> bytes:
    """Everybody of the runs, each with a device."""
    carried = [one for run in runs for one in run.devices]
    plans = {order["plan_id"] for run in runs for order in run.orders}
    return msgspec.json.encode(
        {
            "format": "afstand.cases/1",
            "persons": [{"id": one.person_id, "role": one.role} for one in carried],
            "devices": [
                {"id": f"d-{one.person_id}", "person": one.person_id, "role": one.role,
                 "contract": "em1", "key": KEY.hex()}
                for one in carried
            ],
            "zones": [zone for run in runs for zone in run.zones],
            "orders": [order for run in runs for order in run.orders],
            "plans": [PLAN | {"id": plan} for plan in sorted(plans)],
        }
    )  # fmt: skip


async def imported(runs: Sequence[Run], names: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    journal: Any = _Journal()
    registry: Any = _Registry()
    await import_cases(check_cases(document(runs), "suite"), registry, journal, names)
    return journal.commands, registry.devices


class Journals:
    """Entries under the times of the suite, by partition."""

    def __init__(self, names: Sequence[str]) -> None:
        self.entries: dict[str, list[Entry]] = {name: [] for name in names}

    def add(self, name: str, at_ms: int, kind: EntryKind, blob: bytes = b"") -> None:
        entries = self.entries[name]
        seq = entries[-1].id.seq + 1 if entries and entries[-1].id.ms == at_ms else 0
        entries.append(Entry(EntryId(at_ms, seq), kind, blob))

    def define(self, commands: Sequence[tuple[str, JournalCommand]], at_ms: int) -> None:
        for name, command in commands:
            self.add(name, at_ms, EntryKind.COMMAND, encode_command(command))


def frames(play: Play, sequences: Counter[str], to_ms: int, devices: Any) -> list[Any]:
    """What arrived until an instant, as the frames that intakes would journal: (device, frame)."""
    arrived = play.advance(to_ms)
    found = []
    for fix in arrived.fixes:
        name = f"d-{play.devices[int(fix['device'])].carried.person_id}"
        sequences[name] += 1
        row = fix_records(1)
        for field in ("lat_e7", "lon_e7", "accuracy_dm", "speed_cm_s", "heading_cdeg", "mechanism"):
            row[field] = fix[field]
        raw = encode_fixes(
            name, KEY, boot=1, sequence=sequences[name], device_time_ms=int(fix["time_ms"]),
            records=row,
        )  # fmt: skip
        found.append((name, LaneCode.FIX, raw))
    for event in arrived.events:
        name = f"d-{play.devices[event.device].carried.person_id}"
        sequences[name] += 1
        raw = encode_event(
            name, KEY, boot=1, sequence=sequences[name], device_time_ms=event.time_ms,
            code=event.code,
        )  # fmt: skip
        found.append((name, LaneCode.EVENT, raw))
    return [
        (
            devices[name],
            FrameRecord(devices[name].handle, lane, FrameFlag.AUTHENTICATED, to_ms, raw),
        )
        for name, lane, raw in found
    ]


def played(runs: Sequence[Run], devices: Any, one: Journals, parts: Journals) -> int:
    """Play the runs into both; the last instant."""
    play, sequences = Play(runs), Counter[str]()
    now_ms = runs[0].start_ms
    while now_ms < play.end_ms:
        now_ms += TURN_MS
        came = frames(play, sequences, now_ms, devices)
        for name, entries in ((None, one), *((name, parts) for name in PARTITIONS)):
            mine = [record for device, record in came if name in (None, device.partition)]
            where = name or "one"
            # A tick where nothing came: all partitions see the same instants.
            if mine:
                entries.add(where, now_ms, EntryKind.FRAMES, FrameBatch.build(mine))
            else:
                entries.add(where, now_ms, EntryKind.TICK)
    return now_ms


def told(outputs: Sequence[Any], until_ms: int) -> Counter[tuple[Any, ...]]:
    """Who is told when of what, without the alarms of the service about itself."""
    return Counter(
        (one.at_ms, one.alarm_class, one.device_id, one.wearer_id, one.protected_id, one.order_id,
         one.target, one.purpose, one.reason)
        for one in outputs
        if isinstance(one, Notice)
        and one.alarm_class is not AlarmClass.SYSTEM
        and one.at_ms <= until_ms
    )  # fmt: skip


async def write(store: Store, journals: Journals) -> None:
    """Write all entries. A node that answers late is asked how far it came, and the rest again."""
    for name, entries in journals.entries.items():

        async def written(name: str = name, entries: list[Entry] = entries) -> bool:
            last = await Journal(store).last_id(name)
            part = [entry for entry in entries if entry.id > last][:PIPELINE]

            def fill(pipe: Any) -> None:
                for entry in part:
                    fields = entry_fields(entry.kind, entry.blob)
                    pipe.execute_command("XADD", journal_key(name), str(entry.id), *fields)

            if part:
                await pipeline(store, fill)
            return await Journal(store).last_id(name) == entries[-1].id

        await until(written, f"{name} is written")
        assert await Journal(store).length(name) == len(entries)


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(900)
async def test_the_suite_on_a_cluster_gives_the_alarms_of_one_process(tmp_path):
    runs = sorted(chosen(), key=lambda run: run.start_ms)
    commands, devices = await imported(runs, PARTITIONS)
    whole, _ = await imported(runs, ("one",))
    assert len({device.partition for device in devices.values()}) == len(PARTITIONS)
    one, parts = Journals(("one",)), Journals(PARTITIONS)
    one.define(whole, runs[0].start_ms - 1)
    parts.define(commands, runs[0].start_ms - 1)
    end_ms = 0
    for start_ms, group in groupby(runs, key=lambda run: run.start_ms):
        assert start_ms >= end_ms, "runs of another start begin when those before are over"
        end_ms = played(list(group), devices, one, parts)
    watch = Watch("one")
    expected = told(
        [o for step in watch.fold(EntryColumns.of(one.entries["one"])) for o in step.outputs],
        end_ms,
    )
    target = TargetSpec(
        name="meldkamer", kind="cap", url="http://127.0.0.1:9/", secret=new_secret(),
        audiences=("police",), extra={"sender": "test@afstand.example"},
    )  # fmt: skip
    with ClusterServers(tmp_path / "cluster") as cluster:
        endpoint = Endpoint("mosquitto", 1, "5")  # no watch talks to a broker
        written = write_config(tmp_path, cluster.url, endpoint, [target], snapshot_entries=200)
        file = written.config_file
        names = msgspec.json.encode(PARTITIONS).decode()
        file.write_text(f"partitions = {names}\n" + file.read_text())
        environ = {**written.environ, "AFSTAND_STORE__CLUSTER": "true"}
        site = Site(tmp_path, file, environ, written.health_ports)
        try:
            async with open_store(site.config) as store:
                await write(store, parts)
                site.start(WATCHES)
                await site.ready(WATCHES)

                async def all_folded() -> bool:
                    found = told(await outputs_of(store, PARTITIONS), end_ms)
                    return found.total() >= expected.total()

                await until(all_folded, "the watches have told what one process tells")
                assert told(await outputs_of(store, PARTITIONS), end_ms) == expected
        finally:
            await site.stop()
    classes = {alarm[1] for alarm in expected}
    assert {AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH, AlarmClass.TAMPER} <= classes
