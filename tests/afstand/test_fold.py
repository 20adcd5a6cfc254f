"""The watch as a fold: the same journal gives the same outbox, whatever happens on the way."""

import random

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from afstand.commands import DefineOrder, DefineZone
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch, WatchError
from afstand.watch.metrics import BookCollector
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    IncidentChange,
    IncidentRecord,
    Notice,
    Purpose,
    Receipt,
    ReceiptStatus,
    Rejected,
)
from firmware_contracts import EventCode
from firmware_contracts.teltonika import Io
from geofence.engine import Engine
from geofence.orders import Zone
from ingest.entries import Entry, EntryKind, FrameFlag, FrameRecord, LaneCode
from ingest.store import EntryId
from simulators.tracker import Sample, avl_packet
from tests.afstand.journal import (
    LAT_E7,
    LON_E7,
    Journal,
    definitions,
    fold,
    order,
    outputs_of,
    random_entries,
)
from tests.conftest import run_seed


@pytest.fixture
def watch():
    return Watch("p")


@pytest.fixture
def journal(watch):
    made = Journal()
    for command in definitions():
        assert not [
            o for o in outputs_of(watch.step(made.command(command))) if isinstance(o, Rejected)
        ]
    return made


def notices(outputs, alarm_class=None):
    return [o for o in outputs if isinstance(o, Notice) and alarm_class in (None, o.alarm_class)]


def opened(outputs):
    return [
        o for o in outputs if isinstance(o, IncidentRecord) and o.change is IncidentChange.OPENED
    ]


def test_a_walk_into_the_zone_alerts_the_police_once(watch, journal):
    seen = []
    for north in (900, 880, 860, 100, 60, 20, 0, -20, -40, -60):
        journal.pass_s(20)
        seen += outputs_of(watch.step(journal.frames(journal.fix("tag-1", 1, north))))
    told = [n for n in notices(seen, AlarmClass.AREA_BREACH) if n.purpose is Purpose.ALERT]
    assert sorted(notice.target for notice in told) == ["meldkamer", "reclassering"]
    assert len(opened(seen)) == 1
    assert all(notice.order_id == "ban" and notice.zone_version == 1 for notice in told)


def test_an_order_without_its_end_is_a_task_for_somebody(watch, journal):
    """What the engine takes is watched by the book; what it refuses is not."""
    command = DefineOrder(order=order(version=2, title="509hh", valid_to_ms=None))
    told = notices(outputs_of(watch.step(journal.command(command))), AlarmClass.LEGAL)
    assert [(n.target, n.order_id, n.order_version) for n in told] == [("shift-lead", "ban", 2)]
    older = DefineOrder(order=order(version=1, title="509hh", valid_to_ms=None))
    assert not notices(outputs_of(watch.step(journal.command(older))), AlarmClass.LEGAL)


def test_the_figures_of_the_book_are_metrics(watch, journal):
    registry = CollectorRegistry()
    registry.register(BookCollector({"p": watch.figures}))
    watch.step(journal.frames(journal.event("victim-2", 2, EventCode.PANIC)))

    def figure(name: str) -> float | None:
        return registry.get_sample_value("afstand_book", {"partition": "p", "figure": name})

    assert (figure("incidents_open"), figure("standing"), figure("operators")) == (1, 1, 2)
    assert set(watch.figures()) == {
        sample.labels["figure"] for metric in registry.collect() for sample in metric.samples
    }


def test_a_copy_of_a_frame_changes_nothing(watch, journal):
    press = journal.event("victim-2", 2, EventCode.PANIC)
    first = outputs_of(watch.step(journal.frames(press)))
    assert len(opened(first)) == 1
    for _ in range(3):
        journal.pass_s(1)
        step = watch.step(journal.frames(press))
        assert step.notes["duplicate"] == 1
        assert not notices(outputs_of(step))


def test_a_press_with_a_number_used_before_counts_when_its_bytes_differ(watch, journal):
    """A device that lost its boot counter counts from the start again."""
    watch.step(journal.frames(journal.event("tag-1", 1, EventCode.BATTERY_LOW, sequence=3)))
    journal.pass_s(60)
    again = journal.event("tag-1", 1, EventCode.STRAP_CUT, sequence=3)
    assert notices(outputs_of(watch.step(journal.frames(again))), AlarmClass.TAMPER)


def test_a_press_comes_before_everything_else_of_its_entry(watch, journal):
    journal.pass_s(30)
    fixes = [journal.fix("tag-1", 1, 0), journal.fix("victim-2", 2, 10)]
    outputs = outputs_of(
        watch.step(journal.frames(*fixes, journal.event("victim-2", 2, EventCode.PANIC)))
    )
    assert notices(outputs)[0].alarm_class is AlarmClass.PANIC


