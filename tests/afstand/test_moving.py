"""Persons move to another partition while they are watched: nothing is lost, nothing told twice.

The same people, orders and frames in one journal, and in three between which groups move at random
moments while their frames come in. What a partition passes on arrives behind other entries, and
often twice, as two replicas do it. The alarms are those of one process.
"""

import random
from typing import Any

import pytest

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefineZone,
    MovePersons,
    TakeGroup,
    decode_command,
)
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from afstand.watch.moving import Moving, Passed
from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    Countersign,
    Defined,
    Dispose,
    Disposition,
    Notice,
    Rejected,
    RejectReason,
)
from firmware_contracts import EventCode
from geofence.orders import CircleShape, Role, Zone
from ingest.columns import EntryColumns
from ingest.entries import EntryKind, FrameBatch, FrameRecord
from tests.afstand.journal import LAT_E7, LON_E7, Journal, definitions, order
from tests.afstand.test_partitions import imported
from tests.conftest import run_seed

NAMES = ("a", "b", "c")


class Partitions:
    """Watches with their journals, and what is under way between them."""

    def __init__(self, names: tuple[str, ...], draw: random.Random) -> None:
        self.draw = draw
        self.journals = {name: Journal() for name in names}
        self.watches = {name: Watch(name) for name in names}
        self.folded = dict.fromkeys(names, 0)
        self.outputs: list[tuple[str, Any]] = []
        self.under_way: list[tuple[int, Passed]] = []
        self.arrived: list[tuple[str, tuple[str, ...]]] = []

    def now(self, now_ms: int) -> None:
        for journal in self.journals.values():
            journal.now_ms = now_ms

    def turn(self) -> None:
        """Let arrive what is due, and fold everything, in pages of random size."""
        while True:
            due = [one for one in self.under_way if one[0] <= 0]
            self.under_way = [(turns - 1, one) for turns, one in self.under_way if turns > 0]
            for _, passed in due:
                self.journals[passed.partition].entry(passed.kind, passed.blob)
                if passed.kind is EntryKind.COMMAND:
                    command = decode_command(passed.blob)
                    if isinstance(command, TakeGroup):
                        self.arrived.append((passed.partition, command.persons))
            if not self.fold_all() and not self.under_way:
                return

    def fold_all(self) -> bool:
        passed_on = False
        for name, journal in self.journals.items():
            while self.folded[name] < len(journal.entries):
                first = self.folded[name]
                end = first + self.draw.randint(1, 4)
                self.folded[name] = min(end, len(journal.entries))
                page = EntryColumns.of(journal.entries[first:end])
                for step in self.watches[name].fold(page):
                    if step.blob is not None:
                        self.outputs += [(name, o) for o in decode_envelope(step.blob).outputs]
                    # In order: what comes later is never there before what came earlier.
                    late = max((turns for turns, _ in self.under_way), default=0)
                    for copies in range(self.draw.choice((1, 2))):
                        turns = max(late, self.draw.choice((0, 0, 1)))
                        self.under_way += [(turns + copies, one) for one in step.passed]
                    passed_on = passed_on or bool(step.passed)
            if self.draw.random() < 0.2:  # killed, and back from a snapshot
                self.watches[name] = Watch.load(name, self.watches[name].dump())
        return passed_on


def told(outputs: list[Any]) -> list[tuple[Any, ...]]:
    """Who is told when of what, without the alarms of the service about itself."""
    return sorted(
        (one.at_ms, one.alarm_class, one.device_id or "", one.wearer_id or "",
         one.protected_id or "", one.order_id or "", one.target, one.purpose, one.reason)
        for one in outputs
        if isinstance(one, Notice) and one.alarm_class is not AlarmClass.SYSTEM
    )  # fmt: skip


