"""Copies of frames: against a set of all frames ever seen."""

import random

from afstand.limits import SEEN_RUNS_MAX
from afstand.watch.seen import Seen
from tests.conftest import run_seed


def test_random_frames_each_count_once():
    for offset in range(60):
        seed = run_seed() + offset
        draw = random.Random(seed)
        first = (draw.randrange(1, 4), draw.randrange(50))
        seen, model = Seen(*first), {first}
        for _ in range(400):
            frame = (draw.randrange(1, 4), draw.randrange(60))
            if draw.random() < 0.4:
                boot = max(boot for boot, _ in model)
                frame = (boot, 1 + max(n for b, n in model if b == boot))
            assert seen.add(*frame) is (frame not in model), f"seed {seed}, frame {frame}"
            model.add(frame)
            if draw.random() < 0.05:
                seen = Seen.load(seen.dump())


def test_frames_in_order_are_one_run():
    seen = Seen(7, 100)
    assert all(seen.add(7, number) for number in range(101, 5_000))
    assert seen.dump() == [(7, 100, 4_999)]
    assert not seen.add(7, 100)


def test_past_the_bound_the_oldest_run_is_forgotten_and_counts_again():
    seen = Seen(1, 0)
    for number in range(2, 2 * SEEN_RUNS_MAX + 10, 2):
        assert seen.add(1, number)
    assert len(seen.dump()) == SEEN_RUNS_MAX + 1
    assert seen.add(1, 0), "duplicates are preferred to misses"
    assert not seen.add(1, 2 * SEEN_RUNS_MAX)