def test_a_press_without_a_position_is_told_with_the_last_one_known(watch, journal):
    journal.pass_s(30)
    watch.step(journal.frames(journal.fix("victim-2", 2, 120)))
    fix_ms = journal.now_ms
    journal.pass_s(40)
    outputs = outputs_of(watch.step(journal.frames(journal.event("victim-2", 2, EventCode.PANIC))))
    police = next(n for n in notices(outputs, AlarmClass.PANIC) if n.target == "meldkamer")
    assert police.protected_position is not None
    assert police.protected_position.time_ms == fix_ms


def test_a_press_of_an_unknown_device_opens_an_incident_marked_as_such(watch, journal):
    press = journal.event("nobody", 0, EventCode.PANIC, flags=FrameFlag(0))
    outputs = outputs_of(watch.step(journal.frames(press)))
    told = notices(outputs, AlarmClass.PANIC)
    assert told
    assert not any(notice.authenticated for notice in told)
    assert told[0].device_id == "nobody"


def test_a_forged_frame_does_not_shut_out_the_true_one(watch, journal):
    forged = journal.event("victim-2", 2, EventCode.PANIC, sequence=5, flags=FrameFlag(0))
    watch.step(journal.frames(forged))
    true = journal.event("victim-2", 2, EventCode.STRAP_CUT, sequence=5)
    outputs = outputs_of(watch.step(journal.frames(true)))
    assert notices(outputs, AlarmClass.TAMPER)


def test_the_same_journal_gives_the_same_outbox_also_through_snapshots(journal):
    seed = run_seed()
    draw = random.Random(seed)
    random_entries(journal, draw, 400)
    whole = fold(Watch("p"), journal.entries)
    assert len(whole) > 20, f"seed {seed}"
    broken = Watch("p")
    written = []
    for entry in journal.entries:
        written += fold(broken, [entry])
        if draw.random() < 0.05:
            broken = Watch.load("p", broken.dump())
    assert written == whole, f"seed {seed}"


def test_a_dump_of_another_partition_or_of_nothing_is_refused(watch, journal):
    with pytest.raises(WatchError, match="partition p"):
        Watch.load("q", watch.dump())
    with pytest.raises(WatchError):
        Watch.load("p", b"\x93\x01")
    dumped = msgspec.msgpack.decode(watch.dump())
    dumped[0] = 99
    with pytest.raises(WatchError, match="format 99"):
        Watch.load("p", msgspec.msgpack.encode(dumped))


@pytest.mark.parametrize(
    ("kind", "blob"),
    [
        (EntryKind.FRAMES, b"\x01garbage"),
        (EntryKind.FRAMES, b""),
        (EntryKind.RECEIPT, b"\xc1"),
        (EntryKind.SIGNAL, b"\x80"),
        (EntryKind.SIGNAL, msgspec.msgpack.encode({"signal": "no-such-signal"})),
        (EntryKind.INVALID, b"entry without fields"),
    ],
)
def test_an_entry_that_cannot_be_read_is_a_system_alarm_and_the_next_is_folded(
    watch, journal, kind, blob
):
    outputs = outputs_of(watch.step(journal.entry(kind, blob)))
    assert notices(outputs, AlarmClass.SYSTEM)
    journal.pass_s(1)
    press = journal.frames(journal.event("victim-2", 2, EventCode.PANIC))
    assert notices(outputs_of(watch.step(press)), AlarmClass.PANIC)


@pytest.mark.parametrize("blob", [b"", b"\xc1", msgspec.msgpack.encode((99, {})), b"\x92\x01\x80"])
def test_a_command_that_is_none_is_rejected_with_a_reason(watch, journal, blob):
    (rejected,) = outputs_of(watch.step(journal.entry(EntryKind.COMMAND, blob)))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "bad-command"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "other", "wearer_id": "nobody"}, "unknown-wearer"),
        ({"id": "other", "zone_ids": ("nowhere",)}, "unknown-zone"),
        ({"id": "other", "zone_ids": ()}, "no-zone"),
    ],
)
def test_an_order_that_refers_to_nothing_is_rejected_and_raised(watch, journal, changes, reason):
    outputs = outputs_of(watch.step(journal.command(DefineOrder(order=order(**changes)))))
    rejected = [o for o in outputs if isinstance(o, Rejected)]
    assert [r.reason for r in rejected] == ["bad-order"]
    assert reason in rejected[0].detail
    assert notices(outputs, AlarmClass.SYSTEM)


