"""A step returns or leaves no trace; what was written out goes on as if it had never stopped."""

import random

import msgspec
import pytest

from afstand import limits
from alerting.book import book as book_module
from alerting.book import conditions, runs
from alerting.book.book import Book, SnapshotError, StepError
from alerting.book.tables import Table
from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    CaseDevice,
    DefineCase,
    DeviceEvent,
    EventKind,
    Input,
    Note,
    Notice,
    Output,
    RaiseByHand,
    Role,
    SignalKind,
    SystemSignal,
)

from .story import START_MS, Story, verdict

ENCODE = msgspec.msgpack.encode


def press(device, key="k", at_ms=START_MS):
    return DeviceEvent(
        device_id=device,
        person_id=None,
        role=Role.UNKNOWN,
        kind=EventKind.PANIC,
        at_ms=at_ms,
        device_ms=at_ms,
        key=key,
    )


def test_every_input_and_output_survives_the_wire():
    story = Story()
    story.case()
    story.verdict("confirmed")
    story.expect("monitoring-centre proximity alert")
    inputs: list[Input] = [verdict(), press("d"), Note(incident_id="i", by="b", text="t")]
    assert msgspec.msgpack.decode(ENCODE(inputs), type=list[Input]) == inputs
    assert msgspec.json.decode(msgspec.json.encode(inputs), type=list[Input]) == inputs
    assert msgspec.msgpack.decode(ENCODE(story.outputs), type=list[Output]) == story.outputs


def test_the_key_of_a_notice_is_its_place_in_the_outbox():
    book = Book()
    outputs = book.step([press("d")], START_MS, "p3-17-0", first_index=4)
    (place,) = [i for i, o in enumerate(outputs) if isinstance(o, Notice)]
    assert f"p3-17-0-{4 + place}" in book._state.deliveries


def test_time_never_runs_back():
    book = Book()
    book.step([], START_MS, "a")
    (incident, *_) = book.step([press("d")], START_MS - 5_000, "b")
    assert incident.at_ms == START_MS


def test_a_step_that_raises_leaves_no_trace(monkeypatch):
    story = Story()
    story.case()
    story.verdict("confirmed", kind="area-ban")
    story.expect("monitoring-centre area-breach alert")
    before = story.book.dump()
    due = story.book.next_due_ms()
    heard = []

    def breaks(cx, key, *args, **kwargs):
        heard.append(key)
        raise RuntimeError("poison")

    monkeypatch.setattr(conditions, "end", breaks)
    inputs = [
        press("d1"),
        Acknowledge(incident_id=story.incident(), by="x"),
        RaiseByHand(alarm_class=AlarmClass.LEGAL, by="x", reason="r", wearer_id="W"),
        verdict("clear"),
        press("d2"),
    ]
    with pytest.raises(StepError) as caught:
        story.book.step(inputs, START_MS + 70_000, "p0-9-9")
    assert caught.value.index == 3
    assert str(caught.value.__cause__) == "poison"
    assert heard
    assert story.book.dump() == before
    assert story.book.next_due_ms() == due
    monkeypatch.undo()
    twin = Book.load(before)
    args = (inputs, START_MS + 70_000, "p0-9-9")
    assert ENCODE(story.book.step(*args)) == ENCODE(twin.step(*args))
    assert story.book.dump() == twin.dump()


def test_a_random_fault_anywhere_in_a_step_leaves_no_trace(monkeypatch):
    """Every table write is made to raise in turn: the state must come back each time."""
    story = Story()
    story.case()
    story.verdict("warning")
    story.expect("monitoring-centre approach alert")
    before = story.book.dump()
    inputs = [verdict("confirmed"), press("unknown"), verdict("clear"), verdict("possible")]
    put = Table.put
    writes = 0

    def counted(self, key, row):
        nonlocal writes
        writes += 1
        put(self, key, row)

    monkeypatch.setattr(Table, "put", counted)
    Book.load(before).step(inputs, START_MS + 61_000, "e")
    total, writes = writes, 0
    assert total > 25
    for fatal in range(1, total + 1):
        writes = 0

        def breaks(self, key, row, fatal=fatal):
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise KeyboardInterrupt
            put(self, key, row)

        monkeypatch.setattr(Table, "put", breaks)
        with pytest.raises(KeyboardInterrupt):
            story.book.step(inputs, START_MS + 61_000, "e")
        assert story.book.dump() == before, f"write {fatal} of {total}"
    monkeypatch.setattr(Table, "put", put)
    twin = Book.load(before)
    outputs = story.book.step(inputs, START_MS + 61_000, "e")
    assert ENCODE(outputs) == ENCODE(twin.step(inputs, START_MS + 61_000, "e"))


