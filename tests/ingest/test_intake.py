"""The intake against a broker and a writer that do as they are told.

Acknowledged is what was written, and nothing else.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from afstand.limits import QUARANTINE_BURST_MESSAGES
from firmware_contracts.codes import EventCode
from firmware_contracts.frames import decode_acks
from ingest import feed as feed_module
from ingest import intake as intake_module
from ingest.bulk import Bulk
from ingest.checks import Checker
from ingest.devices import Contract, DeviceRecord, promoted
from ingest.entries import EntryKind, FrameBatch, FrameFlag, LaneCode
from ingest.intake import Intake, IntakeSettings, new_health
from ingest.metrics import IntakeMetrics
from ingest.mqtt import MqttSettings
from ingest.reasons import Reason
from ingest.store import EntryId, StoreUnavailableError
from tests.ingest.devices import NOW_MS, event_frame, fix_frame, key_of, record, status_frame
from tests.ingest.fake_broker import FakeBroker, serving, until


class FakeRegistry:
    """Devices in memory."""

    def __init__(self, *devices):
        self._devices = {device.device_id: device for device in devices}
        self.find: Callable[[str], DeviceRecord | None] = self._devices.get
        self.generation = 0
        self.broken: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._devices)

    async def refresh(self) -> list[DeviceRecord]:
        return []

    async def promote(self, device_id: str, boot: int, sequence: int, now_ms: int) -> bool:
        self._devices[device_id] = promoted(self._devices[device_id], boot, sequence, now_ms)
        self.generation += 1
        return True


class FakeWriter:
    """A journal in memory. `gate` lets writes through; `fail` says what becomes of each."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False
        self.broken_partitions: set[str] = set()
        self.broken_quarantine = False
        self.entries = []
        self.quarantine = []
        self.writes = 0
        self.closed = 0

    async def append_many(self, appends, also=()):
        self.writes += 1
        await self.gate.wait()
        if self.down:
            raise StoreUnavailableError("down")
        results: list[EntryId | StoreUnavailableError] = []
        answers: list[object] = []
        for append in appends:
            if append.partition in self.broken_partitions:
                results.append(StoreUnavailableError("READONLY"))
            else:
                self.entries.append(append)
                results.append(EntryId(NOW_MS, len(self.entries)))
        for command in also:
            if self.broken_quarantine:
                answers.append(StoreUnavailableError("OOM"))
            else:
                pairs = command[6:]
                self.quarantine.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))
                answers.append(b"1-1")
        return results, answers

    async def aclose(self):
        self.closed += 1

    def frames(self, partition=None):
        return [
            frame
            for append in self.entries
            if append.kind is EntryKind.FRAMES and partition in {None, append.partition}
            for frame in FrameBatch.read(append.blob).records()
        ]

    def signals(self):
        return [
            msgspec.msgpack.decode(append.blob)
            for append in self.entries
            if append.kind is EntryKind.SIGNAL
        ]

    def reasons(self):
        return [entry[b"reason"] for entry in self.quarantine]


class Bench:
    """A running intake with what is around it."""

    def __init__(self, intake, broker, writer, metrics, health):
        self._intake = intake
        self.broker = broker
        self.writer = writer
        self.metrics = metrics
        self.health = health
        self._ids = {"events": 0, "fixes": 0}

    def session(self, name):
        """The latest session of one of the two connections."""
        for session in reversed(self.broker.sessions):
            if session.asked and session.connect.client_id.endswith(name):
                return session
        raise AssertionError(name)

    def send(self, topic, payload, *, dup=False, packet_id=None):
        """Deliver a message as the broker would; returns its packet id."""
        name = "events" if topic.endswith("/event") else "fixes"
        if packet_id is None:
            self._ids[name] += 1
            packet_id = self._ids[name]
        self.session(name).deliver(topic, payload, packet_id, dup=dup)
        return packet_id

    def arrived(self, name):
        """How many messages have arrived on a connection and are not taken."""
        feeds = {feed.name: feed for feed in self._intake._feeds}
        link = feeds[name].client._link
        return len(link._inbox)

    def acked(self, name="fixes"):
        return self.session(name).acked

    def told(self, device_id="d1"):
        """What the device was told, as (boot, first, last)."""
        return [
            tuple(ack)
            for session in self.broker.sessions
            for packet in session.published
            if packet.topic == f"em/{device_id}/ack"
            for ack in decode_acks(packet.payload)
        ]

    def count(self, name, **labels):
        return self.metrics.get_sample_value(f"afstand_intake_{name}", labels) or 0


