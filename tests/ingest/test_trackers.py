"""Teltonika trackers: what the checks say, the bridge, and the whole way to the journal."""

import asyncio
import contextlib
import time

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from firmware_contracts import Lane
from firmware_contracts.teltonika import Io
from firmware_contracts.topics import parse_topic, tracker_topic
from ingest.acks import DeviceAcks
from ingest.checks import Accept, Checker, Copy, Mark, Receipt, Refuse, Waiting, packet_tag
from ingest.devices import Contract, RegistryError, check_record
from ingest.entries import FrameFlag, LaneCode
from ingest.reasons import Reason
from ingest.trackers import TrackerMetrics, Trackers, run_trackers
from simulators.tracker import Sample, Tracker, avl_packet
from tests.ingest.devices import NOW_MS, ROTTERDAM, message, record

IMEI, OTHER, OFF = "356307042441013", "356307042441021", "356307042441039"
DEVICES = {
    IMEI: record(IMEI, 5, contract=Contract.TELTONIKA),
    OFF: record(OFF, 6, contract=Contract.TELTONIKA, enabled=False),
    "356307042441047": record("356307042441047", 7),
}
FIX = Sample(NOW_MS, *ROTTERDAM)
PRESS = FIX._replace(event_id=Io.ALARM, io=((Io.ALARM, 1),), priority=2)


def check(payload, imei=IMEI, branch="avl", checker=None, **fields):
    checker = checker or Checker(DEVICES.get, default_partition="p9")
    return checker.check(message(f"teltonika/{imei}/{branch}", payload, **fields))


# --- checks ---------------------------------------------------------------------------------------


def test_a_packet_is_taken_with_the_receipt_of_its_bridge():
    payload = avl_packet([FIX, FIX._replace(satellites=0)])
    outcome = check(payload)
    assert isinstance(outcome, Accept)
    assert outcome.record.lane is LaneCode.TELTONIKA
    assert outcome.record.flags == FrameFlag.AUTHENTICATED
    assert (outcome.record.handle, outcome.partition, outcome.device) == (5, "p0", None)
    assert outcome.receipt == Receipt(f"teltonika/{IMEI}/ack", packet_tag(IMEI, payload))
    assert outcome.tag == packet_tag(IMEI, payload)


def test_a_packet_that_holds_nothing_is_taken_too():
    """Or its tracker would send it for ever, and nothing behind it."""
    assert isinstance(check(avl_packet([FIX._replace(satellites=0)])), Accept)


def test_a_copy_is_told_from_the_first():
    checker = Checker(DEVICES.get, default_partition="p9")
    payload = avl_packet([FIX])
    first = check(payload, checker=checker)
    mark = Mark()
    checker.seen.add((first.tag,), mark)
    assert check(payload, checker=checker) == Waiting(mark)
    mark.stored(NOW_MS)
    assert check(payload, checker=checker) == Copy(None, 0, 0, first.receipt)
    assert isinstance(check(avl_packet([FIX, FIX]), checker=checker), Accept)


def test_a_clock_that_is_ahead_costs_the_fixes_and_never_an_event():
    """FC-103."""
    ahead = NOW_MS + 61_000
    refused = check(avl_packet([FIX._replace(time_ms=ahead)]))
    assert isinstance(refused, Refuse)
    assert (refused.reason, refused.clock_fault) == (Reason.FUTURE_TIME, True)
    assert refused.receipt is not None  # settled: sending it again helps nobody
    taken = check(avl_packet([FIX._replace(time_ms=ahead), PRESS]))
    assert taken.record.flags == FrameFlag.AUTHENTICATED | FrameFlag.CLOCK_FAULT


@pytest.mark.parametrize(
    ("imei", "branch", "payload", "reason"),
    [
        (OTHER, "avl", avl_packet([FIX]), Reason.UNKNOWN_DEVICE),
        (OFF, "avl", avl_packet([FIX]), Reason.DISABLED_DEVICE),
        ("356307042441047", "avl", avl_packet([FIX]), Reason.WRONG_TOPIC),
        ("35630704244101", "avl", avl_packet([FIX]), Reason.WRONG_TOPIC),
        (IMEI, "ack", avl_packet([FIX]), Reason.WRONG_TOPIC),
        (IMEI, "fix", avl_packet([FIX]), Reason.WRONG_TOPIC),
        (IMEI, "avl", b"", Reason.TRUNCATED),
        (IMEI, "event", avl_packet([PRESS])[:-1] + b"\0", Reason.BAD_CHECKSUM),
        (IMEI, "avl", b"\0" * 8 + b"\0\0\0\0", Reason.TRUNCATED),
    ],
)
def test_what_is_refused_has_its_reason_and_no_receipt(imei, branch, payload, reason):
    """FC-104."""
    outcome = check(payload, imei, branch)
    assert isinstance(outcome, Refuse)
    assert (outcome.reason, outcome.receipt) == (reason, None)
    assert isinstance(check(avl_packet([FIX])), Accept)