def test_an_input_of_an_unknown_type_is_a_fault_of_that_input():
    book = Book()
    before = book.dump()
    with pytest.raises(StepError) as caught:
        book.step([press("d"), "not an input"], START_MS, "e")  # type: ignore[list-item]
    assert caught.value.index == 1
    assert book.dump() == before


def test_a_timer_that_raises_is_set_aside_and_said_while_the_others_go_on(monkeypatch):
    story = Story()
    story.event("panic", "d1")
    story.expect("monitoring-centre panic alert")
    story.event("panic", "d2")
    story.expect("monitoring-centre panic alert")
    broken = story.open_incidents()[0]
    real = runs.timer

    def breaks(cx, alarm, index):
        if alarm.incident_id == broken:
            cx.state.timers.set("left|behind", cx.now_ms)
            cx.signal(SignalKind.BOOK_LIMIT, "never said")
            raise ValueError("broken alarm")
        return real(cx, alarm, index)

    monkeypatch.setattr(runs, "timer", breaks)
    story.now_ms += 60_000
    outputs = story.book.step([], story.now_ms, "e")
    said = [story.reads(o) for o in outputs if isinstance(o, Notice)]
    assert said == ["shift-lead panic escalation", "shift-lead system alert"]
    system = [o for o in outputs if isinstance(o, Notice)][-1]
    assert system.reason == "timer-fault"
    assert f"step|{broken}.1|0: ValueError" in system.detail
    assert "left|behind" not in story.book._state.timers.rows


def test_an_unhandled_signal_kind_does_not_exist():
    for kind in SignalKind:
        book = Book()
        outputs = book.step([SystemSignal(kind=kind, at_ms=START_MS)], START_MS, "e")
        assert [o.target for o in outputs if isinstance(o, Notice)] == ["shift-lead"]


def test_every_kind_of_event_is_taken():
    story = Story()
    story.case()
    for kind in EventKind:
        for device in ("ankle", "button", "unknown"):
            story.event(kind.value, device)
            story.unexpected.clear()


# --- snapshots ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"not msgpack at all",
        ENCODE({"format": 99, "book_version": "1", "rows": {}}),
        ENCODE({"format": 1, "book_version": "1", "rows": {"alarms": {"a": {}}}}),
        ENCODE([1, 2]),
    ],
)
def test_bytes_that_are_no_snapshot_are_refused(data):
    with pytest.raises(SnapshotError):
        Book.load(data)


def test_equal_states_give_equal_bytes_whatever_their_history():
    """A rollback that put rows back in another order must not show."""
    story = Story()
    story.case()
    story.verdict("confirmed")
    story.expect("monitoring-centre proximity alert")
    book = story.book
    before = book.dump()
    with pytest.raises(StepError):
        book.step([press("d1"), press("d2"), "x"], START_MS, "e")  # type: ignore[list-item]
    assert book.dump() == before == Book.load(before).dump()


# --- bounds ---------------------------------------------------------------------------------------


def test_the_bound_on_incidents_is_said_and_spares_what_is_critical(monkeypatch):
    monkeypatch.setattr("alerting.book.incidents.BOOK_INCIDENTS_MAX", 3)
    with Story() as story:
        for n in range(3):
            story.verdict("warning", wearer=f"w{n}", protected=f"p{n}", order=f"o{n}")
            story.expect("monitoring-centre approach alert")
        story.verdict("warning", wearer="w3", protected="p3", order="o3")
        (notice,) = story.expect("shift-lead system alert")
        assert notice.reason == "book-limit"
        story.verdict("confirmed", wearer="w3", protected="p3", order="o3")
        story.expect("monitoring-centre proximity alert")
        story.event("panic", "button-9")
        story.expect("monitoring-centre panic alert")
        story.verdict("warning", wearer="w4", protected="p4", order="o4")
        for incident_id in story.open_incidents()[:5]:
            story.take(Acknowledge(incident_id=incident_id, by="x"))
        story.verdict("clear", wearer="w0", protected="p0", order="o0")
        story.verdict("clear", wearer="w1", protected="p1", order="o1")
        story.verdict("clear", wearer="w2", protected="p2", order="o2")
        story.dispose_all()
        story.forward(1800, stop_at_notice=True)
        # What was kept out comes when there is room, like what lasted through its closing.
        story.expect("monitoring-centre approach alert", "monitoring-centre proximity alert")