DEVICES = (
    record("d1", 1),
    record("d2", 2, partition="p1"),
    record("jane.phone", 3, contract=Contract.OWNTRACKS),
)


@contextlib.asynccontextmanager
async def running(*devices, behaviour=serving, **settings):
    writer, metrics, health = FakeWriter(), CollectorRegistry(), new_health()
    async with FakeBroker(behaviour) as broker:
        intake = Intake(
            IntakeSettings(
                mqtt=MqttSettings(port=broker.port, client_id="i1"),
                default_partition="p9",
                **settings,
            ),
            new_writer=lambda: writer,
            registry=FakeRegistry(*(devices or DEVICES)),
            metrics=IntakeMetrics(metrics),
            health=health,
            now_ms=lambda: NOW_MS,
        )
        health.set("registry", "")
        health.set("store", "")
        stop = asyncio.Event()
        task = asyncio.create_task(intake.run(stop))
        await until(lambda: health.ready)
        try:
            yield Bench(intake, broker, writer, metrics, health)
        finally:
            writer.gate.set()
            stop.set()
            async with asyncio.timeout(10):
                await task
            assert writer.closed == 2


async def test_entries_say_when_more_waited_than_was_taken(monkeypatch):
    """Fixes only: a press has a session of its own, and its entries stay as they were."""
    monkeypatch.setattr(feed_module, "INTAKE_TAKE_MAX", 3)
    async with running() as bench:
        bench.writer.gate.clear()
        bench.send("em/d1/fix", fix_frame("d1", 1))
        await until(lambda: bench.writer.writes == 1)
        for number in range(2, 9):
            bench.send("em/d1/fix", fix_frame("d1", number))
        for number in range(9, 17):
            bench.send("em/d1/event", event_frame("d1", number))
        await until(lambda: bench.arrived("fixes") == 7)
        bench.writer.gate.set()
        await until(lambda: len(bench.writer.frames()) == 16)
        batches = [FrameBatch.read(append.blob) for append in bench.writer.entries]
        fixes = [batch for batch in batches if batch.lanes[0] == LaneCode.FIX]
        assert [(len(batch), batch.behind) for batch in fixes] == [
            *((1, False), (3, True), (3, True), (1, False)),
        ]
        assert not any(batch.behind for batch in batches if batch.lanes[0] == LaneCode.EVENT)


async def test_takes_writes_and_acknowledges():
    async with running() as bench:
        one = bench.send("em/d1/fix", fix_frame("d1", 1))
        two = bench.send("em/d2/fix", fix_frame("d2", 1))
        press = bench.send("em/d1/event", event_frame("d1", 2))
        status = bench.send("em/d1/status", status_frame("d1", 3))
        await until(lambda: sorted(bench.acked()) == [one, two, status])
        await until(lambda: bench.acked("events") == [press])
        await until(lambda: (1, 1, 3) in bench.told() and bench.told("d2") == [(1, 1, 1)])
        assert {f.lane for f in bench.writer.frames("p0")} == {
            LaneCode.FIX,
            LaneCode.EVENT,
            LaneCode.STATUS,
        }
        assert [f.handle for f in bench.writer.frames("p1")] == [2]
        assert bench.count("journalled_total", lane="fix") == 2
        assert bench.count("received_total", connection="events") == 1


async def test_nothing_is_acknowledged_before_it_is_written():
    """FC-061."""
    async with running() as bench:
        bench.writer.gate.clear()
        fix = bench.send("em/d1/fix", fix_frame("d1", 1))
        press = bench.send("em/d1/event", event_frame("d1", 2))
        bad = bench.send("em/d1/fix", b"rubbish")
        await until(lambda: bench.writer.writes == 2)
        await asyncio.sleep(0.1)
        assert (bench.acked(), bench.acked("events"), bench.told()) == ([], [], [])
        bench.writer.gate.set()
        await until(lambda: sorted(bench.acked()) == [fix, bad])
        await until(lambda: bench.acked("events") == [press] and bench.told())


