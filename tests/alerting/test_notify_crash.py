"""kill -9 at every point: each notice is delivered at least once, always under its own key.

A life of the notifier is stepped through the event loop one turn at a time and killed after a
number of turns; from then on nothing it does has an effect. The next life finds what a real one
would: the outbox, the journal, the delivery log, and what the targets have. Both with a log that
survives and with one that is lost, for the log may only save copies.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from alerting.book.types import AlarmClass, Notice, Purpose, ReceiptStatus
from alerting.notify import LaneSettings, MemoryDeliveryLog
from tests.alerting.notify_support import (
    DELIVERED,
    REFUSED,
    RETRY,
    Rig,
    VirtualClock,
    World,
    entry,
    key,
    notice,
)

LANE = LaneSettings(timeout_ms=2_000, age_ms_max=120_000, backoff_ms_max=4_000)


def outbox():
    """Two partitions, several outputs in one entry, one that nobody can get, one withdrawal."""
    return [
        entry(1, notice(AlarmClass.PANIC, target="a"), notice(AlarmClass.PANIC, target="b")),
        entry(1, notice(target="a", incident_id="other"), partition="p1"),
        entry(2, notice(target="nobody"), b"\xc1"),
        entry(3, notice(AlarmClass.PANIC, Purpose.WITHDRAWN, target="a")),
    ]


def expected_keys(entries):
    return {
        (output.target, one.key_of(index))
        for one in entries
        for index, output in enumerate(one.outputs)
        if isinstance(output, Notice) and output.target in {"a", "b"}
    }


async def live(rig, turns):
    """Run for a number of turns of the loop, time jumping when nothing else can run.

    True when it was cut off before all was done.
    """
    loop: Any = asyncio.get_running_loop()
    rig.task = asyncio.create_task(rig.notifier.run())
    for _ in range(turns):
        await asyncio.sleep(0)
        if rig.task.done():
            rig.task.result()
        if not loop._ready:
            if rig.world.all_acknowledged:
                break
            if not rig.clock.wake_next():
                raise AssertionError("nothing waits for time, and not all is done")
    else:
        await rig.kill()
        return True
    await rig.kill()
    return False


def check(world, entries):
    assert not world.problems
    assert {(target, k) for target, k, _ in world.got} == expected_keys(entries)
    for target, k in expected_keys(entries):
        assert ReceiptStatus.DELIVERED in world.receipts_of(k), (target, k)
        assert set(world.receipts_of(k)) == {ReceiptStatus.DELIVERED}
    every_key = {one.key_of(n) for one in entries for n in range(len(one.outputs))}
    assert {receipt.key for receipt in world.receipts} == every_key
    assert {k for _, k, _ in world.sent} <= every_key


def behaviours(fail_first):
    def behave(delivery, attempt):
        return RETRY if attempt <= fail_first else DELIVERED

    return {"a": behave, "b": behave}


async def killed_at(turn, fail_first, log_survives, turns_max=2_000):
    entries = outbox()
    world, clock = World(entries), VirtualClock()
    cut = await live(Rig(behaviours(fail_first), world, clock, LANE), turn)
    if not log_survives:
        world.log = MemoryDeliveryLog()
    if cut:
        again = await live(Rig(behaviours(0), world, clock, LANE), turns_max)
        assert not again, "the second life did not come to an end"
    check(world, entries)
    return cut, world


@pytest.mark.slow
@pytest.mark.parametrize("fail_first", [0, 2])
@pytest.mark.parametrize("log_survives", [True, False])
async def test_a_kill_at_every_turn_of_the_loop_loses_nothing(fail_first, log_survives):
    turn, copies = 0, 0
    while True:
        turn += 1
        cut, world = await killed_at(turn, fail_first, log_survives)
        copies += len(world.got) - len({k for _, k, _ in world.got})
        if not cut:
            break
    assert turn > 20  # there were points to die at
    assert copies > 0  # and some of them were between the target and the log: copies, not misses


@pytest.mark.slow
async def test_a_log_that_survives_saves_copies():
    with_log = without_log = 0
    for turn in range(1, 60):
        for survives in (True, False):
            _, world = await killed_at(turn, 0, survives)
            copies = len(world.got) - len({k for _, k, _ in world.got})
            if survives:
                with_log += copies
            else:
                without_log += copies
    assert with_log < without_log


class Weather:
    """Random trouble with a fixed seed: targets, journal, outbox and log fail now and then."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.calm = False

    def behave(self, delivery, attempt):
        luck = self.random.random()
        if self.calm or luck < 0.5:
            return DELIVERED
        if luck < 0.6:
            return None
        if luck < 0.65:
            return OSError("bad luck")
        return RETRY

    def trips(self):
        return not self.calm and self.random.random() < 0.2