def test_presses_of_ever_more_unknown_devices_share_an_incident_and_still_page(monkeypatch):
    monkeypatch.setattr("alerting.book.incidents.BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX", 2)
    with Story() as story:
        for n in range(2):
            story.event("panic", f"stranger-{n}")
            story.expect("monitoring-centre panic alert")
        story.event("panic", "stranger-2")
        story.expect("monitoring-centre panic alert", "shift-lead system alert")
        story.forward(20)
        story.event("panic", "stranger-3")
        (notice,) = story.expect("monitoring-centre panic update")
        assert notice.device_id == "stranger-3"
        subjects = [r.subject for r in story.incidents().values()]
        assert subjects.count("device/*") == 1


def test_a_source_that_its_alarm_did_not_keep_pages_again_after_the_closing(monkeypatch):
    monkeypatch.setattr("alerting.book.incidents.BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX", 0)
    monkeypatch.setattr("alerting.book.alarms.BOOK_SOURCES_PER_ALARM_MAX", 2)
    with Story() as story:
        for n in range(4):
            story.event("panic", f"stranger-{n}")
            story.unexpected.clear()
        assert story.alarm("panic").count == 4
        story.dispose_all()
        story.event("panic", "stranger-3")
        said = [story.reads(n) for _, n in story.unexpected]
        assert "monitoring-centre panic alert" in said
        story.unexpected.clear()
        story.dispose_all()
        story.forward(7_200)
        story.event("panic", "stranger-3")
        assert "monitoring-centre panic alert" in [story.reads(n) for _, n in story.unexpected]
        story.unexpected.clear()


def test_an_alarm_that_pages_for_weeks_keeps_a_bounded_state(monkeypatch):
    monkeypatch.setattr("alerting.book.telling.BOOK_DELIVERIES_PER_ALARM_MAX", 10)
    story = Story()
    story.event("panic", "stranger")
    for _ in range(200):
        story.unexpected.clear()
        story.forward(600, stop_at_notice=True)
    assert story.book.figures()["deliveries"] == 10
    story.expect("monitoring-centre panic escalation")
    story.receipt("monitoring-centre panic escalation", "acknowledged")
    assert story.state("panic") == "active-acknowledged"


def test_the_bound_on_notices_spares_critical_classes(monkeypatch):
    monkeypatch.setattr("alerting.book.telling.BOOK_NOTICES_PER_HOUR_MAX", 2)
    with Story() as story:
        story.case()
        for n, kind in enumerate(("shutdown", "clock-fault")):
            story.event(kind, "ankle")
            story.expect(f"monitoring-centre {('device-dying', 'location-doubt')[n]} alert")
        story.verdict("warning")
        (notice,) = story.expect("shift-lead system alert")
        assert "notices per hour" in notice.detail
        story.event("panic", "button")
        story.expect("monitoring-centre panic alert")


def test_the_bound_on_conditions_spares_latched_classes(monkeypatch):
    monkeypatch.setattr("alerting.book.conditions.BOOK_CONDITIONS_MAX", 1)
    with Story() as story:
        story.case()
        story.event("jamming", "ankle")
        story.forward(120)
        story.expect("monitoring-centre location-doubt alert")
        story.event("shutdown", "ankle")
        story.event("strap-cut", "ankle")
        story.expect("monitoring-centre tamper alert")
        assert "device-dying" not in [a.alarm_class for a in story.alarms().values()]