@pytest.mark.parametrize("offset", range(6))
async def test_groups_that_move_at_random_give_the_alarms_of_one_process(offset):
    seed = run_seed() + offset
    draw = random.Random(seed)
    one_commands, _ = await imported(("0",))
    commands, devices = await imported(NAMES)
    one, alone = Journal(), Watch("0")
    parts = Partitions(NAMES, draw)
    for command in one_commands["0"]:
        one.command(command)
    for name in NAMES:
        for command in commands[name]:
            parts.journals[name].command(command)
    parts.turn()
    home = {name: draw.uniform(1_500, 9_000) for name in devices}
    at = {name: device.partition for name, device in devices.items()}
    asked = 0
    for turn in range(60):
        fresh: dict[str, list[FrameRecord]] = {name: [] for name in NAMES}
        everything: list[FrameRecord] = []
        for name, device in sorted(devices.items()):
            number = int(name.removeprefix("d-")[1:])
            north = home[name] + draw.uniform(-20, 20)
            if turn > 10 and number % 3 == 0 and name.startswith("d-w"):
                north = home[f"d-v{number}"] + max(20.0, 2_500.0 - 90.0 * turn)
            if turn > 30 and number % 4 == 1 and name.startswith("d-w"):
                north = draw.uniform(-30, 30)  # in the zone
            if draw.random() < 0.1 or (turn > 20 and number == 8 and name.startswith("d-w")):
                continue
            records = [one.fix(name, device.handle, north)]
            if draw.random() < 0.01:
                code = EventCode.STRAP_CUT if name.startswith("d-w") else EventCode.PANIC
                records.append(one.event(name, device.handle, code))
            everything += records
            fresh[at[name]] += records
            if draw.random() < 0.1:  # the device did not hear that it is stored
                fresh[at[name]] += records
        if draw.random() < 0.6:
            asked += 1
            name = draw.choice(sorted(devices))
            to = draw.choice(NAMES)
            person = name.removeprefix("d-")
            said = MovePersons(person_ids=(person,), to=to, by="engineer")
            for source in NAMES:
                parts.journals[source].command(said)
        parts.now(one.now_ms)
        one.frames(*everything)
        for name, records in fresh.items():
            if records:
                parts.journals[name].frames(*records)
            else:
                parts.journals[name].tick()
        parts.turn()
        # The registry follows a while after: until then frames go where the persons were.
        for partition, persons in tuple(parts.arrived):
            if draw.random() < 0.5:
                at |= {name: partition for name in devices if name.removeprefix("d-") in persons}
                parts.arrived.remove((partition, persons))
        one.pass_s(10)
    expected = told([o for step in alone.fold(EntryColumns.of(one.entries)) for o in step.outputs])
    moves = [o for _, o in parts.outputs if isinstance(o, Defined) and o.what == "left"]
    assert asked > len(moves) > 1, f"seed {seed}"
    assert told([output for _, output in parts.outputs]) == expected, f"seed {seed}"
    classes = {alarm[1] for alarm in expected}
    assert {AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH} <= classes


def one_group() -> tuple[Partitions, Journal]:
    """A wearer with an area ban and a protected person, of one case, in partition a."""
    parts = Partitions(("a", "b"), random.Random(1))
    journal = parts.journals["a"]
    for command in definitions():
        journal.command(command)
    journal.frames(journal.fix("tag-1", 1, 5_000))
    parts.turn()
    return parts, journal


def answers(parts: Partitions) -> list[tuple[str, str, str]]:
    found = []
    for partition, output in parts.outputs:
        if isinstance(output, Defined) and output.what in ("left", "arrived"):
            found.append((partition, output.what, output.ref))
        elif isinstance(output, Rejected):
            found.append((partition, str(output.reason), output.detail))
    return found


def test_all_who_are_tied_by_orders_or_cases_move_together_and_asking_again_is_harmless():
    parts, journal = one_group()
    asked = [journal.command(MovePersons(person_ids=("vera",), to="b", by="x")) for _ in range(2)]
    parts.turn()
    move_id = f"a-{asked[0].id}"
    assert answers(parts)[:2] == [("a", "left", f"b/{move_id}")] * 2
    assert set(answers(parts)[2:]) == {("b", "arrived", move_id)}
    # Who comes into the zone is told by b, whatever way the fix takes; a says nothing of it.
    parts.outputs.clear()
    for _ in range(4):
        parts.now(journal.now_ms + 10_000)
        journal.frames(journal.fix("tag-1", 1, 0))
        parts.turn()
    notices = [(p, o.alarm_class) for p, o in parts.outputs if isinstance(o, Notice)]
    assert set(notices) == {("b", AlarmClass.AREA_BREACH)}