@pytest.mark.slow
async def test_a_failed_write_is_repeated_and_readiness_says_so():
    async with running() as bench:
        bench.writer.down = True
        ids = [bench.send("em/d1/fix", fix_frame("d1", n)) for n in range(1, 6)]
        bad = bench.send("em/d1/fix", b"rubbish")
        await until(lambda: bench.writer.writes >= 3)
        assert not bench.health.ready
        assert "down" in bench.health.problems["store"]
        assert (bench.acked(), bench.told()) == ([], [])
        assert bench.count("store_failures_total", what="store") >= 2
        bench.writer.down = False
        await until(lambda: sorted(bench.acked()) == [*ids, bad])
        assert bench.health.ready
        assert [f.payload for f in bench.writer.frames()] == [
            fix_frame("d1", n) for n in range(1, 6)
        ]
        await until(lambda: bench.told() and bench.told()[-1] == (1, 1, 5))


async def test_a_partition_that_cannot_be_written_does_not_hold_up_the_others():
    async with running() as bench:
        bench.writer.broken_partitions = {"p0"}
        stuck = bench.send("em/d1/fix", fix_frame("d1", 1))
        fine = bench.send("em/d2/fix", fix_frame("d2", 1))
        bad = bench.send("em/d2/fix", b"rubbish")
        await until(lambda: sorted(bench.acked()) == [fine, bad])
        more = bench.send("em/d2/fix", fix_frame("d2", 2))
        await until(lambda: sorted(bench.acked()) == [fine, bad, more])
        assert "p0: READONLY" in bench.health.problems["store"]
        assert bench.told() == []
        bench.writer.broken_partitions = set()
        await until(lambda: stuck in bench.acked() and bench.health.ready)
        assert len(bench.writer.frames("p0")) == 1


async def test_a_quarantine_that_cannot_be_written_holds_back_only_what_belongs_in_it():
    async with running() as bench:
        bench.writer.broken_quarantine = True
        bad = bench.send("em/d1/fix", b"rubbish")
        good = bench.send("em/d1/fix", fix_frame("d1", 1))
        await until(lambda: good in bench.acked())
        assert bad not in bench.acked()
        assert "quarantine" in bench.health.problems["store"]
        bench.writer.broken_quarantine = False
        await until(lambda: bad in bench.acked() and bench.health.ready)


async def test_a_copy_is_written_once_and_acknowledged_every_time():
    async with running() as bench:
        bench.writer.down = True
        frame = fix_frame("d1", 1)
        first = bench.send("em/d1/fix", frame)
        await until(lambda: bench.writer.writes >= 1)
        waiting = bench.send("em/d1/fix", frame, dup=True)
        await until(lambda: bench.count("copies_total", connection="fixes") == 1)
        assert bench.acked() == []
        bench.writer.down = False
        await until(lambda: sorted(bench.acked()) == [first, waiting])
        later = bench.send("em/d1/fix", frame)
        await until(lambda: later in bench.acked())
        assert len(bench.writer.frames()) == 1
        assert bench.count("copies_total", connection="fixes") == 2
        assert bench.writer.quarantine == []


async def test_a_device_that_missed_its_acknowledgement_gets_it_again():
    async with running(ack_interval_ms=0) as bench:
        frame = event_frame("d1", 5)
        bench.send("em/d1/event", frame)
        await until(lambda: bench.told() == [(1, 5, 5)])
        bench.send("em/d1/event", frame)
        await until(lambda: bench.told() == [(1, 5, 5)] * 2)


async def test_a_lost_connection_loses_nothing_and_acknowledges_nothing_wrongly():
    async with running() as bench:
        bench.writer.gate.clear()
        bench.send("em/d1/fix", fix_frame("d1", 1), packet_id=1)
        await until(lambda: bench.writer.writes == 1)
        old = bench.session("fixes")
        old.writer.transport.abort()
        await until(lambda: bench.session("fixes") is not old and bench.health.ready)
        # A broker that lost its session counts from 1 again, with another message.
        other = fix_frame("d1", 2)
        bench.writer.gate.set()
        await until(bench.writer.frames)
        await asyncio.sleep(0.05)
        assert bench.acked() == []
        assert bench.count("stale_acks_total") == 1
        bench.send("em/d1/fix", other, packet_id=1)
        await until(lambda: bench.acked() == [1])
        assert [f.payload for f in bench.writer.frames()] == [fix_frame("d1", 1), other]