def test_a_zone_that_is_no_area_is_rejected(watch, journal):
    line = {"type": "LineString", "coordinates": [[4.48, 51.92], [4.49, 51.93]]}
    outputs = outputs_of(
        watch.step(journal.command(DefineZone(zone=Zone(id="line", geometry=line))))
    )
    assert [o.reason for o in outputs if isinstance(o, Rejected)] == ["bad-order"]


class BoomError(RuntimeError):
    """A fault of the program."""


def test_a_device_whose_fixes_raise_is_set_aside_and_the_others_count(watch, journal, monkeypatch):
    whole = Engine.observe
    bad_lat = journal.fix("tag-1", 1, 0)

    def observe(self, fixes, now_ms, **more):
        if np.any(fixes.person == self.person_handle("wim")):
            raise BoomError("a fault of the program")
        return whole(self, fixes, now_ms, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "observe", observe)
        outputs = outputs_of(watch.step(journal.frames(bad_lat, journal.fix("victim-2", 2, 5))))
    details = " ".join(notice.detail for notice in notices(outputs, AlarmClass.SYSTEM))
    assert "tag-1" in details or "fixes" in details
    assert watch._engine.last_position("vera") is not None
    assert watch._engine.last_position("wim") is None
    # Set aside stays set aside: its fixes count no more, its press does.
    journal.pass_s(5)
    step = watch.step(journal.frames(journal.fix("tag-1", 1, 0)))
    assert step.notes["fixes-without-person"] == 1
    press = watch.step(journal.frames(journal.event("tag-1", 1, EventCode.STRAP_CUT)))
    assert notices(outputs_of(press), AlarmClass.TAMPER)
    # Defining the device again takes it back in.
    device = next(c for c in definitions() if getattr(c, "device_id", "") == "tag-1")
    watch.step(journal.command(device))
    step = watch.step(journal.frames(journal.fix("tag-1", 1, 0)))
    assert step.notes["fixes"] == 1


def test_an_input_that_makes_the_book_raise_hides_no_other(watch, journal, monkeypatch):
    book = watch._book
    whole = type(book).step

    def step(self, inputs, now_ms, key, first_index=0):
        if any(getattr(one, "device_id", "") == "tag-1" for one in inputs):
            raise BoomError("a fault of the program")
        return whole(self, inputs, now_ms, key, first_index)

    with monkeypatch.context() as patched:
        patched.setattr(type(book), "step", step)
        outputs = outputs_of(
            watch.step(
                journal.frames(
                    journal.event("tag-1", 1, EventCode.STRAP_CUT),
                    journal.event("victim-2", 2, EventCode.PANIC),
                )
            )
        )
    assert notices(outputs, AlarmClass.PANIC)
    assert notices(outputs, AlarmClass.SYSTEM)
    assert [o.reason for o in outputs if isinstance(o, Rejected)] == ["poison"]


def test_memory_that_ran_out_is_this_machines_matter_and_is_not_folded(watch, journal, monkeypatch):
    def observe(self, fixes, now_ms, **_):
        raise MemoryError

    monkeypatch.setattr(Engine, "observe", observe)
    with pytest.raises(MemoryError):
        watch.step(journal.frames(journal.fix("tag-1", 1, 0)))


def test_a_receipt_counts_at_the_journals_time(watch, journal):
    outputs = outputs_of(watch.step(journal.frames(journal.event("victim-2", 2, EventCode.PANIC))))
    entry_id = journal.entries[-1].id
    index = next(
        i for i, o in enumerate(outputs) if isinstance(o, Notice) and o.target == "meldkamer"
    )
    journal.pass_s(5)
    receipt = Receipt(
        key=f"p-{entry_id}-{index}",
        status=ReceiptStatus.ACKNOWLEDGED,
        target="meldkamer",
        by="centralist",
        at_ms=1,
    )
    answered = outputs_of(watch.step(journal.receipt(receipt)))
    assert answered
    assert not [o for o in answered if isinstance(o, Rejected)]
    assert all(o.at_ms == journal.now_ms for o in answered)
    journal.pass_s(200)
    assert not notices(outputs_of(watch.step(journal.tick())), AlarmClass.PANIC), "it was answered"


