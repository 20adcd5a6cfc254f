"""The intake between a real mosquitto (or NATS) and a real Redis, as they are shipped."""

import asyncio
import contextlib
import datetime as dt
import json
import sys
import time
from functools import partial
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

from firmware_contracts.codes import EventCode
from firmware_contracts.frames import decode_acks
from ingest.devices import Contract
from ingest.entries import EntryKind, FrameBatch, LaneCode
from ingest.intake import IntakeSettings, new_health, run_intake
from ingest.journal import Journal
from ingest.mqtt import MqttSettings, TlsSettings
from ingest.quarantine import read_quarantine
from ingest.registry import KeyBox, Registry
from ingest.store import BEGINNING, StoreUnavailableError, connect_store
from tests.ingest.devices import event_frame, fix_frame, key_of, record
from tests.ingest.fake_broker import until
from tests.servers import ROOT, MosquittoServer, NatsServer, Process, RedisServer

pytestmark = [pytest.mark.servers, pytest.mark.slow]

BOX_KEY = b"m" * 32
DEVICES = ("d1", "d2", "d3")


def now_ms():
    return time.time_ns() // 1_000_000


class Site:
    """A broker, a store, and what the tests ask of them."""

    def __init__(self, broker, redis):
        self.broker = broker
        self.redis = redis
        self.store = connect_store(redis.url, timeout_s=5)

    async def register(self):
        """Register the test devices, one of them in another partition."""
        registry = Registry(self.store, KeyBox(BOX_KEY))
        await registry.put_many(
            [
                record("d1"),
                record("d2", partition="p1"),
                record("d3"),
                record("off", enabled=False),
                record("jane.phone", contract=Contract.OWNTRACKS),
            ]
        )

    async def frames(self):
        """Every frame in the journals, as (payload, lane, name)."""
        found = []
        for partition in ("p0", "p1"):
            after = BEGINNING
            while entries := await Journal(self.store).read(partition, after, 1000):
                after = entries[-1].id
                for entry in entries:
                    if entry.kind is EntryKind.FRAMES:
                        found += FrameBatch.read(entry.blob).records()
        return found

    async def payloads(self):
        """The payloads in the journals."""
        return {frame.payload for frame in await self.frames()}

    async def holds(self, expected, within_s=60.0):
        """Wait until the journals hold exactly these payloads."""
        deadline = time.monotonic() + within_s
        found = await self.payloads()
        while found != expected:
            assert time.monotonic() < deadline, f"{len(expected - found)} missing"
            await asyncio.sleep(0.2)
            found = await self.payloads()

    @contextlib.asynccontextmanager
    async def intake(self, client_id="intake-1", **mqtt):
        """An intake in this process, ready; gives its metrics and its health."""
        metrics, health, stop = CollectorRegistry(), new_health(), asyncio.Event()
        settings = IntakeSettings(
            mqtt=MqttSettings(port=self.broker.port, client_id=client_id, **mqtt),
            store_url=self.redis.url,
            ack_interval_ms=200,
            replay_after_ms=500,
        )
        task = asyncio.create_task(
            run_intake(
                settings,
                store=self.store,
                box=KeyBox(BOX_KEY),
                metrics=metrics,
                stop=stop,
                health=health,
            )
        )
        try:
            await until(lambda: health.ready or task.done())
            yield metrics, health
        finally:
            stop.set()
            async with asyncio.timeout(30):
                await task

    def process(self, tmp_path, client_id="intake-1"):
        """An intake as a process of its own; not started."""
        arguments = [sys.executable, "-m", "tests.ingest.intake_main", str(self.broker.port)]
        arguments += [self.redis.url, BOX_KEY.hex(), client_id]
        process = Process(arguments, tmp_path / client_id, client_id)
        process.environment["PYTHONPATH"] = str(ROOT)
        return process

    def device(self, **options):
        """A connection for devices."""
        return aiomqtt.Client(
            "127.0.0.1", self.broker.port, protocol=aiomqtt.ProtocolVersion.V311, **options
        )


@pytest.fixture
async def site(tmp_path):
    with MosquittoServer(tmp_path / "m") as broker, RedisServer(tmp_path / "r") as redis:
        one = Site(broker, redis)
        await one.register()
        yield one
        await one.store.aclose()


def count(metrics, name, **labels):
    return metrics.get_sample_value(f"afstand_intake_{name}", labels) or 0