@pytest.mark.slow
async def test_poison_in_the_checks_keeps_nothing_out(monkeypatch):
    real = Checker.check

    def check(self, message):
        if b"poison" in message.payload:
            raise ZeroDivisionError
        return real(self, message)

    monkeypatch.setattr(Checker, "check", check)
    async with running() as bench:
        ids = [
            bench.send("em/d1/fix", payload)
            for payload in (fix_frame("d1", 1), b"poison", fix_frame("d1", 2), b"poison")
        ]
        press = bench.send("em/d1/event", event_frame("d1", 3))
        await until(lambda: sorted(bench.acked()) == ids)
        await until(lambda: bench.acked("events") == [press])
        assert bench.writer.reasons() == [Reason.INTERNAL_ERROR.value] * 2
        assert len(bench.writer.frames()) == 3
        assert bench.count("quarantined_total", reason="internal-error") == 2


async def test_poison_in_the_bulk_check_falls_back_to_the_single_one(monkeypatch):
    def explode(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Bulk, "check", explode)
    async with running() as bench:
        sent = bench.send("em/d1/fix", fix_frame("d1", 1))
        await until(lambda: bench.acked() == [sent])
        assert len(bench.writer.frames()) == 1


async def test_an_alarm_without_proof_is_journalled_and_quarantined():
    async with running() as bench:
        press = bench.send("em/nobody/event", event_frame("nobody", 1))
        cut = bench.send(
            "em/d1/event", event_frame("d1", 1, EventCode.STRAP_CUT, key=key_of("forger"))
        )
        await until(lambda: sorted(bench.acked("events")) == [press, cut])
        unknown, forged = bench.writer.frames("p9") + bench.writer.frames("p0")
        assert (unknown.handle, unknown.name) == (0, "nobody")
        assert (forged.handle, forged.name) == (1, "")
        assert not (unknown.flags | forged.flags) & FrameFlag.AUTHENTICATED
        assert sorted(bench.writer.reasons()) == ["bad-tag", "unknown-device"]
        assert bench.told() == []
        assert bench.count("unproven_alarms_total", reason="bad-tag") == 1


async def test_a_forged_fix_is_quarantined_and_its_device_is_told_nothing():
    async with running() as bench:
        forged = bench.send("em/d1/fix", fix_frame("d1", 1, key=key_of("forger")))
        true = bench.send("em/d1/fix", fix_frame("d1", 2))
        await until(lambda: sorted(bench.acked()) == [forged, true])
        await until(lambda: bench.told() == [(1, 2, 2)])
        assert bench.writer.reasons() == [Reason.BAD_TAG.value]
        assert [f.payload for f in bench.writer.frames()] == [fix_frame("d1", 2)]


async def test_a_burst_of_bad_input_is_a_signal():
    async with running() as bench:
        for n in range(QUARANTINE_BURST_MESSAGES + 5):
            bench.send("em/d1/fix", b"rubbish %d" % n)
        await until(bench.writer.signals)
        (signal,) = bench.writer.signals()
        assert signal["signal"] == "quarantine"
        assert signal["counts"]["truncated"] >= QUARANTINE_BURST_MESSAGES
        assert [a.partition for a in bench.writer.entries if a.kind is EntryKind.SIGNAL] == ["p9"]


async def test_what_cannot_be_read_on_an_event_topic_is_a_signal_at_once():
    async with running() as bench:
        bench.send("em/d1/event", b"rubbish")
        await until(bench.writer.signals)
        assert bench.writer.signals()[0]["counts"] == {"truncated": 1}


async def test_a_wrong_clock_is_a_signal_and_the_fix_is_settled():
    async with running() as bench:
        sent = bench.send("em/d2/fix", fix_frame("d2", 4, time_ms=NOW_MS + 10**7))
        await until(lambda: bench.acked() == [sent] and bench.told("d2") == [(1, 4, 4)])
        assert bench.writer.reasons() == [Reason.FUTURE_TIME.value]
        (signal,) = bench.writer.signals()
        assert (signal["signal"], signal["devices"]) == ("clock-fault", ["d2"])
        assert [a.partition for a in bench.writer.entries] == ["p1"]
        press = bench.send("em/d2/event", event_frame("d2", 5, time_ms=NOW_MS + 10**7))
        await until(lambda: bench.acked("events") == [press])
        (frame,) = bench.writer.frames()
        assert frame.flags & FrameFlag.CLOCK_FAULT
        assert bench.count("clock_faults_total") == 2


