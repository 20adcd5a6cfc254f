"""What devices are told: nothing that is not durable, everything that is, and not too often."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_contracts.frames import Tagger, decode_acks
from firmware_contracts.topics import Lane, parse_topic
from ingest.acks import DeviceAcks
from ingest.checks import Device
from ingest.pending import Fixes
from tests.ingest.devices import NOW_MS, key_of, record

INTERVAL_MS = 10_000


def device(device_id="d1"):
    return Device(record(device_id))


def fixes(one, boot, *sequences):
    """Fix frames of a device as columns."""
    count = len(sequences)
    columns = ([value] * count for value in (one.handle, one.serial, boot))
    handles, serials, boots = (np.array(column, np.int64) for column in columns)
    numbers = np.array(sequences, np.int64)
    ids = np.arange(count)
    return Fixes(1, 0, ids, [one] * count, handles, serials, boots, numbers, np.zeros(count, "V1"))


def ranges(acks, now_ms, limit=100):
    """What is due, as (boot, first, last), with the tag and the topic checked."""
    told = []
    for ack in acks.take_due(now_ms, limit, 0):
        assert parse_topic(ack.topic) == (ack.device_id, Lane.ACK)
        assert Tagger(ack.device_id, key_of(ack.device_id)).valid(ack.frame)
        told += [tuple(one) for one in decode_acks(ack.frame)]
    return told


def test_the_first_fix_is_told_at_once_and_the_next_ones_together():
    """FC-063."""
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable(one, 1, 1, NOW_MS, at_once=False)
    assert ranges(acks, NOW_MS) == [(1, 1, 1)]
    for sequence in range(2, 9):
        acks.durable(one, 1, sequence, NOW_MS + sequence, at_once=False)
    assert ranges(acks, NOW_MS + INTERVAL_MS - 1) == []
    assert ranges(acks, NOW_MS + INTERVAL_MS) == [(1, 1, 8)]
    assert ranges(acks, NOW_MS + 10 * INTERVAL_MS) == []


def test_an_event_is_told_at_once():
    """FC-063."""
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable(one, 1, 1, NOW_MS, at_once=False)
    ranges(acks, NOW_MS)
    acks.durable(one, 1, 2, NOW_MS + 1, at_once=False)
    acks.durable(one, 1, 3, NOW_MS + 2, at_once=True)
    assert ranges(acks, NOW_MS + 2) == [(1, 1, 3)]
    assert ranges(acks, NOW_MS + INTERVAL_MS + 1) == []


def test_a_gap_is_not_told():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    for sequence in (1, 2, 4, 5):
        acks.durable(one, 1, sequence, NOW_MS, at_once=False)
    assert ranges(acks, NOW_MS) == [(1, 1, 2), (1, 4, 5)]
    acks.durable(one, 1, 3, NOW_MS, at_once=True)
    assert ranges(acks, NOW_MS) == [(1, 1, 5)]


def test_boots_are_kept_apart():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable(one, 1, 9, NOW_MS, at_once=True)
    acks.durable(one, 2, 1, NOW_MS, at_once=True)
    assert ranges(acks, NOW_MS) == [(1, 9, 9), (2, 1, 1)]


def test_a_last_will_and_a_phone_are_told_nothing():
    acks = DeviceAcks(INTERVAL_MS)
    acks.durable(device(), 1, 0, NOW_MS, at_once=True)
    assert ranges(acks, NOW_MS) == []
    assert acks.next_due_ms() is None


def test_what_could_not_be_sent_is_due_again():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable(one, 1, 1, NOW_MS, at_once=True)
    (ack,) = acks.take_due(NOW_MS, 10, 0)
    acks.not_sent(ack, NOW_MS + 1000)
    assert ranges(acks, NOW_MS + 999) == []
    assert ranges(acks, NOW_MS + 1000) == [(1, 1, 1)]


def test_more_ranges_than_a_frame_holds_are_told_in_turn():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    for sequence in range(1, 401, 2):
        acks.durable(one, 1, sequence, NOW_MS, at_once=False)
    told = []
    while batch := ranges(acks, NOW_MS):
        told += batch
    assert told == [(1, n, n) for n in range(1, 401, 2)]


def test_fixes_in_bulk_are_told_under_the_key_that_the_device_has_now():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable_fixes(fixes(one, 1, 1, 2, 3), NOW_MS)
    changed = Device(msgspec.structs.replace(one.record, key=bytes(16)))
    acks.durable_fixes(fixes(changed, 1, 4, 5), NOW_MS)
    (ack,) = acks.take_due(NOW_MS, 10, 0)
    assert Tagger("d1", bytes(16)).valid(ack.frame)
    assert [tuple(one) for one in decode_acks(ack.frame)] == [(1, 1, 5)]


def test_what_grows_in_bulk_is_told_again_when_it_could_not_be_sent():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable_fixes(fixes(one, 1, 1, 2, 3), NOW_MS)
    (ack,) = acks.take_due(NOW_MS, 10, 0)
    acks.durable_fixes(fixes(one, 1, 4, 5), NOW_MS + 1)
    acks.not_sent(ack, NOW_MS + 2)
    acks.durable_fixes(fixes(one, 1, 6), NOW_MS + 2)
    assert ranges(acks, NOW_MS + 2) == [(1, 1, 6)]


def test_a_range_in_bulk_grows_beside_one_of_an_earlier_boot_and_into_one_above_it():
    acks, one = DeviceAcks(INTERVAL_MS), device()
    acks.durable_fixes(fixes(one, 1, 7, 8), NOW_MS)
    acks.durable_fixes(fixes(one, 2, 5, 6, 1, 2, 3), NOW_MS)
    acks.durable_fixes(fixes(one, 2, 4, 7), NOW_MS)
    assert sorted(ranges(acks, NOW_MS)) == [(1, 7, 8), (2, 1, 7)]


@pytest.mark.parametrize("handle", [0, 5_000, (1 << 24) + 1])
def test_fixes_in_bulk_of_a_device_with_any_handle(handle):
    acks = DeviceAcks(INTERVAL_MS)
    one = Device(msgspec.structs.replace(record("d1"), handle=handle))
    for sequence in range(1, 9):
        acks.durable_fixes(fixes(one, 1, sequence), NOW_MS)
    assert ranges(acks, NOW_MS) == [(1, 1, 8)]


def test_no_more_than_the_limit_in_one_go():
    acks = DeviceAcks(INTERVAL_MS)
    for n in range(30):
        acks.durable(device(f"d{n}"), 1, 1, NOW_MS, at_once=True)
    assert [len(ranges(acks, NOW_MS, limit=20)) for _ in range(3)] == [20, 10, 0]


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(1, 2),
        st.integers(1, 12),
        st.integers(0, 4000),
        st.booleans(),
        st.booleans(),
    ),
    max_size=80,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(steps, st.booleans())
def test_model(draws, in_bulk):
    """Told = durable in the end.

    At any moment told is part of durable; fixes are told once an interval.
    """
    acks = DeviceAcks(INTERVAL_MS)
    devices = {"a": device("a"), "b": device("b")}
    durable: dict[str, set[tuple[int, int]]] = {"a": set(), "b": set()}
    told: dict[str, set[tuple[int, int]]] = {"a": set(), "b": set()}
    last_ms: dict[str, int] = {}
    urgent: set[str] = set()
    now_ms = NOW_MS

    def collect():
        for ack in acks.take_due(now_ms, 100, 0):
            name = ack.device_id
            if name not in urgent and name in last_ms:
                assert now_ms - last_ms[name] >= INTERVAL_MS
            urgent.discard(name)
            last_ms[name] = now_ms
            for boot, first, last in decode_acks(ack.frame):
                told[name] |= {(boot, n) for n in range(first, last + 1)}
            assert told[name] <= durable[name]

    for name, boot, sequence, step_ms, at_once, look in draws:
        now_ms += step_ms
        durable[name].add((boot, sequence))
        if in_bulk and not at_once:
            acks.durable_fixes(fixes(devices[name], boot, sequence), now_ms)
        else:
            acks.durable(devices[name], boot, sequence, now_ms, at_once=at_once)
            if at_once:
                urgent.add(name)
        if look:
            collect()
    now_ms += INTERVAL_MS
    collect()
    assert told == durable
    assert acks.take_due(now_ms + 10 * INTERVAL_MS, 10, 0) == []