def has(metrics, wanted, name, **labels):
    return count(metrics, name, **labels) == wanted


# --- bad input


async def test_every_kind_of_bad_input_has_a_reason_and_a_counter_and_stops_nothing(site):
    good = fix_frame("d1", 1, time_ms=now_ms())
    replayed = fix_frame("d1", 2, time_ms=now_ms())
    unknown_version = bytearray(good)
    unknown_version[2] = 9
    bad = [
        ("em/d1/fix", good[:50], "truncated"),
        ("em/d1/fix", bytes(50_000), "oversized"),
        ("em/d1/fix", fix_frame("d1", 3, time_ms=now_ms(), key=key_of("forger")), "bad-tag"),
        ("em/d2/fix", good, "bad-tag"),
        ("em/d1/fix", bytes(unknown_version), "unknown-version"),
        ("em/d1/fix", fix_frame("d1", 4, time_ms=now_ms() + 3_600_000), "future-time"),
        ("em/d1/fix", fix_frame("d1", 5, time_ms=now_ms(), accuracy_dm=0), "impossible-value"),
        ("em/nobody/fix", fix_frame("nobody", 1, time_ms=now_ms()), "unknown-device"),
        ("em/off/fix", fix_frame("off", 1, time_ms=now_ms()), "disabled-device"),
        ("em/d1/fix", event_frame("d1", 6), "wrong-topic"),
        ("em/d1/event", b"\x00" * 80, "bad-magic"),
        ("owntracks/jane/phone", b'{"_type":', "malformed-json"),
        ("owntracks/jane/phone", b'{"_type":"location","lat":"x"}', "bad-schema"),
        ("owntracks/jane/phone", b'{"_type":"spaceship"}', "unknown-type"),
        ("owntracks/nobody/phone", location(), "unknown-device"),
    ]
    async with site.intake() as (metrics, health), site.device() as device:
        await device.publish("em/d1/fix", replayed, 1)
        await until(lambda: count(metrics, "journalled_total", lane="fix") == 1)
        await asyncio.sleep(0.6)
        bad.append(("em/d1/fix", replayed, "replayed-sequence"))
        expected: dict[str, int] = {}
        for n, (topic, payload, reason) in enumerate(bad):
            expected[reason] = expected.get(reason, 0) + 1
            await device.publish(topic, payload, 1)
            following = fix_frame("d1", 100 + n, time_ms=now_ms())
            await device.publish("em/d1/fix", following, 1)
            await until(partial(has, metrics, n + 2, "journalled_total", lane="fix"))
            await until(partial(has, metrics, expected[reason], "quarantined_total", reason=reason))
        found = await read_quarantine(site.store, BEGINNING, 100)
        assert sorted(entry.reason for entry in found) == sorted(reason for _, _, reason in bad)
        assert {(e.topic, e.payload[:48]) for e in found} == {(t, p[:48]) for t, p, _ in bad}
        large = next(entry for entry in found if entry.reason == "oversized")
        assert (large.size, len(large.payload)) == (50_000, 4096)
        assert len(await site.frames()) == 1 + len(bad)
        assert health.ready


def location():
    body = f'{{"_type":"location","lat":51.9,"lon":4.5,"tst":{now_ms() // 1000},"tid":"ja"}}'
    return body.encode()


async def test_a_press_is_never_lost(site):
    """Unknown device, forged tag, switched-off device, a clock that is wrong.

    Each reaches the journal as what it is.
    """
    presses = [
        ("em/nobody/event", event_frame("nobody", 1, time_ms=now_ms())),
        ("em/d1/event", event_frame("d1", 1, time_ms=now_ms(), key=key_of("forger"))),
        ("em/off/event", event_frame("off", 1, EventCode.STRAP_CUT, time_ms=now_ms())),
        ("em/d1/event", event_frame("d1", 2, time_ms=0)),
        ("em/d2/event", event_frame("d2", 1, EventCode.DURESS, time_ms=now_ms() + 10**8)),
    ]
    async with site.intake() as (metrics, _), site.device() as device:
        for topic, payload in presses:
            await device.publish(topic, payload, 1)
        await until(lambda: count(metrics, "journalled_total", lane="event") == len(presses))
    assert await site.payloads() == {payload for _, payload in presses}


