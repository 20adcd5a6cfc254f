"""How the evidence grew: what is kept of it with a unit or pair, and what a verdict shows."""

import math

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from geofence import ledger
from geofence.layout import UNIT_ROW
from geofence.parameters import HEADROOM, STEPS_KEPT, THRESHOLDS
from geofence.verdicts import OrderKind, Verdict, VerdictState
from tests.geofence.stories import MINUTE, Story, verdicts

remember = getattr(ledger.remember_step, "py_func", ledger.remember_step)
CAP = THRESHOLDS[0] + HEADROOM


class Naive:
    """Everything since the evidence was nothing or all it can be, in a list."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int]] = []

    def step(self, before: int, after: int, again: bool, time_ms: int) -> None:
        if before in (0, CAP):
            self.all = []
        if before == after:
            return
        if again and self.all:
            self.all.pop()
        self.all.append((time_ms, after))


@seed(20261121)
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 6), st.booleans()), max_size=150))
def test_what_is_kept_is_evenly_spread_and_ends_with_the_last(moves) -> None:
    rows = np.zeros(1, UNIT_ROW)
    row = rows[0]
    row["threshold"] = THRESHOLDS[0]
    naive = Naive()
    evidence = 0
    for time_ms, (move, again) in enumerate(moves, 1):
        after = min(max(evidence + move * 6000, 0), CAP)
        remember(row, evidence, after, again, time_ms, move, 5000, 500)
        naive.step(evidence, after, again, time_ms)
        evidence = after
        count = int(row["steps"])
        assert count == len(naive.all)
        if count == 0:
            continue
        stride = 1
        while (count - 1) // stride >= STEPS_KEPT:
            stride *= 2
        used = (count - 1) // stride + 1
        kept = list(zip(row["step_ms"][:used].tolist(), row["step_evidence"][:used].tolist(),
                        strict=True))  # fmt: skip
        # Each slot has the last of its `stride` steps; the last slot has the newest of all.
        ends = [*range(stride - 1, count - 1, stride), count - 1]
        assert kept == [(naive.all[k][0], naive.all[k][1] >> 6) for k in ends]
        assert used > STEPS_KEPT // 2 or stride == 1


def test_a_stay_of_weeks_does_not_overflow() -> None:
    rows = np.zeros(1, UNIT_ROW)
    row = rows[0]
    row["threshold"] = THRESHOLDS[0]
    for k in range(70_000):
        remember(row, 1000 + k % 2, 1000 + (k + 1) % 2, False, k, 0, 0, 0)
    assert row["steps"] == 65_535
    assert row["step_ms"].max() == 69_999


# --- in verdicts ----------------------------------------------------------------------------------


def all_steps_explain(found: list[Verdict]) -> int:
    """The sum after each step follows from the one before by the formula, where none is left out.

    Evidence is the clipped sum of min(tanh(dt / 30 s), 0.5) ln(p / (1 - p)): ADR 0008, anew.
    """
    checked = 0
    for verdict in found:
        if verdict.steps_total != len(verdict.steps):
            continue
        for a, b in zip(verdict.steps, verdict.steps[1:], strict=False):
            p = min(max(b.probability_1024, 26), 998) / 1024
            w = min(math.tanh((b.fix_ms - a.fix_ms) / 30_000), 0.5)
            gain = w * math.log(p / (1 - p))
            expected = min(max(a.evidence_1024 / 1024 + gain, 0), verdict.threshold_1024 / 1024 + 2)
            assert abs(b.evidence_1024 / 1024 - expected) < 0.005
            checked += 1
    return checked


@pytest.mark.parametrize("kind", [OrderKind.AREA_BAN, OrderKind.EXIT_BAN])
@pytest.mark.parametrize("risk", [1, 2, 3])
def test_the_steps_of_a_verdict_add_up_to_its_evidence(kind: OrderKind, risk: int) -> None:
    story = Story()
    story.order(kind=kind, risk_class=risk)
    breach, away = (0, 400) if kind is OrderKind.AREA_BAN else (400, 0)
    story.fix("wearer", away)
    for _ in range(9):
        story.wait(5_000)
        story.fix("wearer", breach)
    for _ in range(9):
        story.wait(MINUTE)
        story.fix("wearer", away)
    told = verdicts(story.told)
    confirmed = next(v for v in told if v.state is VerdictState.CONFIRMED)
    assert confirmed.steps[-1].evidence_1024 == confirmed.evidence_1024
    assert confirmed.evidence_1024 >= confirmed.threshold_1024 == (2048, 3072, 4608)[risk - 1]
    assert confirmed.steps[-1].fix_ms == confirmed.fix_ms
    cleared = told[-1]
    assert (cleared.state, cleared.evidence_1024) == (VerdictState.CLEAR, 0)
    assert cleared.steps[-1].evidence_1024 == 0
    assert all_steps_explain(told) >= 3


def test_the_steps_of_a_pair_tell_the_distance_between_them() -> None:
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN, radius_m=500)
    story.fix("victim", 0)
    story.fix("wearer", 3000)
    for _ in range(6):
        story.wait(5_000)
        story.fixes(story.row("victim", 0), story.row("wearer", 200))
    confirmed = next(v for v in verdicts(story.told) if v.state is VerdictState.CONFIRMED)
    assert len(confirmed.steps) == confirmed.steps_total >= 2, "two fixes of an instant are one"
    assert all(abs(step.distance_mm - 200_000) < 2000 for step in confirmed.steps)
    assert not any(step.at_least for step in confirmed.steps)
    assert len({step.fix_ms for step in confirmed.steps}) == len(confirmed.steps)
    assert all_steps_explain([confirmed]) >= 1


def test_a_verdict_shows_no_steps_of_a_breach_long_over() -> None:
    story = Story()
    story.order(buffer_m=100)
    story.fix("wearer", 2000)
    story.stay("wearer", 0, minutes=4)
    story.stay("wearer", 2000, minutes=9)
    story.told.clear()
    story.stay("wearer", 260, minutes=2)  # in the ring around the zone
    (warned,) = verdicts(story.told)
    assert (warned.state, warned.steps, warned.steps_total) == (VerdictState.WARNING, (), 0)


def test_steps_go_through_a_dump() -> None:
    story = Story()
    story.order()
    story.fix("wearer", 900)
    for _ in range(2):
        story.wait(5_000)
        story.fix("wearer", 0)
    story.reload()
    story.told.clear()
    for _ in range(3):
        story.wait(5_000)
        story.fix("wearer", 0)
    confirmed = verdicts(story.told)[0]
    assert confirmed.steps_total >= 3
