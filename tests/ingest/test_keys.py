"""Key generations: which key a frame may be under, the registry, and a rotation over a broker."""

import argparse
import asyncio
import contextlib

import msgspec
import pytest

from afstand import devices
from afstand.cases import check_cases, import_cases
from afstand.config import Broker as BrokerSection
from afstand.config import Config, Store
from afstand.config import Registry as RegistrySection
from afstand.limits import FORMER_KEY_MS_MAX
from firmware_contracts.frames import Tagger
from firmware_contracts.keys import derive_key
from ingest.checks import Accept, Checker
from ingest.devices import Contract, RegistryError, check_record, promoted, with_next_key
from ingest.journal import Journal
from ingest.reasons import Reason
from ingest.registry import KeyBox, Registry
from ingest.store import REGISTRY_DEVICES_KEY
from simulators.bench_device import BenchDevice
from simulators.bridge import Bridge, SimulatedLine
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.happenings import DeviceSpec
from tests.ingest.devices import NOW_MS, fix_frame, key_of, message, record, status_frame
from tests.ingest.test_intake_servers import BOX_KEY, Site
from tests.servers import MosquittoServer, RedisServer

ROOT, NONCE = bytes(range(16)), b"n" * 16
FIRST, SECOND = key_of("d1"), derive_key(ROOT, "d1", 1, NONCE)


def keyed(**changes):
    """A checker of one device, and what stands in for the registry."""
    known = {"d1": record("d1", root=ROOT, **changes)}
    return Checker(known.get, default_partition="p9"), known


def told(checker, sequence, key, *, boot=1, received_ms=NOW_MS):
    frame = fix_frame("d1", sequence, boot=boot, key=key)
    return checker.check(message("em/d1/fix", frame, received_ms=received_ms))


def test_a_device_that_was_asked_is_believed_under_both_keys_and_told_under_its_own():
    checker, known = keyed()
    known["d1"] = with_next_key(known["d1"], NONCE)
    before, after = told(checker, 1, FIRST), told(checker, 2, SECOND)
    assert checker.switched == {"d1": (1, 2)}
    assert isinstance(before, Accept)
    assert isinstance(after, Accept)
    body = fix_frame("d1", 9, key=FIRST)[:-16]
    for outcome, key in ((before, FIRST), (after, SECOND)):
        assert outcome.device is not None
        assert outcome.device.tagger is not None
        assert outcome.device.tagger.tag(body) == Tagger("d1", key).tag(body)
    assert told(checker, 3, derive_key(ROOT, "d1", 2, NONCE)).reason is Reason.BAD_TAG
    told(checker, 4, SECOND)
    assert checker.switched == {"d1": (1, 2)}  # the first counts


def test_the_former_key_counts_for_earlier_numbers_only_and_not_for_ever():
    """FC-114."""
    checker, known = keyed()
    asked = with_next_key(known["d1"], NONCE)
    known["d1"] = promoted(asked, 3, 50, NOW_MS)
    assert known["d1"].key == SECOND
    for boot, sequence in [(3, 49), (2, 900)]:
        assert isinstance(told(checker, sequence, FIRST, boot=boot), Accept)
    for boot, sequence in [(3, 50), (3, 51), (4, 1)]:
        assert told(checker, sequence, FIRST, boot=boot).reason is Reason.BAD_TAG
    late_ms = NOW_MS + FORMER_KEY_MS_MAX
    assert told(checker, 48, FIRST, boot=3, received_ms=late_ms).reason is Reason.BAD_TAG
    assert isinstance(told(checker, 51, SECOND, boot=3), Accept)
    assert checker.switched == {}
    will = status_frame("d1", 0)
    assert checker.check(message("em/d1/status", will)).reason is Reason.BAD_TAG


def test_who_was_asked_is_asked_for_the_same_again():
    asked = with_next_key(record("d1", root=ROOT, generation=4), NONCE)
    assert (asked.next_generation, asked.next_key) == (5, derive_key(ROOT, "d1", 5, NONCE))
    assert with_next_key(asked, b"m" * 16) is asked
    with pytest.raises(RegistryError, match="no root key"):
        with_next_key(record("d1"), NONCE)
    later = with_next_key(promoted(asked, 1, 1, NOW_MS), b"m" * 16)
    assert (later.next_generation, later.key) == (6, asked.next_key)


@pytest.mark.parametrize(
    "changes",
    [{"root": b"short"}, {"next_generation": 1}, {"root": ROOT, "next_generation": 1},
     {"root": ROOT, "next_nonce": NONCE}, {"former_key": b"x"},
     {"contract": Contract.OWNTRACKS, "root": ROOT}],
)  # fmt: skip
def test_keys_that_cannot_be_are_refused(changes):
    with pytest.raises(RegistryError):
        check_record(record("d1", **changes))


# --- the registry ---------------------------------------------------------------------------------


@pytest.mark.servers
async def test_keys_survive_the_registry_and_only_rooted_devices_are_of_the_new_format(store):
    registry = Registry(store, KeyBox(BOX_KEY))
    plain = await registry.put(record("d2", 0))
    rooted = promoted(with_next_key(record("d1", 0, root=ROOT), NONCE), 7, 8, NOW_MS)
    rooted = await registry.put(with_next_key(rooted, NONCE))
    other = Registry(store, KeyBox(BOX_KEY))
    await other.load_all()
    assert other.find("d1") == rooted
    assert other.find("d2") == plain
    raw = await store.hgetall(REGISTRY_DEVICES_KEY)
    versions = {name: msgspec.msgpack.decode(value)[0] for name, value in raw.items()}
    assert versions == {b"d1": 2, b"d2": 1}
    assert len(msgspec.msgpack.decode(raw[b"d2"])) == 7  # as every earlier program reads it
    for value in raw.values():
        assert ROOT not in value
        assert FIRST not in value


