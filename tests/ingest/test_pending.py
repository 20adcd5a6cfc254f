"""What is taken is held until it is written, whatever fails meanwhile."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import (
    INTAKE_RETRY_MS_MAX,
    INTAKE_RETRY_MS_MIN,
    JOURNAL_BLOB_BYTES_MAX,
    JOURNAL_FRAMES_MAX,
)
from ingest import pending as pending_module
from ingest.checks import Device
from ingest.entries import EntryKind, FrameBatch, FrameFlag, FrameRecord, LaneCode
from ingest.pending import Fixes, HeldRefusal, Pending, Row
from ingest.scan import PLAIN
from tests.ingest.devices import NOW_MS, fix_frame, message, record


def row(payload=b"x", packet_id=1, name=""):
    one = message("em/d1/event", payload, packet_id=packet_id)
    frame = FrameRecord(1, LaneCode.EVENT, FrameFlag.AUTHENTICATED, NOW_MS, payload, name)
    return Row(frame, one, None, 0, 0)


def fixes_of(device, frames):
    count = len(frames)
    array = np.frombuffer(b"".join(frames), PLAIN)
    handles, serials = np.full(count, device.handle), np.full(count, device.serial)
    ids, boots, sequences = np.arange(count), np.ones(count, np.int64), np.arange(1, count + 1)
    return Fixes(3, 5, ids, [device] * count, handles, serials, boots, sequences, array)


def plan(pending, now_ms=NOW_MS):
    return pending.plan(now_ms, lambda *_: None)


def frames(planned):
    return [bytes(FrameBatch.read(planned.append.blob).frame(0))]


def test_frames_of_one_partition_become_one_entry():
    pending = Pending()
    assert not pending
    device = Device(record("d1", 7))
    sent = [fix_frame("d1", n) for n in (1, 2, 3)]
    pending.hold_fixes("p0", fixes_of(device, sent))
    mark = pending.hold("p0", row(b"event", 9))
    pending.hold("p1", row(b"other", 10))
    pending.hold_signal("p1", b"signal")
    one, signal, other = plan(pending).entries
    batch = FrameBatch.read(one.append.blob)
    assert [bytes(batch.frame(n)) for n in range(4)] == [b"event", *sent]
    assert batch.handles.tolist() == [1, 7, 7, 7]
    assert batch.lanes.tolist() == [2, 1, 1, 1]
    assert batch.received_ms.tolist() == [NOW_MS, 5, 5, 5]
    assert (signal.append.kind, signal.append.blob) == (EntryKind.SIGNAL, b"signal")
    assert other.append.partition == "p1"
    assert pending.messages == 5
    assert [m.packet_id for m in one.block.messages()] == [9]
    assert one.block.oldest_ms() == 5
    assert mark is one.block.mark
    for planned in (one, signal, other):
        pending.entry_written(planned)
    assert not pending
    assert pending.messages == 0


def test_what_is_built_while_more_waits_says_so_and_stays_as_it_was_built():
    pending = Pending()
    pending.hold("p0", row(b"one"))
    first = pending.plan(NOW_MS, lambda *_: None, behind=True).entries[0]
    pending.store_failed(NOW_MS)
    pending.hold("p0", row(b"two", 2))
    again, second = plan(pending, NOW_MS + INTAKE_RETRY_MS_MAX).entries
    assert again.append.blob == first.append.blob, "a copy of an entry is known by its bytes"
    assert [FrameBatch.read(e.append.blob).behind for e in (again, second)] == [True, False]


def test_a_copy_waits_for_the_first():
    pending = Pending()
    mark = pending.hold("p0", row(packet_id=1))
    pending.hold_copy(mark, message("em/d1/event", b"x", packet_id=2))
    assert pending.messages == 2
    (planned,) = plan(pending).entries
    pending.hold_copy(mark, message("em/d1/event", b"x", packet_id=3))  # while the write runs
    assert [m.packet_id for m in planned.block.messages()] == [1, 2, 3]
    pending.entry_written(planned)
    assert pending.messages == 0


def test_nothing_is_added_to_an_entry_that_is_being_written():
    pending = Pending()
    pending.hold("p0", row(b"first"))
    (first,) = plan(pending).entries
    pending.hold("p0", row(b"second"))
    again, second = plan(pending).entries
    assert again.append.blob == first.append.blob
    assert frames(second) == [b"second"]


def test_an_entry_is_never_larger_than_its_bound():
    pending = Pending()
    for n in range(JOURNAL_FRAMES_MAX + 1):
        pending.hold("p0", row(packet_id=n))
    assert [p.block.frames for p in plan(pending).entries] == [JOURNAL_FRAMES_MAX, 1]
    large = Pending()
    for _ in range(5):
        large.hold("p0", row(bytes(1_000_000)))
    assert [p.block.frames for p in plan(large).entries] == [4, 1]


def test_a_failed_partition_waits_and_the_others_do_not():
    pending = Pending()
    pending.hold("p0", row())
    pending.hold("p1", row())
    pending.partition_failed("p0", NOW_MS)
    assert [p.append.partition for p in plan(pending).entries] == ["p1"]
    assert pending.wait_s(NOW_MS) == 0
    pending.entry_written(plan(pending).entries[0])
    assert pending.wait_s(NOW_MS) == INTAKE_RETRY_MS_MIN / 1000
    assert [p.append.partition for p in plan(pending, NOW_MS + INTAKE_RETRY_MS_MIN).entries] == [
        "p0"
    ]


def test_a_success_ends_the_back_off():
    pending = Pending()
    for _ in range(4):
        pending.partition_failed("p0", NOW_MS)
        pending.refusals_failed(NOW_MS)
    pending.hold("p0", row())
    pending.entry_written(plan(pending, NOW_MS + INTAKE_RETRY_MS_MAX).entries[0])
    refusal = HeldRefusal(("XADD",), None, None)
    pending.hold_refusal(refusal)
    pending.refusals_written([refusal])
    pending.partition_failed("p0", NOW_MS)
    pending.refusals_failed(NOW_MS)
    pending.hold("p0", row())
    pending.hold_refusal(refusal)
    assert pending.wait_s(NOW_MS) == INTAKE_RETRY_MS_MIN / 1000
    due = plan(pending, NOW_MS + INTAKE_RETRY_MS_MIN)
    assert (len(due.entries), len(due.refusals)) == (1, 1)


def test_a_quarantine_that_fails_holds_up_no_frame():
    pending = Pending()
    pending.hold_refusal(HeldRefusal(("XADD",), None, None))
    pending.refusals_failed(NOW_MS)
    pending.hold("p0", row())
    due = plan(pending)
    assert (len(due.entries), len(due.refusals)) == (1, 0)


def test_a_failed_store_waits_longer_every_time_up_to_a_bound():
    pending = Pending()
    pending.hold("p0", row())
    pending.hold_refusal(HeldRefusal(("XADD",), None, None))
    now_ms, waits = NOW_MS, []
    for _ in range(10):
        pending.store_failed(now_ms)
        assert plan(pending, now_ms) == ([], [])
        waits.append(pending.wait_s(now_ms))
        now_ms += INTAKE_RETRY_MS_MAX
    assert waits[:3] == [0.05, 0.1, 0.2]
    assert waits[-1] == INTAKE_RETRY_MS_MAX / 1000
    pending.store_answered()
    assert pending.wait_s(now_ms) == 0


def test_a_frame_that_cannot_be_in_an_entry_keeps_no_other_out():
    pending, poison = Pending(), []
    device = Device(record("d1", 7))
    pending.hold_fixes("p0", fixes_of(device, [fix_frame("d1", 1)]))
    pending.hold("p0", row(b"good", 1))
    pending.hold("p0", row(b"bad", 2, name="\xff"))
    pending.hold("p0", row(b"also good", 3))
    found = pending.plan(NOW_MS, lambda r, e: poison.append((r.message.packet_id, type(e))))
    batch = FrameBatch.read(found.entries[0].append.blob)
    assert sorted(bytes(batch.frame(n)) for n in range(len(batch))) == [
        fix_frame("d1", 1),
        b"also good",
        b"good",
    ]
    assert poison == [(2, UnicodeEncodeError)]
    pending.entry_written(found.entries[0])
    assert pending.messages == 0
    pending.hold("p0", row(b"bad", 2, name="\xff"))
    assert plan(pending).entries == []
    assert not pending
    assert pending.messages == 0


@pytest.mark.slow
@settings(max_examples=100)
@given(st.data())
def test_model(data):
    """Through any failures each frame is written, in an entry of its partition, and then let go."""
    pending, held, written = Pending(), [], []
    now_ms = NOW_MS
    for n in range(data.draw(st.integers(1, 30))):
        now_ms += data.draw(st.integers(0, 500))
        partition = data.draw(st.sampled_from(["p0", "p1", "p2"]))
        pending.hold(partition, row(b"%d" % n, n + 1))
        held.append((partition, b"%d" % n))
        if data.draw(st.booleans()):
            attempt = plan(pending, now_ms)
            if data.draw(st.booleans()):
                pending.store_failed(now_ms)
                continue
            pending.store_answered()
            for planned in attempt.entries:
                if data.draw(st.booleans()):
                    pending.partition_failed(planned.append.partition, now_ms)
                else:
                    written += contents(planned)
                    pending.entry_written(planned)
    for planned in plan(pending, now_ms + INTAKE_RETRY_MS_MAX).entries:
        written += contents(planned)
        pending.entry_written(planned)
    assert sorted(written) == sorted(held)
    assert pending.messages == 0
    assert not pending


def contents(planned):
    batch = FrameBatch.read(planned.append.blob)
    return [(planned.append.partition, bytes(batch.frame(n))) for n in range(len(batch))]


def test_the_room_for_the_header_is_enough():
    assert pending_module._BLOB_ROOM_BYTES + 20 <= JOURNAL_BLOB_BYTES_MAX
