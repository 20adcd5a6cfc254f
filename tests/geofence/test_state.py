"""The state as a whole.

Dumps go on bit for bit, failures leave no trace, one input gives one output.
"""

import hashlib
import os
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from geofence import engine as engine_module
from geofence import kernel
from geofence.engine import Engine, FixBatch
from geofence.orders import Role
from geofence.verdicts import Verdict
from tests.geofence.scripts import run, town
from tests.geofence.stories import MINUTE, NOON, Story, batch, order, square, told, verdicts

SEEDS = range(4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_life_tells_of_everything(seed: int) -> None:
    """The scripts below are only worth something when much happens in them."""
    engine = Engine()
    found = [f for step in town(seed, 250) for f in step(engine)]
    reasons = {v.reason for v in found if isinstance(v, Verdict)}
    assert len(reasons) >= 15, sorted(reasons)
    assert any(v.historic for v in found if isinstance(v, Verdict))
    assert len(found) > 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_load_goes_on_bit_for_bit(seed: int) -> None:
    steps = town(seed, 250)
    whole = Engine()
    expected = run(whole, steps)
    parts = Engine()
    told_parts: list[bytes] = []
    for k in range(0, len(steps), 37):
        told_parts += run(parts, steps[k : k + 37])
        raw = parts.dump()
        parts = Engine.load(raw)
        assert parts.dump() == raw
    assert told_parts == expected
    assert parts.dump() == whole.dump()
    assert parts.next_due_ms() == whole.next_due_ms()
    assert parts.fixes() == whole.fixes()


@pytest.mark.slow
def test_the_same_life_twice_gives_the_same_bytes() -> None:
    steps = town(9, 200)
    first, second = Engine(), Engine()
    assert run(first, steps) == run(second, steps)
    assert first.dump() == second.dump()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_a_batch_does_not_matter(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = town(seed, 150)
    straight = Engine()
    expected = run(straight, steps)
    rng = np.random.default_rng(seed)
    observe = Engine.observe

    def shuffled(self: Engine, fixes: FixBatch, now_ms: int) -> Any:
        turn = rng.permutation(len(fixes.person))
        return observe(self, FixBatch._make(column[turn] for column in fixes), now_ms)

    monkeypatch.setattr(Engine, "observe", shuffled)
    mixed = Engine()
    assert run(mixed, steps) == expected
    assert mixed.dump() == straight.dump()


@pytest.mark.slow
def test_ticks_between_change_nothing_but_their_own_answers() -> None:
    """Timers fire at their own instants, whoever asks: with a tick a second or with none."""
    steps = town(3, 120)
    seldom, often = Engine(), Engine()
    expected = [f for step in steps for f in step(seldom)]
    found: list[Any] = []
    for step in steps:
        while (due := often.next_due_ms()) is not None and due < NOON + 10**7:
            before = len(found)
            found += often.advance(due)
            if len(found) == before and often.next_due_ms() == due:
                raise AssertionError("a due time that nothing answers")
            if due > NOON:
                break
        found += step(often)
    states = [(v.order_id, v.protected_id, v.state) for v in verdicts(found)]
    assert {s[0] for s in states} == {v.order_id for v in verdicts(expected)}


# --- failures -----------------------------------------------------------------------------------


class Failing:
    """The kernel, which fails at its n-th call, before or after it did its work."""

    def __init__(self, after_calls: int, *, half_done: bool) -> None:
        self.left = after_calls
        self.half_done = half_done
        self.work = kernel.work

    def __call__(self, *args: Any) -> int:
        self.left -= 1
        if self.left == 0:
            if self.half_done:
                self.work(*args)
            raise RuntimeError("injected")
        return self.work(*args)


@pytest.mark.slow
@pytest.mark.parametrize("half_done", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_failing_kernel_leaves_the_state_as_it_was(
    seed: int, half_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = town(seed, 120)
    plain, tried = Engine(), Engine()
    failures = 0
    for step in steps:
        before = tried.dump()
        due = tried.next_due_ms()
        for calls in (1, 2, 5):
            with monkeypatch.context() as patch:
                patch.setattr(kernel, "work", Failing(calls, half_done=half_done))
                try:
                    step(Engine.load(before))
                    continue  # fewer calls than that
                except RuntimeError:
                    pass
                patch.setattr(kernel, "work", Failing(calls, half_done=half_done))
                with pytest.raises(RuntimeError, match="injected"):
                    step(tried)
            failures += 1
            assert tried.dump() == before
            assert tried.next_due_ms() == due
        assert msgspec.msgpack.encode(step(tried)) == msgspec.msgpack.encode(step(plain))
    assert failures > 100
    assert tried.dump() == plain.dump()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_findings_that_cannot_be_made_leave_the_state_as_it_was(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Any) -> Any:
        raise MemoryError

    steps = town(seed, 60)
    engine = Engine()
    for step in steps:
        before = engine.dump()
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "read_findings", failing)
            failed = False
            try:
                step(engine)
            except MemoryError:
                failed = True
        if failed:
            assert engine.dump() == before
            step(engine)


def test_columns_that_do_not_fit_are_refused() -> None:
    story = Story()
    story.order()
    before = story.engine.dump()
    good = batch([story.row("wearer", 0), story.row("wearer", 10)])
    for bad in (
        good._replace(time_ms=good.time_ms[:1]),
        good._replace(person=np.array([0, 99])),
        good._replace(person=np.array([0, -1])),
        good._replace(lat_e7=good.lat_e7.reshape(1, 2)),
    ):
        with pytest.raises(ValueError, match="fix"):
            story.engine.observe(bad, story.now)
        assert story.engine.dump() == before


@pytest.mark.parametrize("raw", [b"", b"\x90", b"nonsense", msgspec.msgpack.encode(["x"] * 16)])
def test_what_is_no_dump_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="dump"):
        Engine.load(raw)


def test_a_dump_of_other_rules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from geofence import snapshot

    raw = Engine().dump()
    assert Engine.load(raw).dump() == raw
    monkeypatch.setattr(snapshot, "RULES_VERSION", 999)
    with pytest.raises(ValueError, match="rules"):
        Engine.load(raw)


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_more_events_than_the_ledger_had_room_for() -> None:
    story = Story()
    names = [f"p{k}" for k in range(3000)]
    for name in names:
        story.engine.put_person(name, Role.WEARER)
        story.engine.put_order(order(id=name, wearer_id=name), story.now)
    found = story.fixes(*(story.row(name, 0) for name in names))
    assert len(verdicts(found)) == 3000
    story.now += MINUTE
    found = story.fixes(*(story.row(name, 0) for name in names))
    assert len(verdicts(found)) == 3000
    found = story.wait(6 * MINUTE)
    assert len(verdicts(found)) == 3000
    assert [v.wearer_id for v in verdicts(found)] == names
    assert story.engine.next_due_ms() is None
    story.reload()
    assert story.wait(MINUTE) == []


@pytest.mark.slow
def test_an_idle_tick_costs_no_walk_over_all_persons() -> None:
    import time

    story = Story()
    for k in range(20_000):
        name = f"p{k}"
        story.engine.put_person(name, Role.WEARER)
        story.engine.put_order(order(id=name, wearer_id=name), story.now)
    story.fixes(*(story.row(f"p{k}", 5000) for k in range(20_000)))
    story.wait(1000)
    story.engine.next_due_ms()
    start = time.perf_counter()
    for k in range(100):
        story.engine.advance(story.now + k)
        story.engine.next_due_ms()
    assert (time.perf_counter() - start) / 100 < 0.002


def test_nothing_is_due_without_orders() -> None:
    story = Story()
    assert story.engine.next_due_ms() is None
    story.fix("wearer", 0)
    assert story.engine.next_due_ms() is None
    assert story.engine.advance(NOON * 2) == []


def test_handles_and_positions() -> None:
    engine = Engine()
    assert engine.put_person("a", Role.WEARER) == 0
    assert engine.put_person("b", Role.PROTECTED) == 1
    assert engine.put_person("a", Role.WEARER) == 0
    assert engine.person_handle("b") == 1
    assert engine.person_handle("c") is None
    assert engine.last_position("a") is None
    with pytest.raises(KeyError):
        engine.last_position("c")


def test_a_zone_that_no_order_uses_tells_nothing() -> None:
    story = Story()
    assert story.zone("other", square(10)) == []
    assert told(story.told) == []


# --- the same without the compiler --------------------------------------------------------------

_SMALL = """
import hashlib, msgspec
from geofence.engine import Engine
from tests.geofence.scripts import run, town
engine = Engine()
digest = hashlib.sha256()
for told in run(engine, town(2, 60)):
    digest.update(told)
digest.update(engine.dump())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_same_bytes_with_the_compiler_off() -> None:
    engine = Engine()
    digest = hashlib.sha256()
    for one in run(engine, town(2, 60)):
        digest.update(one)
    digest.update(engine.dump())
    plain = subprocess.run(
        [sys.executable, "-c", _SMALL],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=170,
        check=True,
    )
    assert plain.stdout.strip() == digest.hexdigest()