class StormyRig(Rig):
    def __init__(self, weather, world, clock):
        super().__init__({"a": weather.behave, "b": weather.behave}, world, clock, LANE)
        self.weather = weather
        take, acknowledge = self.source.take, self.source.acknowledge

        async def stormy_take(count_max):
            self._maybe_fail()
            return await take(count_max)

        async def stormy_acknowledge(entries):
            self._maybe_fail()
            await acknowledge(entries)
            self._maybe_fail()  # done, and the answer was lost

        self.source.take, self.source.acknowledge = stormy_take, stormy_acknowledge

    async def journal(self, receipt):
        self._maybe_fail()
        await super().journal(receipt)
        self._maybe_fail()

    def _maybe_fail(self):
        if self.weather.trips():
            raise ConnectionError


def random_outbox(source):
    """Up to 12 entries of up to 4 notices, over two targets and few incidents."""
    entries = []
    for number in range(source.randrange(1, 13)):
        outputs = [
            notice(
                source.choice(list(AlarmClass)),
                source.choice(list(Purpose)),
                target=source.choice("ab"),
                incident_id=f"i{source.randrange(3)}",
            )
            for _ in range(source.randrange(5))
        ]
        entries.append(entry(number, *outputs, partition=source.choice(("p0", "p1"))))
    return entries


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
async def test_random_storms_and_kills_lose_nothing_and_invent_no_key(seed):
    weather = Weather(seed)
    entries = random_outbox(weather.random)
    world, clock = World(entries), VirtualClock()
    for _ in range(weather.random.randrange(6)):  # phase one: trouble
        if not await live(StormyRig(weather, world, clock), weather.random.randrange(1, 400)):
            break
        if weather.random.random() < 0.5:
            world.log = MemoryDeliveryLog()
    weather.calm = True  # phase two: trouble is over, progress is demanded
    assert not await live(StormyRig(weather, world, clock), 20_000), f"seed {seed}"
    check(world, entries)
    assert not world.problems, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_whatever_a_target_does_every_notice_ends_with_one_word_in_the_journal(seed):
    """Targets that stay bad for ever: each notice ends as delivered, refused or failed, in time."""
    source = random.Random(seed)

    def behave(delivery, attempt):
        return source.choice((DELIVERED, REFUSED, RETRY, RETRY, RETRY, None))

    entries = random_outbox(source)
    world, clock = World(entries), VirtualClock()
    start_ms = clock.now_ms()
    assert not await live(Rig({"a": behave, "b": behave}, world, clock, LANE), 50_000)
    words = Counter(receipt.key for receipt in world.receipts)
    assert set(words) == {k for _, k in expected_keys(entries)}, f"seed {seed}"
    assert set(words.values()) <= {1}, f"seed {seed}"
    # The greatest age, one attempt more, and the wait of an update for the notice before it.
    assert clock.now_ms() - start_ms <= 2 * LANE.age_ms_max, f"seed {seed}"


async def test_two_notifiers_that_share_an_outbox_by_mistake_send_copies_and_lose_nothing():
    """A stopped process wakes up after another took over its entries: same keys, no harm."""
    world, clock = World([entry(1, notice(target="a"))]), VirtualClock()
    first, second = (Rig(behaviours(0), world, clock, LANE) for _ in range(2))
    async with first, second:
        await clock.quiet()
    assert {k for _, k, _ in world.got} == {key(1)}
    assert set(world.receipts_of(key(1))) == {ReceiptStatus.DELIVERED}
    assert not world.problems


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
async def test_a_clock_that_steps_between_attempts_neither_delays_nor_ends_them(step_ms):
    """Found by the simulation: with a clock set back, an urgent retry waited for an hour."""
    world, clock = World([entry(1, notice(AlarmClass.PANIC, target="a"))]), VirtualClock()
    clock.wrong_ms = step_ms
    async with Rig(behaviours(2), world, clock, LANE):  # the first attempt fails here
        clock.wrong_ms = 0
        await clock.advance(LANE.backoff_ms_max)
        await clock.advance(LANE.backoff_ms_max)
    assert [k for _, k, _ in world.got] == [key(1)]
    assert set(world.receipts_of(key(1))) == {ReceiptStatus.DELIVERED}