def test_pending_commands_are_bounded(monkeypatch):
    monkeypatch.setattr("alerting.book.devices.BOOK_COMMANDS_PENDING_MAX", 1)
    with Story() as story:
        story.case()
        story.verdict("confirmed")
        story.expect("monitoring-centre proximity alert", "shift-lead system alert")
        assert len(story.commands()) == 1
        assert story.command_records()[0].reason == "limit-of-pending-commands"


def test_timers_beyond_the_bound_fire_with_the_next_entry(monkeypatch):
    monkeypatch.setattr(book_module, "BOOK_TIMERS_PER_STEP_MAX", 1)
    book = Book()
    book.step([press("d1"), press("d2")], START_MS, "a")
    fired = []
    for n in range(3):
        outputs = book.step([], START_MS + 60_000, f"b{n}")
        fired.append(sum(isinstance(o, Notice) for o in outputs))
    assert fired == [1, 1, 0]


def test_a_case_that_is_wrong_is_refused_with_the_reason():
    story = Story()
    story.case()
    before = story.book.dump()

    def case(**how):
        return DefineCase(**{"case_id": "case-2", "wearer_id": "V", **how})

    wrong = [
        (case(case_id="no good"), "bad-id"),
        (case(plan_id="no good"), "bad-id"),
        (case(wearer_id=None), "no-person"),
        (case(protected_ids=("V",)), "bad-case"),
        (case(devices=(CaseDevice(device_id="d", person_id="stranger"),)), "bad-case"),
        (case(devices=(CaseDevice(device_id="ankle", person_id="V"),)), "bad-case"),
        (
            case(
                protected_ids=("Q",),
                devices=(
                    CaseDevice(device_id="d", person_id="V"),
                    CaseDevice(device_id="d", person_id="Q"),
                ),
            ),
            "bad-case",
        ),
        (
            case(protected_ids=tuple(f"p{n}" for n in range(limits.BOOK_CASE_PERSONS_MAX))),
            "limit",
        ),
    ]
    for wanted, reason in wrong:
        story.take(wanted)
        assert story.rejections()[-1].reason == reason, wanted
        assert story.book.dump() == before


def test_a_case_defined_again_moves_a_device():
    with Story() as story:
        story.case(devices={"ankle": "W", "button": "P"})
        story.case(devices={"ankle": "W", "phone": "P"})
        story.event("strap-cut", "button")
        story.expect("monitoring-centre tamper alert")
        assert story.incidents()[story.incident()].subject in ("person/P", "pair/W/P")
        assert "button" not in story.book._state.device_persons


def test_a_device_listed_by_two_cases_survives_the_end_of_one():
    story = Story()
    story.case(case_id="c1", protected=("P",), devices={"ankle": "W", "b1": "P"})
    story.case(case_id="c2", protected=("Q",), devices={"ankle": "W", "b2": "Q"})
    story.case(case_id="c1", protected=("P",), devices={"b1": "P"})
    assert story.book._state.device_persons["ankle"] == "W"


def test_the_longest_chain_of_ids_stays_an_id():
    """A press key, partition and entry id of the longest kind still give ids of 64 characters."""
    story = Story(partition="partition-of-sixteen")
    story.event("panic", "d")
    story.unexpected.clear()
    (alarm_id,) = story.alarms()
    assert len(alarm_id) <= 64


@pytest.mark.parametrize("seed", range(3))
def test_two_books_fed_in_different_pieces_agree(seed):
    """One step with many inputs or many steps with one: the state is the same but for ids."""
    rng = random.Random(seed)
    one, many = Book(), Book()
    now_ms = START_MS
    for n in range(60):
        inputs = [
            verdict(
                rng.choice(("clear", "warning", "possible", "confirmed")),
                order=f"o{rng.randrange(3)}",
                wearer=f"w{rng.randrange(3)}",
                at_ms=now_ms,
            )
            for _ in range(rng.randrange(4))
        ]
        whole = one.step(inputs, now_ms, f"e{n}")
        parts = []
        if not inputs:
            parts += many.step([], now_ms, f"e{n}")
        for item in inputs:
            parts += many.step([item], now_ms, f"e{n}", len(parts))
        assert ENCODE(whole) == ENCODE(parts), f"seed {seed} step {n}"
        now_ms += rng.randrange(90_000)
    assert one.dump() == many.dump()
