"""The scanner finds exactly the plain fixes, and says of everything else only where it is."""

import os
import subprocess
import sys

import mqtt5
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mqtt311 import Mqtt311Codec
from ingest.mqtt_codec import Mqtt5Codec, drain
from ingest.mqtt_link import Inbox, Taken
from ingest.scan import PLAIN, PLAIN_BYTES, Run, Scanner, puback_bytes
from tests.ingest.devices import NOW_MS, event_frame, fix_frame, message
from tests.ingest.test_mqtt_codec import FIVE, THREE, packet, publish
from tests.servers import ROOT

GOOD = fix_frame("d1", 1)
VERSIONS = pytest.mark.parametrize("codec", [FIVE, THREE], ids=["5", "3.1.1"])

# What may come on the fixes' connection, plain or nearly so, with how likely it is a plain fix.
payloads = st.sampled_from(
    [
        GOOD,
        GOOD,
        GOOD,
        fix_frame("d1", 2, count=2),
        event_frame("d1", 3),
        b"",
        GOOD[:-1],
        GOOD + b"x",
    ]
) | st.binary(min_size=PLAIN_BYTES, max_size=PLAIN_BYTES)
topics = st.sampled_from(["em/d1/fix", "e", "em/" + "d" * 64 + "/fix", "owntracks/a/b"])
draws = st.lists(
    st.tuples(
        topics,
        payloads,
        st.sampled_from([0, 1, 255, 256, 65_535]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([b"", b"", b"\x01\x01"]),
    ),
    max_size=10,
)


def stream(codec, sent):
    return b"".join(
        publish(codec, t, p, packet_id=i, dup=d and i > 0, retain=r, properties=x)
        for t, p, i, d, r, x in sent
    )


@pytest.mark.slow
@VERSIONS
@settings(max_examples=150)
@given(sent=draws, tail=st.binary(max_size=8))
def test_scanner_and_codec_say_the_same(codec, sent, tail):
    """Every message once, by the one or the other; only plain fixes by the scanner."""
    raw = stream(codec, sent)
    scanner = Scanner(properties=codec is FIVE)
    rows, frames, others, consumed = scanner.scan(memoryview(raw + tail))
    run = Run(3, NOW_MS, (raw + tail)[:consumed], rows, frames)
    by_scanner = [run.message(n) for n in range(len(run))]
    assert all(m.payload.startswith(GOOD[:8]) and len(m.payload) == PLAIN_BYTES for m in by_scanner)
    assert [m.topic.encode() for m in by_scanner] == run.topics()
    assert [run.raw[at : at + PLAIN_BYTES] for at in rows[:, 3].tolist()] == [
        m.payload for m in by_scanner
    ]
    by_codec = []
    for first, last in others.tolist():
        if last <= len(raw):
            drained = drain(codec, memoryview(raw)[first:last], NOW_MS, 3)
            assert drained.consumed == last - first
            by_codec += drained.messages
    everything = drain(codec, memoryview(raw), NOW_MS, 3).messages
    key = str
    assert sorted(by_scanner + by_codec, key=key) == sorted(everything, key=key)
    plain = [
        one
        for one, (_, _, _, _, _, properties) in zip(everything, sent, strict=True)
        if one.payload == GOOD
        and one.packet_id
        and not (one.dup or one.retain)
        and not (properties and codec is FIVE)
    ]
    assert [one for one in by_scanner if one.payload == GOOD] == plain, "none is overlooked"


@VERSIONS
@settings(max_examples=150)
@given(sent=draws, data=st.data())
def test_a_scan_stops_where_a_packet_is_not_all_there(codec, sent, data):
    raw = stream(codec, sent)
    cut = data.draw(st.integers(0, len(raw)))
    consumed = Scanner(properties=codec is FIVE).scan(memoryview(raw[:cut])).consumed
    assert consumed <= cut
    whole = drain(codec, memoryview(raw[:cut]), NOW_MS, 3)
    assert consumed == whole.consumed


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_noise(noise, properties):
    rows, frames, others, consumed = Scanner(properties=properties).scan(memoryview(noise))
    assert len(frames) == len(rows)
    assert 0 <= consumed <= len(noise)
    for topic_at, topic_end, packet_id, frame_at in rows.tolist():
        assert 0 < topic_at <= topic_end <= frame_at <= consumed - PLAIN_BYTES
        assert 0 < packet_id < 65_536
    assert all(0 <= first < last <= consumed for first, last in others.tolist())


def test_more_packets_than_fit_are_found_in_turn():
    raw = publish(FIVE, "em/d1/fix", GOOD, packet_id=1) * 5000
    scanner, found, at = Scanner(properties=True), 0, 0
    while at < len(raw):
        rows, _, others, consumed = scanner.scan(memoryview(raw)[at:])
        assert len(others) == 0
        found += len(rows)
        at += consumed
    assert found == 5000


def test_a_result_is_not_overwritten_by_the_next():
    scanner = Scanner(properties=True)
    one = publish(FIVE, "em/d1/fix", GOOD, packet_id=7)
    first = scanner.scan(memoryview(one))
    scanner.scan(memoryview(publish(FIVE, "em/dddd/fix", GOOD, packet_id=9)))
    assert first.rows[0].tolist()[2] == 7


@given(st.lists(st.integers(1, 65_535), max_size=30))
def test_pubacks_of_an_array(ids):
    raw = puback_bytes(np.array(ids, np.int32))
    expected = [mqtt5.PubAckPacket(packet_id).write() for packet_id in ids]
    assert raw == b"".join(expected)


def run(first, count):
    rows = np.zeros((count, 4), np.int32)
    rows[:, 2] = np.arange(first, first + count)
    return Run(1, NOW_MS, b"", rows, np.zeros(count, PLAIN))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=12),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=20),
)
def test_inbox(added, limits):
    """Everything comes out once and in order, and the counts are right at every step."""
    singles = sum(count for is_run, count in added if not is_run)
    inbox, next_id = Inbox(), 1
    for is_run, count in added:
        if is_run:
            inbox.add_run(run(next_id, count))
        else:
            ids = range(next_id, next_id + count)
            inbox.add([message("t", b"xy", packet_id=n) for n in ids])
        next_id += count
    got: list[int] = []
    by_run: list[int] = []
    for limit, singles_max in [*limits, (1000, 1000)]:
        before, kept_back = len(inbox), max(0, singles - len(got) - singles_max)
        taken = inbox.take(limit, singles_max)
        assert len(taken.messages) <= singles_max
        assert len(taken) == min(limit, before - kept_back)
        assert len(inbox) == before - len(taken)
        got += [one.packet_id for one in taken.messages]
        by_run += [n for part in taken.runs for n in part.rows[:, 2].tolist()]
    assert got == sorted(got)
    assert by_run == sorted(by_run)
    assert sorted(got + by_run) == list(range(1, next_id))
    assert (len(inbox), inbox.bytes) == (0, 0)
    other = Inbox()
    other.add_taken(Taken([message("t", b"x")], [run(1, 2)]))
    assert len(other) == 3


@pytest.mark.slow
def test_the_scanner_is_the_same_without_the_compiler():
    code = (
        "from tests.ingest.test_scan import *\n"
        "sent = [('em/d1/fix', GOOD, 5, False, False, b''), ('t', b'x', 6, False, False, b'')]\n"
        "raw = stream(FIVE, sent)\n"
        "print(*[part.tolist() if hasattr(part, 'tolist') else part"
        " for part in Scanner(properties=True).scan(memoryview(raw))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_DISABLE_JIT": flag, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for flag in ("0", "1")
    }
    assert len(outputs) == 1
    assert "5" in outputs.pop()


def test_codecs_are_as_named():
    assert (Mqtt5Codec.version, Mqtt311Codec.version) == ("5", "3.1.1")
    assert packet(0x30, b"")[0] == 0x30
