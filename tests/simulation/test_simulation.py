"""Seeds that must hold, bugs that must be found, and runs that must be the same again."""

from collections import Counter

import pytest

from tests.conftest import run_seed
from tests.simulation.awaits import ROOT, found, told
from tests.simulation.bugs import BUGS
from tests.simulation.simulation import OVERLOADED_EVERY, simulate

SEEDS = 120
PARTS = 8
BUG_SEEDS_MAX = 1_000
MOVES = 3  # a seed in which groups move
FOUND_AT = {"forgotten_before_taken": 67, "unknown_taken_for_done": 539}
"""The first seeds that find what few find, to begin with: the test is short. None is needed."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_simulation_of_the_whole_service_holds_for_every_seed(part):
    each = SEEDS // PARTS
    first = run_seed() + part * each
    for seed in range(first, first + each):
        outcome = simulate(seed)
        assert outcome.problem == "", f"./run simulate --seed {seed} --trace"


@pytest.mark.slow
def test_seeds_with_overload_have_entries_that_were_taken_late():
    found: Counter[str] = Counter()
    for seed in range(0, 10 * OVERLOADED_EVERY, OVERLOADED_EVERY):
        outcome = simulate(seed)
        assert outcome.problem == "", f"./run simulate --seed {seed} --trace"
        found.update(outcome.troubles)
    assert found["entries taken late"] > 0
    assert found["fixes coalesced"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_that_is_put_in_is_found(bug):
    first = FOUND_AT.get(bug, 1)
    with BUGS[bug]():
        for seed in (*range(first, 1 + BUG_SEEDS_MAX), *range(1, first)):
            if simulate(seed).problem:
                return
    raise AssertionError(f"{bug} was not found in {BUG_SEEDS_MAX} seeds")


@pytest.mark.slow
def test_groups_move_in_these_worlds():
    """Otherwise the seeds above say nothing about moves."""
    ended: Counter[str] = Counter()
    for seed in range(run_seed(), run_seed() + 8):
        ended.update(simulate(seed).wishes)
    assert ended["moved"] > 2


def test_awaits_are_found_by_their_innermost_lines():
    path = "afstand/watch/replica.py"
    source = (ROOT / path).read_text().splitlines()
    line = next(n for n, text in enumerate(source, 1) if "self._journal.append(*self._pass" in text)
    ((struck,), waited) = found([(path, line)]), found([(path, line), (path, 1)])
    assert (struck.path, struck.first, struck.last) == (path, line, line)
    assert waited == {struck}
    assert told([(path, line)], [], names=False).startswith("awaits: 1 struck by a death, of 1 ")


@pytest.mark.slow
def test_a_seed_gives_the_same_run_again():
    for seed in range(3, 6):
        first, again = simulate(seed), simulate(seed)
        assert first == again, f"seed {seed}"
        assert first.trace


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "seed"),
    [("intake-0", 1), ("watch-0", 1), ("notify-0", 1), ("operator", MOVES), ("watch-1", MOVES)],
)
def test_a_death_at_any_step_of_a_role_loses_nothing(role, seed):
    """Some steps of each; `./run simulate --every-step ROLE --seed N` takes all."""
    alone = simulate(seed, kill=(role, 0))
    assert (alone.wishes.get("moved", 0) > 1) == (seed == MOVES)
    steps = alone.role_steps[role]
    assert steps > 100
    for step in range(7, steps, steps // 5):
        outcome = simulate(seed, kill=(role, step))
        assert outcome.problem == "", f"seed {seed}, {role} killed at step {step}"
