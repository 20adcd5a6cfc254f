"""The load publisher.

The frames it encodes at once are those that the contract encodes one by one.
"""

import time
from collections import Counter

import mqtt5
import numpy as np
import pytest

from firmware_contracts import EventCode, Kind, encode_event, encode_fixes, fix_records, read_header
from firmware_contracts.batch import decode_batch
from firmware_contracts.frames import Tagger
from simulators.geo import LocalPlane
from simulators.load import (
    LoadError,
    LoadTarget,
    connect_packet,
    length_bytes,
    publish_head,
    run_load,
)
from simulators.load_plan import LoadDevice, plan_load
from simulators.seeds import device_key
from tests.servers import MosquittoServer, NatsServer, free_port

PLANE = LocalPlane(51.92, 4.48)
T0 = 1_750_000_000_000
DEVICES = [LoadDevice(f"d-{n:03d}", device_key(1, f"d-{n:03d}"), 100.0 * n, 0.0) for n in range(50)]


def plan(**named):
    settings = {"rate_per_s": 500.0, "duration_s": 2.0, "start_ms": T0, "panic_per_s": 5.0}
    return plan_load(DEVICES, PLANE, **(settings | named))


def test_frames_are_those_of_the_contract():
    made = plan()
    for row in (0, 1, 17, int(np.flatnonzero(made.panic)[0]), len(made) - 1):
        body, device = made.body[row], DEVICES[made.device[row]]
        header = read_header(body)
        time_ms = T0 + round(made.offset_ns[row] / 1e6)
        assert (header.sequence, header.device_time_ms) == (made.sequence[row], time_ms)
        one = decode_batch(body, np.array([0]), np.array([len(body)]))
        if made.panic[row]:
            columns = one.events
            expected = encode_event(
                *device[:2], boot=1, sequence=header.sequence, device_time_ms=time_ms,
                code=EventCode.PANIC,
                lat_e7=int(columns.lat_e7[0]), lon_e7=int(columns.lon_e7[0]),
                accuracy_dm=60, mechanism=1,
            )  # fmt: skip
        else:
            records = fix_records(1)
            records["lat_e7"], records["lon_e7"] = one.fixes.lat_e7, one.fixes.lon_e7
            records["accuracy_dm"], records["speed_cm_s"], records["satellites"] = 60, 140, 11
            records["mechanism"], records["battery_pct"] = 1, 80
            expected = encode_fixes(
                *device[:2],
                boot=1,
                sequence=header.sequence,
                device_time_ms=time_ms,
                records=records,
            )
        assert body == expected


def test_every_frame_is_sound_and_every_tag_valid():
    made = plan(fixes_per_frame=3, boot=9, first_sequence=100)
    lengths = np.array([len(body) for body in made.body])
    batch = decode_batch(
        b"".join(made.body), np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths
    )
    assert not batch.fault.any()
    assert len(batch.fixes.frame) == 3 * int((~made.panic).sum())
    assert len(batch.events.frame) == int(made.panic.sum()) == 10
    taggers = [Tagger(device.device_id, device.key) for device in DEVICES]
    assert all(taggers[d].valid(body) for d, body in zip(made.device, made.body, strict=True))
    assert set(batch.fixes.boot.tolist()) == {9}


def test_sequences_of_a_device_have_no_gap_and_messages_are_in_order_of_time():
    made = plan()
    assert (np.diff(made.offset_ns) >= 0).all()
    for device in range(len(DEVICES)):
        mine = made.sequence[made.device == device]
        assert mine.tolist() == list(range(1, len(mine) + 1))
    per_device = Counter(made.device.tolist())
    assert max(per_device.values()) - min(per_device.values()) <= 1
    assert np.median(np.diff(made.offset_ns)) == pytest.approx(2e6, rel=0.01)


def test_the_same_seed_is_the_same_plan():
    assert plan(seed=4).body == plan(seed=4).body
    assert plan(seed=4).body != plan(seed=5).body
    assert not plan(panic_per_s=0.0).panic.any()
    with pytest.raises(ValueError, match="devices"):
        plan_load([], PLANE, rate_per_s=1.0, duration_s=1.0, start_ms=T0)


