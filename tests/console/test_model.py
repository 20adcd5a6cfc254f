"""The read model: the same streams give the same state, and that state is the book's."""

import random

import msgspec
import pytest

from afstand.commands import DecideOrder, DefineOrder, HandOverShift, ProposeOrder
from alerting.book.context import alarm_state
from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    Countersign,
    Dispose,
    Disposition,
    Note,
    Receipt,
    ReceiptStatus,
    Rejected,
)
from console.model.incidents import leading
from console.model.inputs import OutboxEntry
from console.model.model import Model, ModelError
from console.model.rows import Place
from console.model.world import ProposalState
from firmware_contracts import EventCode
from geofence.orders import CircleShape, Zone
from ingest.entries import FrameFlag
from tests.afstand.journal import LAT_E7, LON_E7, order
from tests.conftest import run_seed
from tests.console.room import Room, folded


def happen(room: Room, draw: random.Random, steps: int) -> None:
    """Presses, cuts, walks in and out, acknowledgements, closings, notes, ticks."""
    journal = room.journal
    for _ in range(steps):
        journal.pass_s(draw.choice([0.1, 2, 15, 70, 400]))
        ids = [row.incident_id for row in room.model.incidents.open_rows()]
        match draw.randrange(9):
            case 0:
                room.frames(journal.event("victim-2", 2, EventCode.PANIC))
            case 1:
                code = draw.choice([EventCode.STRAP_CUT, EventCode.STRAP_RESTORED])
                room.frames(journal.event("tag-1", 1, code))
            case 2:
                room.frames(journal.fix("tag-1", 1, draw.choice([0.0, 900.0, 3000.0])))
            case 3 if ids:
                room.command(Acknowledge(incident_id=draw.choice(ids), by="op-1"))
            case 4 if ids:
                despite = draw.random() < 0.5
                room.command(
                    Dispose(
                        incident_id=draw.choice(ids),
                        by="op-2",
                        disposition=Disposition.HANDLED,
                        note=draw.choice(["", "police with her"]),
                        despite_active=despite,
                    )
                )
                if draw.random() < 0.5:
                    by = draw.choice(["op-2", "op-3"])
                    room.command(Countersign(incident_id=draw.choice(ids), by=by))
            case 5 if ids:
                room.command(Note(incident_id=draw.choice(ids), by="op-1", text="called"))
            case 6:
                flags = FrameFlag(0)
                room.frames(journal.event("button-9", 0, EventCode.PANIC, flags=flags))
            case _:
                room.take(journal.tick())


def test_a_random_room_shows_what_the_book_holds():
    draw = random.Random(run_seed())
    room = Room()
    compared = 0
    for _ in range(40):
        happen(room, draw, 10)
        state = room.watch._book._state
        theirs = {i: row for i, row in state.rows.incidents.items() if not row.closed}
        ours = {row.incident_id: row for row in room.model.incidents.open_rows()}
        assert set(ours) == set(theirs)
        for incident_id, row in ours.items():
            assert (row.wearer_id, row.protected_id) == (
                theirs[incident_id].wearer_id,
                theirs[incident_id].protected_id,
            )
            proposal = theirs[incident_id].proposal
            assert (row.closing and row.closing.by) == (proposal and proposal.said.by)
            open_alarms = {a.alarm_id: a for a in row.alarms.values() if a.is_open}
            assert set(open_alarms) == set(theirs[incident_id].alarm_ids)
            for alarm_id, alarm in open_alarms.items():
                book = state.rows.alarms[alarm_id]
                assert alarm.state is alarm_state(book)
                assert (alarm.count, alarm.confirmed) == (book.count, book.confirmed)
                assert alarm.shelved_until_ms == book.shelved_until_ms
                compared += 1
    assert compared > 100


def test_random_streams_cut_anyhow_and_dumped_anywhere_give_the_same_state():
    draw = random.Random(run_seed() + 1)
    room = Room()
    happen(room, draw, 200)
    whole = msgspec.msgpack.decode(room.model.dump())
    for _ in range(5):
        streams = [list(room.journal_inputs), list(room.outbox_inputs)]
        model = Model()
        while any(streams):
            stream = draw.choice([one for one in streams if one])
            for said in stream[: draw.randint(1, 9)]:
                model.fold(said)
                if draw.random() < 0.1:
                    model.fold(said)  # told twice: counts once
                del stream[0]
            if draw.random() < 0.2:
                model = Model.load_dump(model.dump())
        assert msgspec.msgpack.decode(model.dump()) == whole