def test_a_group_with_an_open_incident_stays_until_it_is_closed():
    parts, journal = one_group()
    journal.frames(journal.event("victim-2", 2, EventCode.PANIC))
    journal.command(MovePersons(person_ids=("wim",), to="b", by="x"))
    parts.turn()
    ((partition, reason, detail),) = answers(parts)
    assert (partition, reason) == ("a", RejectReason.CONDITION_STILL_ACTIVE)
    assert "of vera is open" in detail
    # Whoever asked is told which incident; once that is closed the same goes through.
    incident_id = detail.split()[1]
    for command in (
        Acknowledge(incident_id=incident_id, by="ans"),
        Dispose(incident_id=incident_id, disposition=Disposition.HANDLED, by="ans", note="call 12"),
        Countersign(incident_id=incident_id, by="bas"),
        MovePersons(person_ids=("wim",), to="b", by="x"),
    ):
        parts.now(journal.now_ms + 1_000)
        parts.outputs.clear()
        journal.command(command)
        parts.turn()
    assert [one[:2] for one in answers(parts)][:2] == [("a", "left"), ("b", "arrived")]


def test_a_group_that_cannot_be_taken_goes_back_and_is_watched():
    parts, journal = one_group()
    # The other partition knows another zone by that name and version.
    other = Zone(id="zone", circle=CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=500))
    parts.journals["b"].command(DefineZone(zone=other))
    journal.command(MovePersons(person_ids=("wim",), to="b", by="x"))
    parts.turn()
    assert [one[:2] for one in answers(parts)[:2]] == [("a", "left"), ("b", "poison")]
    assert "another shape" in answers(parts)[1][2]
    assert ("a", "arrived") in {one[:2] for one in answers(parts)}
    parts.outputs.clear()
    for sent_to in ("b", "a", "b", "a", "b"):  # even where nobody knows them any more
        parts.now(journal.now_ms + 10_000)
        parts.journals[sent_to].frames(journal.fix("tag-1", 1, 0))
        parts.turn()
    notices = [(p, o.alarm_class) for p, o in parts.outputs if isinstance(o, Notice)]
    assert ("a", AlarmClass.AREA_BREACH) in notices
    assert {one for one in notices if one[1] is not AlarmClass.SYSTEM} == {
        ("a", AlarmClass.AREA_BREACH)
    }


def test_a_new_order_and_a_new_device_find_those_who_left():
    parts, journal = one_group()
    journal.command(MovePersons(person_ids=("wim",), to="b", by="x"))
    wide = Zone(
        id="zone", version=2, circle=CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=900)
    )
    journal.command(DefineZone(zone=wide))
    journal.command(DefineOrder(order=order(version=2, risk_class=3)))
    journal.command(DefineDevice(handle=9, device_id="tag-9", person_id="wim", role=Role.WEARER))
    parts.turn()
    parts.outputs.clear()
    for _ in range(4):
        parts.now(journal.now_ms + 10_000)
        journal.frames(journal.fix("tag-9", 9, 700))
        parts.turn()
    breaches = [o for p, o in parts.outputs if isinstance(o, Notice) and p == "b"]
    assert {one.alarm_class for one in breaches} == {AlarmClass.AREA_BREACH}
    assert {(one.order_version, one.zone_version) for one in breaches} == {(2, 2)}


@pytest.mark.parametrize("behind", [False, True])
def test_frames_that_are_passed_on_say_what_their_entry_said(behind):
    """Whether the intake was behind counts in the journal that they come to, too."""
    moving, journal = Moving(), Journal()
    moving.handles[2] = "q"
    records = [journal.fix("tag-1", 1, 900), journal.fix("victim-2", 2, 900)]
    ours, passed = moving.split(FrameBatch.read(FrameBatch.build(records, behind=behind)))
    assert ours is not None
    batches = [ours, FrameBatch.read(passed[0].blob)]
    assert [(b.handles.tolist(), b.behind) for b in batches] == [([1], behind), ([2], behind)]
