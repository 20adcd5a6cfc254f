"""The client against a broker that misbehaves on purpose."""

import asyncio
import contextlib
import re
from pathlib import Path

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand.limits import (
    INTAKE_HELD_MAX,
    INTAKE_TAKE_MAX,
    INTAKE_TAKE_SINGLES_MAX,
    MQTT_INBOX_MESSAGES_MAX,
    MQTT_PACKET_BYTES_MAX,
    MQTT_RECEIVE_MAX,
)
from ingest import mqtt as mqtt_module
from ingest import mqtt_link
from ingest.mqtt import Message, MqttClient, MqttSettings, TlsSettings
from ingest.mqtt_link import Pace, tick_s
from tests.ingest.fake_broker import FakeBroker, Session, serving, until

NOW_MS = 1_790_000_000_000


class Running:
    """A client that runs, and what it reported."""

    def __init__(self, client, changes):
        self.client = client
        self.changes = changes

    def __getattr__(self, name):
        return getattr(self.client, name)


@contextlib.asynccontextmanager
async def client_of(broker, *, paced=False, filters=("em/+/fix",), **settings):
    """A client that runs."""
    changes: list[tuple[bool, str]] = []
    client = MqttClient(
        MqttSettings(port=broker.port, **settings),
        client_id="intake-events",
        filters=lambda shared: [f"$share/g/{f}" for f in filters] if shared else list(filters),
        paced=paced,
        now_ms=lambda: NOW_MS,
        on_change=lambda: changes.append((client.connected, client.reason)),
    )
    task = asyncio.create_task(client.run())
    try:
        yield Running(client, changes)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def quick_reconnects(monkeypatch):
    monkeypatch.setattr(mqtt_module, "_RECONNECT_DELAY_S_MIN", 0.01)
    monkeypatch.setattr(mqtt_module, "MQTT_RECONNECT_DELAY_S_MAX", 0.05)


async def take(client, count, within_s=5.0):
    got: list[Message] = []
    async with asyncio.timeout(within_s):
        while len(got) < count:
            await client.wait()
            taken = client.take(100, 100)
            got += taken.messages
            for run in taken.runs:
                got += [run.message(n) for n in range(len(run))]
    return got


async def test_connects_as_told_and_subscribes():
    async with FakeBroker(serving) as broker:
        async with client_of(broker, username="u", password="p", receive_max=77) as client:
            await until(lambda: client.connected)
            session = broker.sessions[0]
            assert session.connect.client_id == "intake-events"
            assert (session.connect.username, session.connect.password) == ("u", b"p")
            assert session.connect.clean_start is False
            assert session.connect.session_expiry_interval == 7 * 86_400
            assert session.connect.receive_max == 77
            assert session.filters == ["$share/g/em/+/fix"]
        await until(lambda: session.disconnected)
    assert client.changes[0] == (True, "")


async def test_subscribes_unshared_where_there_is_no_sharing():
    async def unshared(session: Session):
        await session.accept(shared_subscription_available=False)
        await session.serve()

    async with FakeBroker(unshared) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        assert broker.sessions[0].filters == ["em/+/fix"]


async def test_acknowledges_what_it_is_told_to_and_nothing_else():
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        session = broker.sessions[0]
        for n in range(1, 6):
            session.deliver("em/d/fix", b"%d" % n, n)
        got = await take(client, 5)
        assert [(m.payload, m.packet_id, m.received_ms) for m in got] == [
            (b"%d" % n, n, NOW_MS) for n in range(1, 6)
        ]
        await asyncio.sleep(0.05)
        assert session.acked == []
        assert client.ack([got[0], got[3]]) == 0
        await until(lambda: session.acked == [1, 4])


async def test_messages_right_behind_the_connack_are_not_lost():
    """A broker with a session in hand does not wait for SUBSCRIBE."""

    async def eager(session: Session):
        packet = await session.read()
        assert isinstance(packet, mqtt5.ConnectPacket)
        session.send(
            mqtt5.ConnAckPacket(session_present=True),
            mqtt5.PublishPacket("em/d/fix", b"early", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1),
        )
        await session.read()
        session.send(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]))
        await session.serve()

    async with FakeBroker(eager) as broker, client_of(broker) as client:
        assert (await take(client, 1))[0].payload == b"early"


async def test_an_acknowledgement_does_not_outlive_its_connection():
    """The broker may have given the packet id to another message meanwhile."""
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        broker.sessions[0].deliver("em/d/fix", b"old", 1)
        (old,) = await take(client, 1)
        broker.sessions[0].writer.transport.abort()
        await until(lambda: len(broker.sessions) == 2 and client.connected)
        broker.sessions[1].deliver("em/d/fix", b"new", 1)
        (new,) = await take(client, 1)
        assert client.ack([old]) == 1, "stale"
        await asyncio.sleep(0.05)
        assert broker.sessions[1].acked == []
        assert client.ack([new]) == 0
        await until(lambda: broker.sessions[1].acked == [1])