async def test_a_real_phone_is_a_device(site):
    async with site.intake() as (metrics, _), site.device() as phone:
        await phone.publish("owntracks/jane/phone", location(), 1)
        await phone.publish("owntracks/jane/phone", b'{"_type":"lwt","tst":1}', 1)
        await until(lambda: count(metrics, "journalled_total", lane="owntracks") == 1)
        await until(lambda: count(metrics, "ignored_total", why="type-lwt") == 1)
    (frame,) = await site.frames()
    assert frame.lane is LaneCode.OWNTRACKS


async def test_every_published_owntracks_message_is_taken_ignored_or_quarantined(site, data):
    """The conformance files, one by one over the real broker; the verdicts are their own."""
    folder = data / "conformance" / "owntracks"
    verdicts = json.loads((folder / "expected.json").read_text())
    became = {}
    async with site.intake() as (metrics, _), site.device() as phone:
        for number, name in enumerate(verdicts, 1):
            before = settled(metrics)
            await phone.publish("owntracks/jane/phone", (folder / "test" / name).read_bytes(), 1)
            await until(partial(all_settled, metrics, number))
            now = settled(metrics)
            became[name] = next(kind for kind in now if now[kind] > before[kind])
    refused = {name for name, kind in became.items() if kind == "quarantined"}
    assert refused == {name for name, verdict in verdicts.items() if verdict != "valid"}


def settled(metrics):
    """How many messages became what."""
    kinds = ("journalled", "ignored", "quarantined")
    return {
        kind: sum(
            sample.value
            for family in metrics.collect()
            for sample in family.samples
            if sample.name == f"afstand_intake_{kind}_total"
        )
        for kind in kinds
    }


def all_settled(metrics, number):
    return sum(settled(metrics).values()) == number


# --- things that die


class Tracker:
    """A device that publishes frames and notes what it was told is durable."""

    def __init__(self, device_id, boot):
        self.device_id = device_id
        self.boot = boot
        self.frames = {}
        self.told = set()

    def frame(self, sequence):
        press = sequence % 50 == 0
        make = event_frame if press else fix_frame
        frame = make(self.device_id, sequence, boot=self.boot, time_ms=now_ms())
        self.frames[sequence] = frame
        return f"em/{self.device_id}/{'event' if press else 'fix'}", frame

    async def listen(self, client):
        await client.subscribe(f"em/{self.device_id}/ack", 1)
        async for message in client.messages:
            for boot, first, last in decode_acks(message.payload):
                assert boot == self.boot
                self.told |= set(range(first, last + 1))


async def test_kill_9_of_the_intake_loses_no_frame(site, tmp_path):
    """In the middle of a stream.

    What a device was told is in the journal then, and in the end all.
    """
    intake = site.process(tmp_path)
    trackers = [Tracker(name, boot=4) for name in DEVICES]
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(site.device())
        for tracker in trackers:
            listener = await stack.enter_async_context(site.device())
            task = asyncio.create_task(tracker.listen(listener))
            stack.callback(task.cancel)
        intake.start()
        stack.callback(intake.kill)
        # Before its first subscription the broker has nobody to keep anything for.
        await until(lambda: intake.output().count("connected ") == 2, 30)
        total = 900
        kills = {200, 450, 700}
        for sequence in range(1, total + 1):
            for tracker in trackers:
                await client.publish(*tracker.frame(sequence), 1)
            if sequence in kills:
                await until(lambda: all(t.told for t in trackers), 30)
                intake.kill()
                told = {t.frames[s] for t in trackers for s in set(t.told)}
                assert told <= await site.payloads()
                intake.start()
        sent = {frame for tracker in trackers for frame in tracker.frames.values()}
        await site.holds(sent)
        await until(lambda: all(len(t.told) > 0 for t in trackers))


async def test_redis_may_go_and_come_back(site):
    async with site.intake() as (metrics, health), site.device() as device:
        sent = set()

        async def send(first, last):
            for sequence in range(first, last):
                frame = fix_frame("d1", sequence, time_ms=now_ms())
                sent.add(frame)
                await device.publish("em/d1/fix", frame, 1)

        await send(1, 50)
        site.redis.kill()
        await send(50, 100)
        await device.publish("em/d1/event", event_frame("d1", 1000, time_ms=now_ms()), 1)
        await until(lambda: not health.ready)
        assert "store" in health.problems
        await asyncio.sleep(0.3)
        site.redis.start()
        await until(lambda: health.ready, 20)
        await send(100, 150)
        await until(lambda: count(metrics, "journalled_total", lane="fix") >= 149, 20)
        await until(lambda: count(metrics, "journalled_total", lane="event") >= 1, 20)
        assert count(metrics, "store_failures_total", what="store") >= 1
    assert sent <= await site.payloads()