def test_a_reader_that_was_away_is_told_every_incident_that_changed_meanwhile():
    draw = random.Random(run_seed() + 2)
    room = Room()
    happen(room, draw, 150)
    last_change: dict[str, Place] = {}
    model = Model()
    for said in room.outbox_inputs:
        assert isinstance(said, OutboxEntry)
        for row in model.fold(said):
            last_change[row.incident_id] = Place(said.ms, said.seq)
    places = [Place(0, 0), *(Place(s.ms, s.seq) for s in room.outbox_inputs)]
    for after in places[::7]:
        missed = model.incidents.since("p", after)
        assert {row.incident_id for row in missed} == {
            incident for incident, at in last_change.items() if at > after
        }
        assert [row.changed for row in missed] == sorted(row.changed for row in missed)


def test_a_press_its_deliveries_and_what_people_do_make_one_timeline():
    room = Room()
    room.frames(room.journal.fix("victim-2", 2, 1200.0), room.journal.fix("tag-1", 1, 2500.0))
    room.journal.pass_s(1)
    outputs = room.frames(room.journal.event("victim-2", 2, EventCode.PANIC))
    row = room.only_incident()
    assert (row.wearer_id, row.protected_id) == ("wim", "vera")
    (alarm,) = row.alarms.values()
    assert alarm.alarm_class is AlarmClass.PANIC
    assert alarm.facts is not None
    assert alarm.facts.protected_position is not None

    entry = room.journal.entries[-1]
    at = next(i for i, o in enumerate(outputs) if getattr(o, "target", "") == "meldkamer")
    key = f"p-{entry.id}-{at}"
    room.journal.pass_s(2)
    receipt = Receipt(key=key, status=ReceiptStatus.ACKNOWLEDGED, target="meldkamer", by="mk-7",
                      at_ms=0)  # fmt: skip
    room.take(room.journal.receipt(receipt))
    told = next(t for t in row.told.values() if t.target == "meldkamer")
    assert (told.status, told.by, told.needs) == ("acknowledged", "mk-7", "acknowledged")
    assert row.owner == "mk-7"

    room.journal.pass_s(3)
    room.command(Acknowledge(incident_id=row.incident_id, by="op-1"))
    assert (row.owner, alarm.acknowledged_by) == ("op-1", "op-1")
    room.command(Note(incident_id=row.incident_id, by="op-1", text="she is at the neighbours"))
    room.close(row.incident_id, Disposition.HANDLED)
    assert (row.open, row.closed_by, row.countersigned_by) == (False, "op-2", "op-3")
    lanes = [(e.lane, e.what) for e in row.timeline]
    wanted = [("incident", "opened"), ("alarm", "raised"), ("delivery", "alert"),
              ("delivery", "delivery"), ("delivery", "acknowledged"),
              ("operator", "acknowledgement-renewed"), ("operator", "note"),
              ("operator", "closing-proposed"), ("operator", "closed")]  # fmt: skip
    positions = [lanes.index(one) for one in wanted]
    assert positions == sorted(positions)
    assert [e.at_ms for e in row.timeline] == sorted(e.at_ms for e in row.timeline)
    device = [e.what for e in room.model.log_of("vera")]
    assert device == ["panic"]


def test_the_time_to_respond_runs_from_the_first_page_that_nobody_answered():
    room = Room()
    room.frames(room.journal.event("victim-2", 2, EventCode.PANIC))
    row = room.only_incident()
    alarm = leading(row)
    assert alarm is not None
    first_ms = alarm.paged_ms
    room.journal.pass_s(20)
    room.frames(room.journal.event("victim-2", 2, EventCode.PANIC))
    assert alarm.paged_ms == first_ms  # a second press buys nobody time
    room.journal.pass_s(5)
    room.command(Acknowledge(incident_id=row.incident_id, by="op-1"))
    room.journal.pass_s(30)
    room.frames(room.journal.event("victim-2", 2, EventCode.PANIC))
    assert not alarm.acknowledged
    assert alarm.paged_ms == room.journal.now_ms
    assert row.owner == ""
    (answer,) = room.model.load.answers
    assert (answer.kind, answer.after_ms) == ("urgent", 25_000)
    assert len(room.model.load.pages) == 2


