"""Folding many entries in one call gives the state and the findings of one after another."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from geofence.engine import Engine, FixBatch
from geofence.layout import BLOCK
from geofence.orders import Role
from geofence.verdicts import Finding
from tests.geofence.scripts import definitions, town
from tests.geofence.stories import MINUTE, NOON, at, batch, order, square

NONE = batch([])


class Call(NamedTuple):
    """A call of `observe` or `advance` (no fixes), or anything else."""

    fixes: FixBatch | None
    now_ms: int
    other: Any = None


class Recorder:
    """Takes down what a script does to an engine."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def observe(self, fixes: FixBatch, now_ms: int) -> list[Finding]:
        self.calls.append(Call(fixes, now_ms))
        return []

    def advance(self, now_ms: int) -> list[Finding]:
        self.calls.append(Call(NONE, now_ms))
        return []

    def __getattr__(self, name: str) -> Any:
        def other(*args: Any) -> list[Finding]:
            self.calls.append(Call(None, 0, (name, args)))
            return []

        return other


def recorded(steps: list[Any]) -> list[Call]:
    recorder: Any = Recorder()
    for step in steps:
        step(recorder)
    return recorder.calls


def one_by_one(engine: Engine, calls: list[Call]) -> list[list[Finding]]:
    found = []
    for call in calls:
        if call.fixes is None:
            name, args = call.other
            answer = getattr(engine, name)(*args)
            found.append(answer if isinstance(answer, list) else [])
        else:
            found.append(engine.advance(call.now_ms) + engine.observe(call.fixes, call.now_ms))
    return found


def in_runs(engine: Engine, calls: list[Call], size: int) -> tuple[list[list[Finding]], int]:
    """The same with `fold_quiet`; gives also how many entries it took."""
    found: list[list[Finding]] = []
    quiet = 0
    while len(found) < len(calls):
        run = []
        for call in calls[len(found) : len(found) + size]:
            if call.fixes is None:
                break
            run.append(call)
        if run:
            fixes = [call.fixes for call in run if call.fixes is not None]
            columns = FixBatch(*(np.concatenate(column) for column in zip(*fixes, strict=True)))
            ends = np.cumsum([len(one.person) for one in fixes])
            times = np.array([call.now_ms for call in run])
            done = engine.fold_quiet(engine.quiet_entries(columns, ends, times), 0, 2**62)
            found += [[]] * done
            quiet += done
        if len(found) < len(calls) and (not run or done < len(run)):
            found += one_by_one(engine, [calls[len(found)]])
    return found, quiet


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [3, 1000])
def test_runs_give_the_findings_and_the_state_of_single_calls(seed: int, size: int) -> None:
    calls = recorded(town(seed, 250))
    single, runs = Engine(), Engine()
    expected = one_by_one(single, calls)
    found, quiet = in_runs(runs, calls, size)
    assert found == expected
    assert runs.dump() == single.dump()
    assert runs.fixes() == single.fixes()
    assert runs.next_due_ms() == single.next_due_ms()
    assert quiet > 10


@pytest.mark.slow
def test_a_silence_that_was_taken_back_is_not_forgotten() -> None:
    """Rows and floors of an entry that tells something are as before, so single calls go on."""
    calls = recorded(town(3, 250))
    single, runs = Engine(), Engine()
    one_by_one(single, calls[:150])
    in_runs(runs, calls[:150], 40)
    rest = [Call(NONE, calls[150].now_ms + k * 10_000) for k in range(300)]
    assert one_by_one(runs, rest) == one_by_one(single, rest)


@pytest.mark.slow
def test_many_silences_at_one_instant_are_left_to_the_usual_way() -> None:
    def many() -> Engine:
        engine = Engine()
        for k in range(BLOCK + 100):
            engine.put_person(f"w{k}", Role.WEARER)
        engine.put_zone(square_zone(), NOON)
        for k in range(0, BLOCK + 100, 2):
            engine.put_order(order(id=f"o{k}", wearer_id=f"w{k}", zone_ids=("z",)), NOON)
        return engine

    def square_zone() -> Any:
        from geofence.orders import Zone

        return Zone(id="z", geometry=square(200.0))

    lat, lon = at(5000, 0)
    everybody = [(k, NOON + k, lat, lon, 50, 65535, 65535, 1) for k in range(BLOCK + 100)]
    calls = [Call(batch(everybody), NOON + 1000)]
    calls += [Call(NONE, NOON + k * MINUTE) for k in range(1, 40)]
    calls += [Call(batch(everybody[k : k + 3]), NOON + 40 * MINUTE + k) for k in range(100)]
    single, runs = many(), many()
    found, quiet = in_runs(runs, calls, 1000)
    assert found == one_by_one(single, calls)
    assert runs.dump() == single.dump()
    assert quiet > 50


def test_nothing_is_folded_at_the_limit_or_behind() -> None:
    engine = Engine()
    for step in definitions(np.random.default_rng(1)):
        step(engine)
    before = engine.dump()
    entries = engine.quiet_entries(NONE, np.array([0, 0]), np.array([NOON + 1, NOON + 2]))
    assert engine.fold_quiet(entries, 0, NOON + 1) == 0
    assert engine.fold_quiet(entries, 1, NOON + 2) == 1
    assert engine.dump() == before


def test_a_fix_of_nobody_is_refused() -> None:
    fixes = batch([(10**6, NOON, 1, 1, 50, 0, 0, 1)])
    with pytest.raises(ValueError, match="not known"):
        Engine().quiet_entries(fixes, np.array([1]), np.array([NOON]))