async def test_the_broker_may_go_and_come_back(site):
    """A regular stop keeps the sessions.

    What was published before it and not yet taken comes after it.
    """
    async with site.intake() as (metrics, health):
        for round_ in range(2):
            async with site.device() as device:
                for sequence in range(1, 100):
                    frame = fix_frame("d1", 100 * round_ + sequence, time_ms=now_ms())
                    await device.publish("em/d1/fix", frame, 1)
            site.broker.stop()
            await until(lambda: not health.ready)
            site.broker.start()
            await until(lambda: health.ready, 20)
        await until(lambda: count(metrics, "journalled_total", lane="fix") >= 198, 20)
    assert len(await site.payloads()) == 198


async def test_kill_9_of_the_broker_is_made_good_by_the_devices(site):
    """A broker's PUBACK is not durability.

    A device keeps what it was not told is stored, and sends it again.
    """
    tracker = Tracker("d1", boot=2)
    async with site.intake() as (_, health):
        for _ in range(3):
            async with site.device() as device, site.device() as listener:
                listening = asyncio.create_task(tracker.listen(listener))
                await asyncio.sleep(0.1)
                again = [f for s, f in tracker.frames.items() if s not in tracker.told]
                for frame in again:
                    await device.publish("em/d1/fix", frame, 1)
                first = len(tracker.frames) + 1
                for sequence in range(first, first + 49):
                    await device.publish("em/d1/fix", tracker.frame(sequence)[1], 1)
                listening.cancel()
            site.broker.kill()
            await until(lambda: not health.ready)
            assert {tracker.frames[s] for s in tracker.told} <= await site.payloads()
            site.broker.start()
            await until(lambda: health.ready, 20)
        async with site.device() as device, site.device() as listener:
            listening = asyncio.create_task(tracker.listen(listener))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(30):
                while len(tracker.told) < len(tracker.frames):
                    for sequence, frame in list(tracker.frames.items()):
                        if sequence not in tracker.told:
                            lane = "event" if sequence % 50 == 0 else "fix"
                            await device.publish(f"em/d1/{lane}", frame, 1)
                    await asyncio.sleep(0.3)
            listening.cancel()
    assert set(tracker.frames.values()) <= await site.payloads()


async def test_what_the_broker_sends_again_is_harmless(site):
    """A client that acknowledges nothing is given everything again.

    The journal has each frame once.
    """
    async with site.intake() as (metrics, _), site.device() as device:
        for sequence in range(1, 21):
            frame = fix_frame("d1", sequence, time_ms=now_ms())
            await device.publish("em/d1/fix", frame, 1)
            await device.publish("em/d1/fix", frame, 1)
        await until(lambda: count(metrics, "received_total", connection="fixes") == 40)
        await until(lambda: count(metrics, "journalled_total", lane="fix") == 20)
    assert len(await site.frames()) == 20


async def test_an_intake_that_starts_while_the_store_is_away_waits_for_it(site):
    site.redis.stop()
    metrics, health, stop = CollectorRegistry(), new_health(), asyncio.Event()
    task = asyncio.create_task(
        run_intake(
            IntakeSettings(mqtt=MqttSettings(port=site.broker.port), store_url=site.redis.url),
            store=site.store,
            box=KeyBox(BOX_KEY),
            metrics=metrics,
            stop=stop,
            health=health,
        )
    )
    await asyncio.sleep(0.2)
    assert not health.ready
    site.redis.start()
    await until(lambda: health.ready, 20)
    stop.set()
    await task


# --- several intakes, other brokers


async def test_two_intakes_share_the_fixes_and_both_have_every_event(site):
    async with (
        site.intake("i1") as (one, _),
        site.intake("i2") as (two, _),
        site.device() as device,
    ):
        for sequence in range(1, 101):
            await device.publish("em/d1/fix", fix_frame("d1", sequence, time_ms=now_ms()), 1)
        press = event_frame("d1", 500, time_ms=now_ms())
        await device.publish("em/d1/event", press, 1)
        both = (one, two)
        await until(lambda: sum(count(m, "journalled_total", lane="fix") for m in both) == 100)
        await until(lambda: [count(m, "journalled_total", lane="event") for m in both] == [1, 1])
        assert all(count(m, "journalled_total", lane="fix") > 0 for m in both)
    frames = await site.frames()
    assert [f.payload for f in frames].count(press) == 2, "the fold drops the copy"