async def test_what_was_read_before_the_connection_was_lost_is_still_given():
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        for n in range(1, 4):
            broker.sessions[0].deliver("em/d/fix", b"%d" % n, n)
        await until(client._link.waiting)
        await asyncio.sleep(0.02)
        broker.sessions[0].writer.transport.abort()
        await until(lambda: not client.connected)
        assert [m.payload for m in await take(client, 3)] == [b"1", b"2", b"3"]
        await until(lambda: client.connected)


@pytest.mark.parametrize(
    "raw",
    [b"\x32\xff\xff\xff\xff\x01", b"\0\0", mqtt5.ConnAckPacket().write()],
    ids=["framing", "type 0", "out of place"],
)
async def test_a_broken_stream_is_left_with_a_reason(raw):
    async def broken(session: Session):
        await session.accept()
        session.writer.write(raw)
        await session.serve()

    async with FakeBroker(broken, serving) as broker, client_of(broker) as client:
        await until(lambda: len(broker.sessions) == 2 and client.connected)
        reasons = [reason for connected, reason in client.changes if not connected]
        assert reasons[0].startswith(("malformed packet", "protocol error"))


async def test_packets_of_no_meaning_are_passed_over():
    async def chatty(session: Session):
        await session.accept()
        session.send(mqtt5.PubRelPacket(3), mqtt5.AuthPacket(), mqtt5.PubCompPacket(4))
        session.deliver("em/d/fix", b"still here", 1)
        await session.serve()

    async with FakeBroker(chatty) as broker, client_of(broker) as client:
        assert (await take(client, 1))[0].payload == b"still here"
        assert client.others == 3
        assert len(broker.sessions) == 1


async def test_an_oversized_message_neither_breaks_nor_bloats():
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        session = broker.sessions[0]
        session.deliver("em/d/fix", bytes(40 * MQTT_PACKET_BYTES_MAX), 1)
        session.deliver("em/d/fix", b"next", 2)
        large, following = await take(client, 2)
        assert (large.flaw, large.packet_id) == ("oversized", 1)
        assert len(large.payload) < 10_000
        assert (following.payload, following.packet_id) == (b"next", 2)
        client.ack([large, following])
        await until(lambda: session.acked == [1, 2])


@pytest.mark.slow
async def test_a_backlog_stops_the_reading_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(mqtt_link, "MQTT_INBOX_MESSAGES_MAX", 200)
    total = 30_000

    async def flood(session: Session):
        await session.accept()
        for n in range(total):
            session.deliver("em/d/fix", n.to_bytes(4, "big") + bytes(200), n % 60_000 + 1)
            if n % 100 == 0:
                await session.writer.drain()
        await session.serve()

    async with FakeBroker(flood) as broker, client_of(broker, paced=True) as client:
        await until(lambda: client._link is not None and client._link.held_back)
        await asyncio.sleep(0.1)
        assert len(client._link._inbox) < 4000, "one read beyond the bound, no more"
        got: list[Message] = []
        while len(got) < total:
            await client.wait()
            batch = client.take(150, 150).messages
            client.ack(batch)
            got += batch
        assert [int.from_bytes(m.payload[:4], "big") for m in got] == list(range(total))
        await until(lambda: len(broker.sessions[0].acked) == total)


async def test_publishes_in_one_write_and_only_when_connected():
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        assert client.publish([("em/d/ack", b"early")]) is False
        await until(lambda: client.connected)
        assert client.publish([("em/d/ack", b"1"), ("em/e/ack", b"2")]) is True
        session = broker.sessions[0]
        await until(lambda: len(session.published) == 2)
        assert [(p.topic, p.payload) for p in session.published] == [
            ("em/d/ack", b"1"),
            ("em/e/ack", b"2"),
        ]


@pytest.mark.slow
async def test_pings_and_leaves_a_broker_that_is_silent():
    async def silent(session: Session):
        await session.accept()
        await session.serve(answer_pings=False)

    async with FakeBroker(silent, serving) as broker, client_of(broker, keep_alive_s=1) as client:
        await until(lambda: len(broker.sessions) == 2 and client.connected)
        assert broker.sessions[0].pings >= 1
        assert (False, "keep-alive timeout") in client.changes


@pytest.mark.slow
async def test_stays_with_a_broker_that_answers_pings():
    async with FakeBroker(serving) as broker, client_of(broker, keep_alive_s=1) as client:
        await until(lambda: broker.sessions and broker.sessions[0].pings >= 3)
        assert client.connected
        assert len(broker.sessions) == 1


async def refusing(session: Session):
    await session.read()
    session.send(mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED))