def test_an_order_counts_after_a_second_person_and_only_if_the_watch_takes_it():
    room = Room()
    circle = CircleShape(lat_e7=LAT_E7 + 90_000, lon_e7=LON_E7, radius_m=200)
    new = order(id="ban-2", zone_ids=("zone-2",))
    zone = Zone(id="zone-2", circle=circle)
    room.command(ProposeOrder(proposal_id="v1", order=new, zones=(zone,), by="anna"))
    world = room.model.world

    def state():
        return world.proposals["v1"].state

    assert world.order("ban-2") is None
    refused = room.command(DecideOrder(proposal_id="v1", by="anna", approved=True))
    assert [o.detail for o in refused if isinstance(o, Rejected)] == [
        "four-eyes: whoever proposes an order cannot approve it"
    ]
    assert state() is ProposalState.PROPOSED
    assert world.order("ban-2") is None
    room.command(DecideOrder(proposal_id="v1", by="bert", approved=True))
    assert state() is ProposalState.APPROVED
    found = world.order("ban-2")
    assert found is not None
    assert found.order == new
    assert world.zone("zone-2") == zone
    # The engine judges by it from now on: a wearer in the new zone is a breach.
    for _ in range(40):
        room.journal.pass_s(10)
        room.frames(room.journal.fix("tag-1", 1, 1000.0))
    assert AlarmClass.AREA_BREACH in room.only_incident().alarm_classes


def test_an_approved_order_that_the_watch_refuses_is_shown_as_refused():
    room = Room()
    bad = order(id="ban-3", zone_ids=("nowhere",))
    room.command(ProposeOrder(proposal_id="v2", order=bad, by="anna"))
    room.command(DecideOrder(proposal_id="v2", by="bert", approved=True))
    proposal = room.model.world.proposals["v2"]
    assert proposal.state is ProposalState.REFUSED
    assert "unknown-zone" in proposal.decision_reason
    assert room.model.world.order("ban-3") is None
    # The same whichever stream was read first.
    for inputs in (
        [*room.journal_inputs, *room.outbox_inputs],
        [*room.outbox_inputs, *room.journal_inputs],
    ):
        again = folded(inputs)
        assert again.world.order("ban-3") is None
        assert again.world.order("ban") is not None


def test_a_new_version_that_is_refused_leaves_the_version_before():
    room = Room()
    room.command(DefineOrder(order=order(version=1, wearer_id="nobody")))
    found = room.model.world.order("ban")
    assert found is not None
    assert found.order.wearer_id == "wim"


def test_a_shift_hand_over_is_kept():
    room = Room()
    room.command(HandOverShift(by="lead-1", to="lead-2", text="quiet", incidents=("i-1",)))
    (shift,) = room.model.world.shifts
    assert (shift.by, shift.to, shift.text, shift.incidents) == (
        "lead-1",
        "lead-2",
        "quiet",
        ("i-1",),
    )


def test_a_proposal_survives_a_restart_of_the_watch():
    room = Room()
    room.command(ProposeOrder(proposal_id="v1", order=order(id="ban-4"), by="anna"))
    room.watch = type(room.watch).load("p", room.watch.dump())
    room.command(DecideOrder(proposal_id="v1", by="bert", approved=True))
    assert room.model.world.order("ban-4") is not None


def test_a_dump_of_another_format_is_refused():
    raw = Room().model.dump()
    changed = msgspec.msgpack.decode(raw) | {"format": 1}
    with pytest.raises(ModelError, match="format 1"):
        Model.load_dump(msgspec.msgpack.encode(changed))
    with pytest.raises(ModelError):
        Model.load_dump(raw[:-5])
    with pytest.raises(ModelError):
        Model.load_dump(b"\xc0")


def test_outputs_of_a_later_program_are_counted_and_hide_nothing():
    room = Room()
    room.frames(room.journal.event("victim-2", 2, EventCode.PANIC))
    before = len(room.model.incidents.rows)
    room.model.fold(OutboxEntry("p", room.journal.now_ms + 1, 0, [], unreadable=3))
    assert room.model.notes["unreadable-outputs"] == 3
    assert len(room.model.incidents.rows) == before