@pytest.mark.parametrize(
    ("target", "status", "by", "dead"),
    [
        ("meldkamer", "failed", "", True),
        ("meldkamer", "refused", "", True),
        ("meldkamer", "refused", "centralist", False),
        ("meldkamer", "delivered", "", False),
        ("protected-device", "failed", "", False),
    ],
)
def test_a_dead_letter_is_an_alarm_of_its_own(watch, journal, target, status, by, dead):
    receipt = Receipt(
        key="p-1-0-0", status=ReceiptStatus(status), target=target, by=by, at_ms=1,
        detail="http-503",
    )  # fmt: skip
    said = outputs_of(watch.step(journal.receipt(receipt)))
    alarms = [o for o in said if isinstance(o, AlarmRecord) and o.change == "raised"]
    assert [(a.alarm_class, a.reason) for a in alarms] == (
        [(AlarmClass.SYSTEM, "delivery-dead")] if dead else []
    )
    told = [n.detail for n in said if isinstance(n, Notice)]
    assert told == ([f"meldkamer: {status}: http-503"] if dead else [])


def test_a_press_that_nobody_answers_is_escalated_by_a_tick(watch, journal):
    watch.step(journal.frames(journal.event("victim-2", 2, EventCode.PANIC)))
    journal.pass_s(120)
    assert notices(outputs_of(watch.step(journal.tick())), AlarmClass.PANIC)


def test_indexes_are_the_places_in_the_envelope(watch, journal):
    step = watch.step(journal.frames(journal.event("victim-2", 2, EventCode.PANIC)))
    assert decode_envelope(step.blob).outputs == step.outputs
    assert step.outputs


def test_an_event_of_a_later_contract_is_not_folded_and_harms_nobody(watch, journal):
    record = journal.event("victim-2", 2, EventCode.PANIC)
    later = bytearray(record.payload)
    later[2] = 9  # major version
    bad = FrameRecord(2, LaneCode.EVENT, FrameFlag.AUTHENTICATED, journal.now_ms, bytes(later))
    step = watch.step(journal.frames(bad, journal.event("victim-2", 2, EventCode.PANIC)))
    assert step.notes["undecodable"] == 1
    assert notices(outputs_of(step), AlarmClass.PANIC)


def test_entries_are_folded_under_their_own_time(watch):
    entry = Entry(EntryId(1_790_000_000_123, 4), EntryKind.TICK, b"")
    assert watch.step(entry).blob is None


# --- trackers -------------------------------------------------------------------------------------


def tracked(journal: Journal, samples, *, flags=FrameFlag.AUTHENTICATED, handle=1, name=""):
    payload = avl_packet(samples)
    return FrameRecord(handle, LaneCode.TELTONIKA, int(flags), journal.now_ms, payload, name)


def test_the_fixes_and_presses_of_a_tracker_count_once(watch, journal):
    """FC-103, FC-105: in the same entry as a device's own, a copy of the packet dropped."""
    fix = Sample(journal.now_ms, LAT_E7, LON_E7)
    press = fix._replace(event_id=Io.ALARM, io=((Io.ALARM, 1),))
    record = tracked(journal, [fix, press])
    step = watch.step(journal.frames(record, journal.fix("victim-2", 2, 10), record))
    assert len(opened(outputs_of(step))) == 1
    assert (step.notes["fixes"], step.notes["events"], step.notes["duplicate"]) == (3, 1, 1)
    journal.pass_s(1)
    again = watch.step(journal.frames(record))
    assert opened(outputs_of(again)) == []
    assert again.notes["duplicate"] == 1


def test_a_tracker_with_a_wrong_clock_is_heard_and_not_placed(watch, journal):
    fix = Sample(journal.now_ms + 10**6, LAT_E7, LON_E7)
    press = fix._replace(event_id=Io.ALARM, io=((Io.ALARM, 1),))
    flags = FrameFlag.AUTHENTICATED | FrameFlag.CLOCK_FAULT
    step = watch.step(journal.frames(tracked(journal, [fix, press], flags=flags)))
    assert (step.notes["fixes"], step.notes["events"]) == (0, 2)  # the press, and the clock


def test_a_press_of_an_unknown_tracker_opens_an_incident_and_its_fixes_do_not_count(watch, journal):
    press = Sample(journal.now_ms, LAT_E7, LON_E7, event_id=Io.ALARM, io=((Io.ALARM, 1),))
    record = tracked(journal, [press], flags=FrameFlag(0), handle=0, name="356307042441013")
    step = watch.step(journal.frames(record))
    assert len(opened(outputs_of(step))) == 1
    assert step.notes["fixes"] == 0


def test_a_packet_that_cannot_be_read_harms_nothing(watch, journal):
    broken = FrameRecord(1, LaneCode.TELTONIKA, 1, journal.now_ms, b"\0" * 30)
    good = tracked(journal, [Sample(journal.now_ms, LAT_E7, LON_E7)])
    step = watch.step(journal.frames(broken, good))
    assert (step.notes["undecodable"], step.notes["fixes"]) == (1, 1)