async def test_a_refused_connection_is_tried_again():
    async with FakeBroker(refusing, serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        assert client.changes[0] == (False, "refused: not-authorized")


async def test_a_refused_subscription_is_no_connection():
    async def no_subscription(session: Session):
        await session.read()
        session.send(mqtt5.ConnAckPacket())
        await session.read()
        session.send(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]))
        await session.serve()

    async with FakeBroker(no_subscription, serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        assert client.changes[0] == (False, "subscription refused: [135]")


async def test_goes_to_311_when_the_broker_says_so():
    seen = []

    async def old(session: Session):
        raw = await session.reader.read(100)
        seen.append(raw[8])
        if raw[8] == 5:
            session.writer.write(b"\x20\x02\x00\x01")
            return
        session.writer.write(b"\x20\x02\x00\x00")
        await session.reader.read(100)
        session.writer.write(b"\x90\x03\x00\x01\x01" + b"\x32\x0a\x00\x04em/d\x00\x07hi")
        assert await session.reader.read(4) == b"\x40\x02\x00\x07"
        await session.reader.read(10)

    async with FakeBroker(old) as broker, client_of(broker) as client:
        (message,) = await take(client, 1)
        client.ack([message])
        assert (message.topic, message.payload, client.version) == ("em/d", b"hi", "3.1.1")
        assert client.shared is False
    assert seen == [5, 4]


@pytest.mark.slow
async def test_a_taken_over_session_is_not_fought_for(monkeypatch):
    monkeypatch.setattr(mqtt_module, "MQTT_RECONNECT_DELAY_S_MAX", 0.5)

    async def taken_over(session: Session):
        await session.accept()
        code = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        session.send(mqtt5.DisconnectPacket(reason_code=code))

    async with FakeBroker(taken_over) as broker, client_of(broker) as client:
        await asyncio.sleep(0.35)
        assert len(broker.sessions) == 1
        await until(lambda: len(broker.sessions) == 2)
        assert client.changes[1] == (False, "session-taken-over")


async def test_nobody_there(monkeypatch):
    async with FakeBroker(serving) as broker:
        port = broker.port
    gone = FakeBroker(serving)
    gone.port = port
    async with client_of(gone) as client:
        await until(lambda: len(client.changes) >= 3)
        assert client.changes[0][1].startswith("connect: ConnectionRefusedError")
        assert len(client.take(10, 10)) == 0


async def test_a_broker_that_accepts_and_says_nothing(monkeypatch):
    monkeypatch.setattr(mqtt_module, "MQTT_CONNECT_TIMEOUT_S", 0.1)

    async def mute(session: Session):
        await session.serve()

    async with FakeBroker(mute, serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        assert client.changes[0] == (False, "connect: timeout")


async def test_wait_ends_after_its_time_or_when_woken():
    async with FakeBroker(serving) as broker, client_of(broker) as client:
        await until(lambda: client.connected)
        client.client._woken = False
        async with asyncio.timeout(2):
            await client.wait(0.01)
            client.wake()
            await client.wait()


def test_settings_tell_no_secret():
    assert "hunter2" not in repr(MqttSettings(username="u", password="hunter2"))


def test_tls_files_that_are_not_there_are_an_error_at_once():
    with pytest.raises(FileNotFoundError):
        TlsSettings(ca_file="/nowhere/ca.crt").context()


# --- the pace


def test_ticks_begin_and_end_by_the_rate():
    pace, now_s, modes = Pace(0.0), 0.0, []
    for rate in (50, 80, 200, 80, 40, 20_000):
        for _ in range(20):
            now_s += 0.1
            ticking = pace.count(rate // 10, now_s)
        modes.append((rate, ticking))
    assert modes == [
        (50, False),
        (80, False),
        (200, True),
        (80, True),  # between the two bounds it stays as it is
        (40, False),
        (20_000, True),
    ]
    assert pace.tick_s == pytest.approx(0.024)


def test_a_tick_is_short_while_the_rate_is_one_of_the_budget_of_latency():
    assert [tick_s(rate) for rate in (0, 100, 1_000, 10_000)] == [0.008] * 4
    assert tick_s(15_000) == pytest.approx(0.016)
    assert tick_s(20_000) == pytest.approx(0.024)


@given(st.floats(0, 1e7))
def test_in_a_tick_no_more_gathers_than_half_of_what_the_broker_sends(rate):
    assert 0 < tick_s(rate) <= 0.024
    shipped = Path("deploy/mosquitto/mosquitto.conf").read_text()
    window = re.search(r"^max_inflight_messages (\d+)$", shipped, re.MULTILINE)
    assert window is not None
    assert tick_s(rate) * rate <= int(window[1]) / 2 + 0.1


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 0.5)), max_size=60))
def test_a_tick_is_never_longer_than_its_bound(reads):
    pace, now_s = Pace(0.0), 0.0
    for count, step_s in reads:
        now_s += step_s
        pace.count(count, now_s)
        assert 0 < pace.tick_s <= 0.024


def test_the_bounds_fit_together():
    assert MQTT_INBOX_MESSAGES_MAX > INTAKE_TAKE_MAX >= INTAKE_TAKE_SINGLES_MAX
    assert MQTT_RECEIVE_MAX <= INTAKE_HELD_MAX