async def test_what_a_phone_says_that_is_no_place_is_acknowledged():
    async with running() as bench:
        sent = bench.send("owntracks/jane/phone", b'{"_type":"lwt","tst":1790000000}')
        await until(lambda: bench.acked() == [sent])
        assert bench.writer.frames() == []
        assert bench.count("ignored_total", why="type-lwt") == 1


@pytest.mark.slow
async def test_a_backlog_of_fixes_does_not_stand_before_a_press():
    async with running() as bench:
        session = bench.session("fixes")
        frames = [fix_frame("d1", n) for n in range(1, 4001)]
        for n, frame in enumerate(frames, 1):
            session.deliver("em/d1/fix", frame, n)
        await session.writer.drain()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        press = bench.send("em/d1/event", event_frame("d1", 9000))
        await until(lambda: bench.acked("events") == [press])
        took_s = loop.time() - began_s
        assert len(bench.acked()) < 4000 or took_s < 0.5
        await until(lambda: len(bench.acked()) == 4000)
        assert len(bench.writer.frames()) == 4001


@pytest.mark.slow
async def test_a_store_that_is_down_for_long_holds_a_bounded_backlog(monkeypatch):
    monkeypatch.setattr(feed_module, "INTAKE_HELD_MAX", 100)
    async with running() as bench:
        bench.writer.down = True
        for n in range(1, 301):
            bench.send("em/d1/fix", fix_frame("d1", n))
        await until(lambda: bench.count("held", connection="fixes") == 100)
        await until(lambda: bench.writer.writes >= 4)
        assert bench.count("held", connection="fixes") == 100
        bench.writer.down = False
        await until(lambda: len(bench.acked()) == 300)
        assert len(bench.writer.frames()) == 300


async def test_a_stop_writes_and_acknowledges_what_was_taken():
    async with running() as bench:
        bench.writer.gate.clear()
        sent = bench.send("em/d1/fix", fix_frame("d1", 1))
        await until(lambda: bench.writer.writes == 1)
    assert bench.acked() == [sent]
    await asyncio.sleep(0.05)
    assert bench.session("fixes").disconnected


async def test_fixes_are_shared_and_events_are_everybody_s():
    async with running(group="g7") as bench:
        filters = {name: bench.session(name).filters for name in ("events", "fixes")}
        assert filters["events"] == ["em/+/event", "teltonika/+/event"]
        assert filters["fixes"] == [
            f"$share/g7/{topic}"
            for topic in (
                *("em/+/fix", "em/+/status", "owntracks/+/+", "owntracks/+/+/event"),
                "teltonika/+/avl",
            )
        ]


@pytest.mark.parametrize("part", ["events", "fixes"])
async def test_readiness_falls_with_either_connection(part):
    async with running() as bench:
        session = bench.session(part)
        session.writer.transport.abort()
        await until(lambda: not bench.health.ready)
        await until(lambda: bench.health.ready)
        assert bench.count("disconnects_total", connection=part, reason="closed by the broker") or (
            bench.count("disconnects_total", connection=part, reason="ConnectionResetError")
        )


async def test_kernels_are_compiled_beside_the_loop_and_it_says_so(monkeypatch):
    """On a cold machine it takes minutes: health and metrics answer meanwhile."""
    began, done = threading.Event(), threading.Event()

    def compile_slowly():
        began.set()
        done.wait(5)

    class ReadRegistry(FakeRegistry):
        async def load_all(self) -> int:
            return 0

    ran = asyncio.Event()

    class TakesNothing:
        def __init__(self, *_, **__) -> None: ...

        async def run(self, stop) -> None:
            ran.set()
            await stop.wait()

    monkeypatch.setattr(intake_module, "warm_up", compile_slowly)
    monkeypatch.setattr(intake_module, "Registry", lambda *_: ReadRegistry())
    monkeypatch.setattr(intake_module, "Intake", TakesNothing)
    health, stop, nothing = new_health(), asyncio.Event(), cast("Any", None)
    running = asyncio.create_task(
        intake_module.run_intake(
            IntakeSettings(mqtt=MqttSettings(client_id="x")),
            store=nothing, box=nothing, metrics=CollectorRegistry(), stop=stop, health=health,
        )
    )  # fmt: skip
    await until(began.is_set)
    assert health.problems["registry"] == "compiling kernels"
    assert not ran.is_set()
    done.set()
    await until(ran.is_set)
    assert "registry" not in health.problems
    stop.set()
    await running