@pytest.mark.servers
async def test_a_key_is_promoted_once(store):
    registry, other = Registry(store, KeyBox(BOX_KEY)), Registry(store, KeyBox(BOX_KEY))
    await registry.put(with_next_key(record("d1", 0, root=ROOT), NONCE))
    assert await other.promote("d1", 1, 5, NOW_MS)
    assert not await registry.promote("d1", 1, 9, NOW_MS)
    assert not await registry.promote("nobody", 1, 9, NOW_MS)
    found = registry.find("d1")
    assert found is not None
    assert (found.key, found.generation, found.former_before) == (SECOND, 1, (1, 5))


@pytest.mark.servers
async def test_an_import_again_takes_no_key_back(store):
    document = {
        "format": "afstand.cases/1",
        "persons": [{"id": "p-1", "role": "wearer"}],
        "devices": [
            {"id": "d1", "person": "p-1", "role": "wearer", "key": FIRST.hex(),
             "root_key": ROOT.hex()}
        ],
    }  # fmt: skip
    registry = Registry(store, KeyBox(BOX_KEY))
    cases = check_cases(msgspec.json.encode(document), "cases")
    await import_cases(cases, registry, Journal(store), ("0",))
    first = registry.find("d1")
    assert first is not None
    assert (first.key, first.root, first.generation) == (FIRST, ROOT, 0)
    await registry.put(promoted(with_next_key(first, NONCE), 1, 1, NOW_MS))
    await import_cases(cases, registry, Journal(store), ("0",))
    again = registry.find("d1")
    assert again is not None
    assert (again.key, again.generation) == (SECOND, 1)
    renamed = msgspec.json.encode(document).replace(ROOT.hex().encode(), b"0" * 32)
    await import_cases(check_cases(renamed, "cases"), registry, Journal(store), ("0",))
    other = registry.find("d1")
    assert other is not None
    assert (other.key, other.generation) == (FIRST, 0)


# --- over a broker --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def device(broker, root=ROOT):
    """The simulated device on a broker; gives its state machine."""
    spec = DeviceSpec(device_id="d1", key=FIRST, root=root)
    bench = BenchDevice(spec, RealClock().now_ms())
    bridge = Bridge("d1", SimulatedLine(bench), Broker("127.0.0.1", broker.port))
    running = asyncio.create_task(bridge.run())
    await bridge.connected.wait()
    try:
        yield bench.device
    finally:
        bridge.stop()
        await running


def options(what, **more):
    return argparse.Namespace(what=what, device="d1", wait=20.0, moving=30, rest=600, **more)


@pytest.mark.servers
@pytest.mark.slow
async def test_a_new_device_is_provisioned_and_rotated_over_mqtt(tmp_path, monkeypatch, capsys):
    """FC-111, FC-112, FC-114: nothing is refused on the way, and nothing stays unacknowledged."""
    monkeypatch.setenv("MASTER", BOX_KEY.hex())
    with MosquittoServer(tmp_path / "m") as broker, RedisServer(tmp_path / "r") as redis:
        config = Config(
            store=Store(url=redis.url),
            broker=BrokerSection(port=broker.port),
            registry=RegistrySection(master_key="env:MASTER"),
        )
        site = Site(broker, redis)
        registry = Registry(site.store, KeyBox(BOX_KEY))
        await registry.put_many([record("d1", 0, root=ROOT), record("bare", 0)])
        async with site.intake() as (metrics, _), device(broker) as one:
            assert await devices.run(config, options("provision")) == 0
            assert (one.interval_moving_s, one.interval_rest_s) == (30, 600)
            assert await devices.run(config, options("rotate")) == 0
            assert one.key_generation == 2
            assert await devices.run(config, options("list")) == 0
            for _ in range(200):
                if not len(one.ring):
                    break
                await asyncio.sleep(0.05)
            assert len(one.ring) == 0  # every frame, under whichever key, was acknowledged
        refused = metrics.get_sample_value(
            "afstand_intake_quarantined_total", {"reason": "bad-tag"}
        )
        assert refused is None
        await site.store.aclose()
    out = capsys.readouterr().out
    told = [line for line in out.splitlines() if line.startswith(("d1", "bare"))]
    assert told[:3] == ["d1: PROFILE done", "d1: has key 1", "d1: has key 2"]
    assert [line.rpartition("  ")[2].strip() for line in told[3:]] == ["one key", "key 2"]


@pytest.mark.servers
@pytest.mark.slow
async def test_a_device_that_does_not_take_its_key_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MASTER", BOX_KEY.hex())
    with MosquittoServer(tmp_path / "m") as broker, RedisServer(tmp_path / "r") as redis:
        config = Config(
            store=Store(url=redis.url),
            broker=BrokerSection(port=broker.port),
            registry=RegistrySection(master_key="env:MASTER"),
        )
        site = Site(broker, redis)
        registry = Registry(site.store, KeyBox(BOX_KEY))
        await registry.put_many([record("d1", 0, root=ROOT), record("bare", 0)])
        for name, message in (("d1", "not heard under it yet"), ("bare", "no root key"),
                              ("nobody", "no device nobody")):  # fmt: skip
            asked = options("rotate")
            asked.device, asked.wait = name, 0.1
            assert await devices.run(config, asked) == 1
            assert message in capsys.readouterr().err
        await site.store.aclose()
