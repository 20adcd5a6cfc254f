"""The lane of one target: order, places, back-off, circuit, bounds. Pure: time is a number."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand.limits import NOTIFY_ORDER_WAIT_MS_MAX
from alerting.book.types import AlarmClass, Priority, Purpose
from alerting.notify.backoff import backoff_ms
from alerting.notify.circuit import Circuit, CircuitState
from alerting.notify.delivery import (
    Outcome,
    OutcomeStatus,
    delivery_of_command,
    delivery_of_notice,
)
from alerting.notify.lane import Lane
from alerting.notify.settings import LaneSettings
from tests.alerting.notify_support import DELIVERED, REFUSED, RETRY, command, notice


def lane_with(settings) -> Any:
    """A lane whose answers a test may use without asking whether they are there."""
    return Lane(settings)


def state(lane) -> Any:
    return lane.circuit_state


def lane_of(**settings) -> Any:
    return lane_with(LaneSettings(**settings))


def panic(key, **changes):
    return delivery_of_notice(key, notice(AlarmClass.PANIC, **{"incident_id": key, **changes}))


def legal(key, **changes):
    fields = {"incident_id": key, "priority": Priority.LOW, **changes}
    return delivery_of_notice(key, notice(AlarmClass.LEGAL, **fields))


def start_all(lane, now_ms) -> list[Any]:
    found = []
    while (job := lane.start(now_ms)) is not None:
        found.append(job)
    return found


def keys(jobs):
    return [job.delivery.key for job in jobs]


def test_panic_first_then_proximity_then_tamper_then_by_priority():
    lane = lane_of(concurrency=20)
    given_order = [
        ("withdrawn", notice(AlarmClass.PANIC, Purpose.WITHDRAWN, incident_id="w")),
        ("low", notice(AlarmClass.LEGAL, priority=Priority.LOW, incident_id="a")),
        ("drill", notice(AlarmClass.PANIC, drill=True, incident_id="b")),
        ("area", notice(AlarmClass.AREA_BREACH, incident_id="c")),
        ("tamper", notice(AlarmClass.TAMPER, incident_id="d")),
        ("proximity", notice(AlarmClass.PROXIMITY, incident_id="e")),
        ("panic", notice(AlarmClass.PANIC, incident_id="f")),
        ("panic-2", notice(AlarmClass.PANIC, incident_id="g")),
    ]
    for key, body in given_order:
        assert lane.offer(delivery_of_notice(key, body), 0) is None
    lane.offer(delivery_of_command("command", command()), 0)
    assert keys(start_all(lane, 0)) == [
        "panic", "panic-2", "proximity", "tamper", "area", "command", "low", "drill", "withdrawn",
    ]  # fmt: skip


def test_urgent_has_places_that_nothing_else_may_take():
    lane = lane_of(concurrency=2, urgent_places=1)
    for number in range(4):
        lane.offer(legal(f"l{number}"), 0)
    assert keys(start_all(lane, 0)) == ["l0", "l1"]
    lane.offer(panic("p0"), 5)
    assert lane.next_due_ms(5) == 5
    assert keys(start_all(lane, 5)) == ["p0"]
    lane.offer(panic("p1"), 6)
    assert start_all(lane, 6) == []
    assert lane.next_due_ms(6) is None


def test_an_exhausted_retry_is_failed_with_its_last_reason():
    lane = lane_of(attempts_max=3, backoff_ms=10, backoff_ms_max=10)
    lane.offer(panic("p"), 0)
    now_ms = 0
    for _ in range(2):
        assert lane.finish(lane.start(now_ms), RETRY, now_ms) is None
        now_ms = lane.next_due_ms(now_ms)
    final = lane.finish(lane.start(now_ms), RETRY, now_ms)
    assert final.status is OutcomeStatus.FAILED
    assert final.detail == "after 3 attempts: http-500"
    assert lane.depth == lane.running == 0


def test_the_greatest_age_ends_it_and_one_attempt_is_always_made():
    settings = LaneSettings(age_ms_max=1_000, concurrency=1, urgent_places=1, backoff_ms=600)
    lane = lane_with(settings)
    lane.offer(legal("old"), 0)
    job = lane.start(5_000_000)  # waited far longer than its greatest age
    assert job.delivery.key == "old"
    final = lane.finish(job, RETRY, 5_000_000)
    assert final.status is OutcomeStatus.FAILED
    assert final.detail == "after 1 attempts in 1000 ms: http-500"


def test_refused_is_final_and_counts_as_an_answer():
    lane = lane_of(circuit_failures=1)
    lane.offer(panic("a"), 0)
    assert lane.finish(lane.start(0), RETRY, 0) is None
    assert state(lane) is CircuitState.OPEN
    now_ms = lane.next_due_ms(0)
    assert lane.finish(lane.start(now_ms), REFUSED, now_ms) is REFUSED
    assert state(lane) is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("delivery", "asked_ms", "expected_ms"),
    [
        (legal("x"), 30_000, 30_000),
        (legal("x"), 9_000_000, 60_000),  # bounded: retry_after_ms_max
        (panic("x"), 9_000_000, 15_000),  # urgent: bounded by its own slowest back-off
        (panic("x"), 5_000, 5_000),
    ],
)
def test_retry_after_is_honoured_within_bounds(delivery, asked_ms, expected_ms):
    lane = lane_of()
    lane.offer(delivery, 0)
    busy = Outcome(
        status=OutcomeStatus.RETRY, detail="http-429", retry_after_ms=asked_ms, reached_target=None
    )
    assert lane.finish(lane.start(0), busy, 0) is None
    assert lane.next_due_ms(0) == expected_ms
    assert lane.start(expected_ms - 1) is None
    assert lane.start(expected_ms) is not None


def test_retry_after_never_shortens_the_back_off():
    lane = lane_of(backoff_ms=10_000, backoff_ms_max=10_000)
    lane.offer(legal("x"), 0)
    busy = Outcome(status=OutcomeStatus.RETRY, retry_after_ms=0, reached_target=False)
    lane.finish(lane.start(0), busy, 0)
    assert 5_000 <= lane.next_due_ms(0) <= 10_000


class TestCircuit:
    def test_it_opens_after_failures_in_a_row_and_probes(self):
        lane = lane_of(circuit_failures=2, circuit_open_ms=10_000, backoff_ms=1)
        for number in range(5):
            lane.offer(legal(f"l{number}"), 0)
        first, second = lane.start(0), lane.start(0)
        lane.finish(first, RETRY, 0)
        assert state(lane) is CircuitState.CLOSED
        lane.finish(second, RETRY, 0)
        assert state(lane) is CircuitState.OPEN
        assert lane.start(9_999) is None
        assert lane.next_due_ms(9_999) == 10_000
        probe = lane.start(10_000)
        assert state(lane) is CircuitState.HALF_OPEN
        assert lane.start(10_000) is None  # one probe at a time
        lane.finish(probe, DELIVERED, 10_050)
        assert state(lane) is CircuitState.CLOSED
        assert len(start_all(lane, 10_050)) == 4

    def test_it_never_holds_what_is_urgent(self):
        lane = lane_of(circuit_failures=1, circuit_open_ms=600_000)
        lane.offer(legal("l"), 0)
        lane.finish(lane.start(0), RETRY, 0)
        lane.offer(panic("p"), 1)
        assert lane.start(1).delivery.key == "p"

    def test_a_probe_that_ends_without_asking_does_not_block_the_next(self):
        lane = lane_of(circuit_failures=1, circuit_open_ms=1_000, backoff_ms=1)
        lane.offer(legal("a"), 0)
        lane.offer(legal("b"), 0)
        lane.finish(lane.start(0), RETRY, 0)
        probe = lane.start(1_000)
        lane.abandon(probe, 1_000)
        assert lane.start(1_000) is not None

    def test_success_in_between_starts_the_count_again(self):
        circuit = Circuit(3, 1_000)
        for _ in range(5):
            circuit.failed(0)
            circuit.failed(0)
            circuit.succeeded()
        assert circuit.state is CircuitState.CLOSED


class TestFullLane:
    def test_the_least_important_leaves(self):
        lane = lane_of(queue_max=3)
        for key in ("l0", "l1"):
            lane.offer(legal(key), 0)
        lane.offer(panic("p0"), 0)
        assert lane.offer(panic("p1"), 0).key == "l1"  # the youngest of the least urgent
        assert lane.offer(panic("p2"), 0).key == "l0"
        assert lane.offer(panic("p3"), 0).key == "p3"  # nothing matters less
        assert lane.offer(legal("l2"), 0).key == "l2"
        assert keys(start_all(lane, 0)) == ["p0", "p1", "p2"]

    def test_what_runs_is_never_thrown_out(self):
        lane = lane_of(queue_max=1, concurrency=1)
        lane.offer(legal("running"), 0)
        job = lane.start(0)
        lane.offer(legal("waiting"), 0)
        assert lane.offer(panic("p"), 0).key == "waiting"
        assert lane.finish(job, DELIVERED, 1) is DELIVERED

    def test_memory_stays_bounded_while_the_target_hangs(self):
        lane = lane_of(queue_max=4, concurrency=1, urgent_places=1)
        lane.offer(legal("running"), 0)
        lane.start(0)
        for number in range(5_000):
            priority = (Priority.LOW, Priority.MEDIUM, Priority.HIGH)[number % 3]
            lane.offer(legal(f"k{number}", priority=priority), number)
        assert lane.depth == 4
        assert len(lane._normal) + len(lane._later) < 200

    def test_a_key_is_not_taken_twice(self):
        lane = lane_of()
        assert lane.offer(panic("p"), 0) is None
        assert lane.offer(panic("p"), 0) is None
        assert len(start_all(lane, 0)) == 1


class TestOrderInsideAnIncident:
    def test_a_withdrawal_waits_for_its_alarm(self):
        lane = lane_of()
        lane.offer(panic("alarm", incident_id="i"), 0)
        lane.offer(panic("end", incident_id="i", purpose=Purpose.WITHDRAWN), 1)
        job = lane.start(1)
        assert lane.start(1) is None
        lane.finish(job, DELIVERED, 40)
        assert lane.start(40).delivery.key == "end"

    def test_it_waits_through_retries_and_not_for_ever(self):
        lane = lane_of(backoff_ms=15_000, backoff_ms_max=600_000)
        lane.offer(panic("alarm", incident_id="i"), 0)
        lane.offer(panic("end", incident_id="i", purpose=Purpose.WITHDRAWN), 0)
        lane.finish(lane.start(0), RETRY, 0)
        started: dict[str, int] = {}
        for now_ms in range(0, 60_000, 500):
            for job in start_all(lane, now_ms):
                started.setdefault(job.delivery.key, now_ms)
                lane.finish(job, RETRY, now_ms)
        assert started["end"] == NOTIFY_ORDER_WAIT_MS_MAX

    def test_a_second_alarm_of_the_incident_never_waits(self):
        lane = lane_of()
        lane.offer(panic("one", incident_id="i"), 0)
        lane.offer(panic("two", incident_id="i"), 0)
        lane.offer(panic("three", incident_id="i", purpose=Purpose.ESCALATION), 0)
        assert keys(start_all(lane, 0)) == ["one", "two", "three"]

    def test_other_incidents_are_not_held(self):
        lane = lane_of()
        lane.offer(panic("alarm", incident_id="i"), 0)
        lane.offer(panic("other-end", incident_id="j", purpose=Purpose.WITHDRAWN), 0)
        assert len(start_all(lane, 0)) == 2


class TestBackoff:
    @given(
        st.text(max_size=40),
        st.integers(1, 100_000),
        st.integers(1, 60_000),
        st.integers(1, 600_000),
    )
    def test_it_is_bounded_and_the_same_each_time(self, key, attempt, base_ms, limit_ms):
        wait_ms = backoff_ms(key, attempt, base_ms, limit_ms)
        assert wait_ms == backoff_ms(key, attempt, base_ms, limit_ms)
        whole = min(limit_ms, base_ms * 2 ** min(attempt - 1, 64))
        assert max(1, whole // 2) <= wait_ms <= max(1, whole)

    def test_the_jitter_spreads_keys(self):
        waits = [backoff_ms(f"p0-{n}-0-0", 4, 1_000, 60_000) for n in range(1_000)]
        assert min(waits) < 4_200
        assert max(waits) > 7_800
        assert 5_800 < sum(waits) / len(waits) < 6_200


class NaiveLane:
    """The lane by another way: one list, looked through each time."""

    def __init__(self, settings):
        self.settings = settings
        self.jobs = []  # dicts, in order of arrival

    def offer(self, delivery, now_ms):
        earlier = any(j["delivery"].group == delivery.group for j in self.jobs)
        held_until = now_ms + NOTIFY_ORDER_WAIT_MS_MAX if delivery.in_order and earlier else None
        self.jobs.append(
            {"delivery": delivery, "due": now_ms, "held_until": held_until, "running": False}
        )

    def start(self, now_ms):
        running = sum(j["running"] for j in self.jobs)
        best = None
        for place, job in enumerate(self.jobs):
            delivery = job["delivery"]
            if job["running"] or job["due"] > now_ms:
                continue
            first = next(j for j in self.jobs if j["delivery"].group == delivery.group)
            if job["held_until"] is not None and first is not job and now_ms < job["held_until"]:
                continue
            room = self.settings.concurrency + self.settings.urgent_places * delivery.urgent
            if running >= room:
                continue
            mine = (not delivery.urgent, delivery.rank, place)
            if best is None or mine < best[0]:
                best = (mine, job)
        if best is None:
            return None
        best[1]["running"] = True
        best[1]["held_until"] = None
        return best[1]["delivery"].key

    def finish(self, key, due_ms):
        job = next(j for j in self.jobs if j["delivery"].key == key)
        if due_ms is None:
            self.jobs.remove(job)
        else:
            job["running"] = False
            job["due"] = due_ms


@pytest.mark.parametrize("seed", range(60))
def test_it_starts_what_a_naive_lane_starts(seed):
    source = random.Random(seed)
    settings = LaneSettings(
        concurrency=2, urgent_places=1, circuit_failures=1_000, backoff_ms=700, attempts_max=1_000
    )
    lane, naive = lane_with(settings), NaiveLane(settings)
    running: list[Any] = []
    now_ms = 0
    for number in range(300):
        now_ms += source.choice((0, 0, 1, 300, 2_000))
        action = source.random()
        if action < 0.4:
            make = source.choice((panic, legal))
            purpose = source.choice(
                (Purpose.ALERT, Purpose.ALERT, Purpose.UPDATE, Purpose.WITHDRAWN)
            )
            incident_id = f"i{source.randrange(4)}"
            delivery = make(f"k{number}", purpose=purpose, incident_id=incident_id)
            lane.offer(delivery, now_ms)
            naive.offer(delivery, now_ms)
        elif action < 0.7 and running:
            job = running.pop(source.randrange(len(running)))
            key = job.delivery.key
            if source.random() < 0.5:
                assert lane.finish(job, RETRY, now_ms) is None
                wait_ms = backoff_ms(key, job.attempts, 700, settings.backoff_ms_max)
                naive.finish(key, now_ms + wait_ms)
            else:
                assert lane.finish(job, DELIVERED, now_ms) is DELIVERED
                naive.finish(key, None)
        job = lane.start(now_ms)
        expected = naive.start(now_ms)
        assert (job.delivery.key if job else None) == expected, f"seed {seed}, step {number}"
        if job:
            running.append(job)
    while lane.depth or running:  # whatever waits is due some time: the lane never falls asleep
        for job in running:
            lane.finish(job, DELIVERED, now_ms)
        running = start_all(lane, now_ms)
        if not running and lane.depth:
            due_ms = lane.next_due_ms(now_ms)
            assert due_ms is not None, f"seed {seed}"
            assert due_ms > now_ms, f"seed {seed}"
            now_ms = due_ms