@pytest.mark.parametrize(
    ("imei", "reason", "handle", "name"),
    [(OTHER, Reason.UNKNOWN_DEVICE, 0, OTHER), (OFF, Reason.DISABLED_DEVICE, 6, "")],
)
def test_a_press_without_proof_is_taken_as_such(imei, reason, handle, name):
    outcome = check(avl_packet([PRESS]), imei, "event")
    assert isinstance(outcome, Accept)
    assert (outcome.reason, outcome.record.handle, outcome.record.name) == (reason, handle, name)
    assert outcome.record.lane is LaneCode.TELTONIKA
    assert not outcome.record.flags & FrameFlag.AUTHENTICATED
    assert outcome.receipt is None


def test_a_tracker_is_registered_under_its_imei_and_without_a_key():
    check_record(record(IMEI, contract=Contract.TELTONIKA))
    for wrong in (record("d1", contract=Contract.TELTONIKA),
                  record(IMEI, contract=Contract.TELTONIKA, key=bytes(16))):  # fmt: skip
        with pytest.raises(RegistryError):
            check_record(wrong)


def test_a_receipt_goes_out_at_once_and_again_when_it_could_not():
    acks = DeviceAcks(10_000)
    acks.receipt("teltonika/1/ack", b"one", 100)
    acks.receipt("teltonika/2/ack", b"two", 100)
    assert (len(acks), acks.next_due_ms()) == (2, 100)
    (first,) = acks.take_due(100, 1, 0)
    assert (first.topic, first.frame) == ("teltonika/1/ack", b"one")
    acks.not_sent(first, 500)
    assert [ack.frame for ack in acks.take_due(100, 9, 0)] == [b"two"]
    assert acks.take_due(499, 9, 0) == []
    assert [ack.frame for ack in acks.take_due(500, 9, 0)] == [b"one"]
    assert (len(acks), acks.next_due_ms()) == (0, None)


# --- the bridge -----------------------------------------------------------------------------------