async def test_a_broker_of_311(tmp_path):
    """NATS, the embedded broker's stand-in: no MQTT 5, no shared subscriptions."""
    with NatsServer(tmp_path / "n") as broker, RedisServer(tmp_path / "r") as redis:
        site = Site(broker, redis)
        await site.register()
        tracker = Tracker("d1", boot=1)
        async with site.intake() as (metrics, health), site.device(identifier="t") as device:
            listening = asyncio.create_task(tracker.listen(device))
            await asyncio.sleep(0.2)
            for sequence in range(1, 101):
                await device.publish(*tracker.frame(sequence), 1)
            await until(lambda: count(metrics, "journalled_total", lane="fix") >= 98, 20)
            await until(lambda: tracker.told == set(range(1, 101)), 20)
            broker.kill()
            await until(lambda: not health.ready)
            broker.start()
            await until(lambda: health.ready, 20)
            listening.cancel()
        assert await site.payloads() == set(tracker.frames.values())
        await site.store.aclose()


async def test_a_changed_registry_counts_within_seconds(site):
    registry = Registry(site.store, KeyBox(BOX_KEY))
    async with site.intake() as (metrics, _), site.device() as device:
        await registry.put(record("new"))
        await until(lambda: count(metrics, "devices") == 6)
        await device.publish("em/new/fix", fix_frame("new", 1, time_ms=now_ms()), 1)
        await until(lambda: count(metrics, "journalled_total", lane="fix") == 1)
        await registry.put(record("new", enabled=False))
        async with asyncio.timeout(10):
            sequence = 2
            while not count(metrics, "quarantined_total", reason="disabled-device"):
                frame = fix_frame("new", sequence, time_ms=now_ms())
                await device.publish("em/new/fix", frame, 1)
                sequence += 1
                await asyncio.sleep(0.2)


# --- as in production: TLS, certificates, ACL


def certificates(directory: Path, *names: str) -> None:
    """A CA, the broker's certificate and one per name, as PEM files."""
    directory.mkdir()
    start, end = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2045, 1, 1, tzinfo=dt.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])

    def issue(name: str) -> None:
        key = ca_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(ca_name if name == "ca" else subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .sign(ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (directory / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )

    for name in ("ca", "broker", *names):
        issue(name)


async def test_tls_certificates_and_the_shipped_acl(tmp_path):
    certs = tmp_path / "certs"
    certificates(certs, "afstand-intake", "d1", "d2")

    def tls_of(name):
        return TlsSettings(
            ca_file=str(certs / "ca.crt"),
            cert_file=str(certs / f"{name}.crt"),
            key_file=str(certs / f"{name}.key"),
            server_name="localhost",
        )

    with (
        MosquittoServer(tmp_path / "m", tls=certs) as broker,
        RedisServer(tmp_path / "r") as redis,
    ):
        site = Site(broker, redis)
        await site.register()
        tracker = Tracker("d1", boot=1)

        def connect(name):
            return aiomqtt.Client(
                "localhost", broker.port, tls_context=tls_of(name).context(), identifier=name
            )

        async with (
            site.intake(host="localhost", tls=tls_of("afstand-intake")) as (metrics, _),
            connect("d1") as device,
            connect("d2") as other,
        ):
            listening = asyncio.create_task(tracker.listen(device))
            await asyncio.sleep(0.2)
            for sequence in range(1, 101):
                await device.publish(*tracker.frame(sequence), 1)
            await until(lambda: tracker.told == set(range(1, 101)), 20)
            # Another device's branch: the broker lets nothing through, in either direction.
            await other.subscribe("em/d1/ack", 1)
            stolen = fix_frame("d1", 900, time_ms=now_ms())
            await other.publish("em/d1/fix", stolen, 1)
            await device.publish(*tracker.frame(101), 1)
            await until(lambda: 101 in tracker.told, 20)
            assert count(metrics, "quarantined_total", reason="replayed-sequence") == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(aiter(other.messages))
            listening.cancel()
        assert stolen not in await site.payloads()
        await site.store.aclose()
    with pytest.raises(StoreUnavailableError):
        await Journal(site.store).last_id("p0")
    await site.store.aclose()