# --- packets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 268_435_455])
def test_a_remaining_length_is_read_back(length):
    value, shift = 0, 0
    for byte in length_bytes(length):
        value |= (byte & 0x7F) << shift
        shift += 7
    assert value == length


@pytest.mark.parametrize("body", [b"", b"x" * 90, b"y" * 4_000])
def test_a_publish_of_version_5_is_what_the_codec_writes(body):
    ours = publish_head(b"em/d-1/fix", len(body), "5") + (77).to_bytes(2, "big") + b"\x00" + body
    packet, size = mqtt5.read(memoryview(ours))
    assert size == len(ours)
    assert isinstance(packet, mqtt5.PublishPacket)
    assert (packet.topic, packet.payload, packet.packet_id, packet.qos) == (
        "em/d-1/fix",
        body,
        77,
        1,
    )
    old = publish_head(b"em/d-1/fix", len(body), "3.1.1") + (77).to_bytes(2, "big") + body
    assert len(old) == len(ours) - 1


def test_a_connect_of_version_3_carries_name_and_password():
    target = LoadTarget("h", 1, "3.1.1", username="jan", password="geheim")
    packet = connect_packet(target, "load-0")
    assert packet == b"\x10\x1f\x00\x04MQTT\x04\xc2\x00\x00\x00\x06load-0\x00\x03jan\x00\x06geheim"


# --- real brokers ---------------------------------------------------------------------------------


def fresh_plan(**named):
    return plan(start_ms=time.time_ns() // 1_000_000 + 300, **named)


@pytest.mark.servers
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("connections", [1, 40])
async def test_a_broker_takes_every_message(tmp_path, version, connections):
    with MosquittoServer(tmp_path) as broker:
        made = fresh_plan(rate_per_s=2_000.0, duration_s=0.5)
        target = LoadTarget(broker.host, broker.port, version, connections)
        record = await run_load(made, target)
    assert record.sent == record.acked == len(made)
    assert record.refused == 0
    assert (record.sent_ns >= record.due_ns).all()
    assert (record.acked_ns >= record.sent_ns).all()
    assert record.rate_per_s == pytest.approx(2_000.0, rel=0.25)


@pytest.mark.servers
async def test_the_window_of_the_broker_is_obeyed(tmp_path):
    with MosquittoServer(tmp_path, extra="") as broker:
        made = fresh_plan(rate_per_s=50_000.0, duration_s=0.02, panic_per_s=0.0)
        record = await run_load(made, LoadTarget(broker.host, broker.port, "5", 1, window=7))
    # At any instant at most 7 are written and not acknowledged.
    times = np.concatenate((record.sent_ns, record.acked_ns))
    change = np.concatenate((np.ones(len(made)), -np.ones(len(made))))
    order = np.lexsort((change, times))
    assert np.cumsum(change[order]).max() <= 7
    assert record.acked == len(made)


@pytest.mark.servers
async def test_the_embedded_broker_takes_it_too(tmp_path):
    with NatsServer(tmp_path) as broker:
        made = fresh_plan(rate_per_s=500.0, duration_s=0.5)
        record = await run_load(made, LoadTarget(broker.host, broker.port, "3.1.1", 4))
    assert record.acked == len(made)


@pytest.mark.servers
async def test_a_broker_that_dies_is_an_error_and_not_a_figure(tmp_path):
    broker = MosquittoServer(tmp_path).start()
    made = fresh_plan(duration_s=5.0)
    import asyncio

    running = asyncio.create_task(run_load(made, LoadTarget(broker.host, broker.port)))
    await asyncio.sleep(0.6)
    broker.kill()
    with pytest.raises(LoadError, match="lost"):
        await running


async def test_nobody_at_the_port_is_an_error():
    with pytest.raises(OSError, match="Connect call failed"):
        await run_load(plan(duration_s=0.01), LoadTarget("127.0.0.1", free_port()))


def test_kinds_of_frames_are_fixes_and_events():
    assert {read_header(body).kind for body in plan().body} == {Kind.FIX, Kind.EVENT}