class Shelf:
    """A broker and an intake in memory: what was published, and a receipt when `stores`."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.stores = True
        self.down = False
        self.trackers: Trackers | None = None

    async def publish(self, topic: str, payload: bytes) -> None:
        if self.down:
            raise ConnectionError("no broker")
        self.published.append((topic, payload))
        imei = parse_topic(topic)[0]
        if self.stores and self.trackers is not None:
            self.trackers.receipt(tracker_topic(imei, Lane.TRACKER_ACK), packet_tag(imei, payload))


@contextlib.asynccontextmanager
async def bridge(**options):
    shelf, registry = Shelf(), CollectorRegistry()
    shelf.trackers = Trackers(shelf, TrackerMetrics(registry), **options)
    server = await asyncio.start_server(shelf.trackers.serve, "127.0.0.1", 0)
    async with server:
        yield shelf, server.sockets[0].getsockname()[1], registry


async def test_a_packet_is_answered_when_it_is_durable_and_not_before():
    """FC-104, FC-105."""
    fixes, press = avl_packet([FIX, FIX, FIX]), avl_packet([FIX, PRESS])
    async with bridge() as (shelf, port, registry):
        tracker = await Tracker.connect("127.0.0.1", port, IMEI)
        assert await tracker.send(fixes) == 3
        assert await tracker.send(press) == 2
        shelf.stores = False
        waiting = asyncio.create_task(tracker.send(avl_packet([FIX])))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        shelf.trackers.receipt(f"teltonika/{IMEI}/ack", b"of another packet")
        shelf.trackers.receipt(f"teltonika/{IMEI}/avl", packet_tag(IMEI, avl_packet([FIX])))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        shelf.trackers.receipt(f"teltonika/{IMEI}/ack", packet_tag(IMEI, avl_packet([FIX])))
        assert await waiting == 1
        tracker.close()
    topics = [topic for topic, _ in shelf.published]
    assert topics == [f"teltonika/{IMEI}/{name}" for name in ("avl", "event", "avl")]
    assert registry.get_sample_value("afstand_trackers_packets_total", {"outcome": "durable"}) == 3


async def test_a_packet_that_does_not_become_durable_is_never_answered():
    """FC-104."""
    async with bridge(ack_s_max=0.05) as (shelf, port, registry):
        for trouble in ("stores", "down"):
            shelf.stores, shelf.down = False, trouble == "down"
            tracker = await Tracker.connect("127.0.0.1", port, IMEI)
            with pytest.raises(ConnectionError, match="hung up"):
                await tracker.send(avl_packet([FIX]))
            tracker.close()
        shelf.stores, shelf.down = True, False
        tracker = await Tracker.connect("127.0.0.1", port, IMEI)
        assert await tracker.send(avl_packet([FIX])) == 1
        tracker.close()
    lost = registry.get_sample_value("afstand_trackers_packets_total", {"outcome": "not-durable"})
    assert lost == 2


async def test_an_unsound_packet_is_answered_with_0_and_goes_where_the_quarantine_is():
    """FC-104."""
    bad = avl_packet([FIX])[:-1] + b"\0"
    async with bridge() as (shelf, port, _):
        tracker = await Tracker.connect("127.0.0.1", port, IMEI)
        assert await tracker.send(bad) == 0
        assert await tracker.send(avl_packet([FIX])) == 1  # the next one is unharmed
        tracker.close()
    assert shelf.published[0] == (f"teltonika/{IMEI}/avl", bad)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "truncated"),
        (b"\0\x0f35630704244101x", "bad-length"),
        (b"\0\x0f" + IMEI.encode() + b"\1\0\0\0\0\0\0\1", "bad-magic"),
        (b"\0\x0f" + IMEI.encode() + b"\0\0\0\0\xff\xff\xff\xff", "oversized"),
    ],
)
async def test_who_speaks_no_protocol_of_ours_is_hung_up_on(raw, reason):
    async with bridge() as (shelf, port, registry):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        assert (await reader.read()) in (b"", b"\x01")
        writer.close()
    assert registry.get_sample_value("afstand_trackers_refused_total", {"reason": reason}) == 1
    assert registry.get_sample_value("afstand_trackers_connected") == 0
    assert shelf.published == []


async def test_silence_and_crowds_are_bounded():
    options = {"greeting_s_max": 0.05, "silent_s_max": 0.1, "connections_max": 1}
    async with bridge(**options) as (_, port, registry):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        one_too_many, other = await asyncio.open_connection("127.0.0.1", port)
        assert await one_too_many.read() == b""
        assert await reader.read() == b""  # it did not greet
        silent = await Tracker.connect("127.0.0.1", port, IMEI)
        with pytest.raises(ConnectionError):
            await silent.send(avl_packet([FIX])[:5])
        for each in (writer, other):
            each.close()
        silent.close()
    count = registry.get_sample_value("afstand_trackers_refused_total", {"reason": "too-many"})
    assert count == 1


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.slow
async def test_from_a_tracker_over_a_broker_into_the_journal_and_back(tmp_path):
    """FC-104, FC-105: what is answered is in the journal; what is hostile is in the quarantine."""
    from ingest.quarantine import read_quarantine
    from ingest.registry import KeyBox, Registry
    from ingest.store import BEGINNING
    from tests.ingest.fake_broker import until
    from tests.ingest.test_intake_servers import BOX_KEY, Site
    from tests.servers import MosquittoServer, RedisServer

    now_ms = time.time_ns() // 1_000_000
    fix = Sample(now_ms, *ROTTERDAM)
    fixes, press = avl_packet([fix] * 3), avl_packet([fix._replace(event_id=236, io=((236, 1),))])
    bad = fixes[:-1] + b"\0"
    with MosquittoServer(tmp_path / "m") as broker, RedisServer(tmp_path / "r") as redis:
        site = Site(broker, redis)
        registry = Registry(site.store, KeyBox(BOX_KEY))
        await registry.put_many([record(IMEI, contract=Contract.TELTONIKA)])
        stop: asyncio.Event = asyncio.Event()
        ports: list[int] = []
        running = asyncio.create_task(
            run_trackers(
                lambda: aiomqtt.Client("127.0.0.1", broker.port, identifier="trackers"),
                host="127.0.0.1",
                port=0,
                metrics=TrackerMetrics(CollectorRegistry()),
                stop=stop,
                listening=lambda port, _: ports.append(port),
            )
        )
        async with site.intake():
            await until(lambda: bool(ports))
            tracker = await connected(ports[0])
            assert await tracker.send(fixes) == 3
            assert await tracker.send(bad) == 0
            assert await tracker.send(press) == 1
            assert await tracker.send(press) == 1  # again, for want of an answer: as before
            await site.holds({fixes, press})
            tracker.close()
        stop.set()
        await running
        quarantined = await read_quarantine(site.store, BEGINNING, 10)
        assert {one.reason for one in quarantined} == {"bad-checksum"}
        assert quarantined[-1].payload == bad
        await site.store.aclose()


async def connected(port: int) -> Tracker:
    """A tracker, when the bridge has its broker: before, a packet is not answered."""
    fix = Sample(1, *ROTTERDAM)
    while True:
        tracker = await Tracker.connect("127.0.0.1", port, IMEI)
        with contextlib.suppress(ConnectionError):
            await tracker.send(avl_packet([fix])[:-1] + b"\1")
            return tracker
        tracker.close()
        await asyncio.sleep(0.05)
