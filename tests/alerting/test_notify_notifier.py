"""The notifier in virtual time: what is delivered when, and what the journal is told of it."""

import asyncio
from itertools import pairwise

import msgspec
import pytest

from alerting.book.types import (
    AlarmClass,
    Audience,
    Observation,
    Purpose,
    ReceiptStatus,
)
from alerting.notify import LaneSettings, Outcome, OutcomeStatus, RenderError
from alerting.notify.delivery import LANE_COMMANDS
from tests.alerting.notify_support import (
    DELIVERED,
    REFUSED,
    RETRY,
    START_MS,
    Rig,
    World,
    command,
    entry,
    good,
    hang,
    key,
    notice,
)

ACKED = Outcome(status=OutcomeStatus.ACKNOWLEDGED, detail="http-200", by="centralist 4")


def observation():
    return Observation(kind="near-miss", reason="inside-buffer", at_ms=START_MS)


async def test_a_notice_is_delivered_journalled_and_acknowledged_in_this_order():
    async with Rig({"meldkamer": good}) as rig:
        rig.source.add(entry(1, notice()))
        await rig.clock.advance(0)
        assert rig.world.got == [("meldkamer", key(1), START_MS)]
        (receipt,) = rig.world.receipts
        assert receipt.key == key(1)
        assert receipt.status is ReceiptStatus.DELIVERED
        assert (receipt.target, receipt.detail) == ("meldkamer", "http-200")
        assert rig.world.all_acknowledged
        assert not rig.world.problems


async def test_an_acknowledgement_in_the_answer_is_a_receipt_with_a_name():
    async with Rig({"meldkamer": lambda *_: ACKED}) as rig:
        rig.source.add(entry(1, notice()))
        await rig.clock.advance(0)
        assert rig.world.receipts[0].status is ReceiptStatus.ACKNOWLEDGED
        assert rig.world.receipts[0].by == "centralist 4"


async def test_outputs_of_one_entry_have_keys_by_their_place():
    async with Rig({"a": good, "b": good}) as rig:
        outputs = (notice(target="b"), observation(), notice(target="a"))
        rig.source.add(entry(7, *outputs))
        await rig.clock.advance(0)
        got = sorted((target, k) for target, k, _ in rig.world.got)
        assert got == [("a", key(7, 2)), ("b", key(7, 0))]
        assert rig.value("afstand_notify_skipped_total", why="not-for-delivery") == 1


async def test_what_is_only_for_the_console_is_acknowledged_without_a_word():
    async with Rig({"a": good}) as rig:
        rig.source.add(entry(1, observation()), entry(2))
        await rig.clock.advance(0)
        assert rig.world.all_acknowledged
        assert rig.world.receipts == []


async def test_it_retries_with_growing_waits_under_one_key():
    def behave(delivery, attempt):
        return RETRY if attempt < 6 else DELIVERED

    async with Rig({"a": behave}) as rig:
        rig.source.add(entry(1, notice(target="a")))
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        times = [at_ms for _, _, at_ms in rig.world.sent]
        waits = [b - a for a, b in pairwise(times)]
        assert {k for _, k, _ in rig.world.sent} == {key(1)}
        for attempt, wait_ms in enumerate(waits):
            whole = min(15_000, 250 * 2**attempt)
            assert whole // 2 <= wait_ms <= whole
        assert rig.world.receipts_of(key(1)) == [ReceiptStatus.DELIVERED]


async def test_a_target_that_hangs_is_timed_out_and_delays_no_other():
    lane = LaneSettings(timeout_ms=3_000, attempts_max=2)
    async with Rig({"hangs": hang, "works": good}, lane=lane) as rig:
        for number in range(50):
            rig.source.add(
                entry(number, notice(target="hangs", incident_id=f"i{number}")),
                entry(100 + number, notice(target="works", incident_id=f"i{number}")),
            )
        await rig.clock.advance(0)  # no time passes at all
        assert len([1 for target, _, _ in rig.world.got if target == "works"]) == 50
        assert rig.channels["hangs"].running == lane.concurrency + lane.urgent_places
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        for number in range(50):
            assert rig.world.receipts_of(key(number)) == [ReceiptStatus.FAILED]
        assert rig.world.receipts[-1].detail == "after 2 attempts: no answer in 3000 ms"
        assert rig.channels["hangs"].running_max <= lane.concurrency + lane.urgent_places


async def test_a_panic_passes_everything_that_waits():
    lane = LaneSettings(concurrency=2, urgent_places=2, timeout_ms=5_000)

    def behave(delivery, attempt):
        return None if not delivery.urgent else DELIVERED

    async with Rig({"a": behave}, lane=lane) as rig:
        for number in range(20):
            body = notice(AlarmClass.LEGAL, target="a", incident_id=f"i{number}")
            rig.source.add(entry(number, body))
        await rig.clock.advance(10)
        rig.source.add(entry(99, notice(AlarmClass.PANIC, target="a", incident_id="p")))
        await rig.clock.advance(0)
        assert rig.world.got == [("a", key(99), START_MS + 10)]
        assert rig.value("afstand_notify_end_to_end_seconds_count", target="a", urgent="yes") == 1


async def test_a_full_lane_fails_the_least_important_so_that_the_plan_falls_back():
    lane = LaneSettings(concurrency=1, urgent_places=1, queue_max=2, age_ms_max=1_000)
    async with Rig({"a": hang}, lane=lane) as rig:
        for number in range(6):
            body = notice(AlarmClass.LEGAL, target="a", incident_id=f"i{number}")
            rig.source.add(entry(number, body))
            await rig.clock.advance(0)
        failed = [receipt.key for receipt in rig.world.receipts]
        assert failed == [key(3), key(4), key(5)]
        assert {receipt.detail for receipt in rig.world.receipts} == {"queue-full"}


async def test_an_unknown_target_fails_at_once_with_a_reason():
    async with Rig({"a": good}) as rig:
        rig.source.add(entry(1, notice(target="nobody"), notice(target="a")))
        await rig.clock.advance(0)
        assert rig.world.receipts_of(key(1, 0)) == [ReceiptStatus.FAILED]
        failed = next(r for r in rig.world.receipts if r.key == key(1, 0))
        assert (failed.target, failed.detail) == ("nobody", "unknown-target")
        assert rig.world.receipts_of(key(1, 1)) == [ReceiptStatus.DELIVERED]
        assert rig.world.all_acknowledged
        assert rig.value("afstand_notify_faults_total", reason="unknown-target") == 1
        # A name from outside is no label.
        assert rig.value("afstand_notify_deliveries_total", target="unknown", status="failed") == 1


async def test_an_audience_that_the_target_must_not_see_is_never_sent():
    async with Rig({"a": good}, audiences=frozenset({Audience.PROBATION})) as rig:
        rig.source.add(entry(1, notice(target="a", audience=Audience.POLICE)))
        await rig.clock.advance(0)
        assert rig.world.sent == []
        assert rig.world.receipts[0].detail == "audience-not-allowed: police"


async def test_poison_outputs_fail_and_the_next_is_unharmed():
    packed = msgspec.msgpack.encode(notice(target="a"))
    bad = msgspec.msgpack.encode({"type": "notice", "target": "a", "alarm_class": 17})
    newer = msgspec.msgpack.encode({"type": "record-of-a-newer-version", "x": 1})
    async with Rig({"a": good}) as rig:
        rig.source.add(entry(1, b"\xc1\xff", bad, packed, newer, packed[:-3]))
        rig.source.add(entry(2, fault="blob of an unknown version 9"))
        rig.source.add(entry(3, msgspec.Raw(packed)))
        await rig.clock.advance(0)
        assert [k for _, k, _ in rig.world.got] == [key(1, 2), key(3)]
        details = {r.key: r.detail for r in rig.world.receipts if r.status is ReceiptStatus.FAILED}
        assert set(details) == {key(1, 0), key(1, 1), key(1, 4), key(2, 0)}
        assert details[key(1, 1)].startswith("poison-output: ")
        assert details[key(2, 0)] == "poison-entry: blob of an unknown version 9"
        assert next(r for r in rig.world.receipts if r.key == key(1, 1)).target == "a"
        assert rig.world.all_acknowledged


async def test_what_cannot_be_rendered_is_a_final_failure_without_a_word_to_the_circuit():
    def behave(delivery, attempt):
        return RenderError("no device") if delivery.key == key(1) else DELIVERED

    async with Rig({"a": behave}) as rig:
        rig.source.add(entry(1, notice(target="a")), entry(2, notice(target="a")))
        await rig.clock.advance(0)
        assert rig.world.receipts_of(key(1)) == [ReceiptStatus.FAILED]
        assert rig.world.receipts_of(key(2)) == [ReceiptStatus.DELIVERED]


async def test_a_fault_of_a_channel_is_tried_again_and_stops_nobody(caplog):
    def behave(delivery, attempt):
        return KeyError("a bug") if delivery.key == key(1) and attempt < 3 else DELIVERED

    async with Rig({"a": behave}) as rig:
        rig.source.add(entry(1, notice(target="a")), entry(2, notice(target="a")))
        await rig.clock.advance(0)
        assert rig.world.receipts_of(key(2)) == [ReceiptStatus.DELIVERED]
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        assert rig.world.receipts_of(key(1)) == [ReceiptStatus.DELIVERED]
    assert "a bug" in caplog.text


async def test_refused_is_final():
    async with Rig({"a": lambda *_: REFUSED}) as rig:
        rig.source.add(entry(1, notice(target="a")))
        await rig.clock.advance(600_000)
        assert len(rig.world.sent) == 1
        assert rig.world.receipts_of(key(1)) == [ReceiptStatus.REFUSED]


class TestCommands:
    async def test_they_are_sent_and_give_no_receipt(self):
        async with Rig({LANE_COMMANDS: good}) as rig:
            rig.source.add(entry(1, command()))
            await rig.clock.advance(0)
            assert rig.world.got == [(LANE_COMMANDS, key(1), START_MS)]
            assert rig.world.receipts == []
            assert rig.world.all_acknowledged

    async def test_an_expired_command_is_never_sent(self):
        async with Rig({LANE_COMMANDS: good}) as rig:
            rig.source.add(entry(1, command(expires_ms=START_MS)))
            await rig.clock.advance(0)
            assert rig.world.sent == []
            assert rig.world.all_acknowledged

    async def test_it_expires_between_attempts(self):
        async with Rig({LANE_COMMANDS: lambda *_: RETRY}) as rig:
            rig.source.add(entry(1, command(expires_ms=START_MS + 5_000)))
            await rig.clock.run_until(lambda: rig.world.all_acknowledged)
            assert max(at_ms for _, _, at_ms in rig.world.sent) < START_MS + 5_000

    async def test_without_a_broker_they_are_counted_and_let_go(self):
        async with Rig({"a": good}) as rig:
            rig.source.add(entry(1, command()))
            await rig.clock.advance(0)
            assert rig.world.all_acknowledged
            assert rig.world.receipts == []
            assert rig.value("afstand_notify_faults_total", reason="unknown-target") == 1


class TestLog:
    async def test_it_is_looked_at_inside_the_retry_loop(self):
        async with Rig({"a": lambda *_: RETRY}) as rig:
            rig.source.add(entry(1, notice(target="a")))
            await rig.clock.advance(100)
            assert len(rig.world.sent) == 1
            # Another notifier, or the receiver over HTTP, settles it meanwhile.
            await rig.world.log.note(key(1), "a", ReceiptStatus.ACKNOWLEDGED)
            await rig.clock.run_until(lambda: rig.world.all_acknowledged)
            assert len(rig.world.sent) == 1
            assert rig.value("afstand_notify_skipped_total", why="settled-before") == 1

    async def test_a_redelivered_entry_is_not_sent_again_when_it_is_known_to_be_done(self):
        world = World([entry(1, notice(target="a"))])
        world.given.add(world.entries[0].entry_key)
        await world.log.note(key(1), "a", ReceiptStatus.DELIVERED)
        async with Rig({"a": good}, world=world) as rig:
            await rig.clock.advance(0)
            assert world.sent == []
            assert world.acknowledged == {world.entries[0].entry_key}

    @pytest.mark.parametrize("trouble", ["raises", "hangs"])
    async def test_a_log_in_trouble_delays_little_and_loses_nothing(self, trouble):
        class BadLog:
            async def settled(self, key):
                if trouble == "raises":
                    raise ConnectionError
                await asyncio.Event().wait()

            target_of = settled

            async def note(self, key, target, status):
                await self.settled(key)

        world = World([entry(1, notice(target="a"))])
        world.given.add(world.entries[0].entry_key)
        async with Rig({"a": good}, world=world, log=BadLog()) as rig:
            await rig.clock.advance(250)
            assert [k for _, k, _ in world.got] == [key(1)]
            await rig.clock.run_until(lambda: world.all_acknowledged)
            assert world.receipts_of(key(1)) == [ReceiptStatus.DELIVERED]


async def test_a_journal_that_is_away_is_waited_for_and_nothing_is_acknowledged_before():
    world = World()
    down = {"down": True}

    async def journal(receipt):
        if down["down"]:
            raise ConnectionError
        world.receipts.append(receipt)

    async with Rig({"a": good}, world=world, journal=journal) as rig:
        rig.source.add(entry(1, notice(target="a")))
        await rig.clock.advance(120_000)
        assert not world.all_acknowledged
        assert len(world.sent) == 1  # the message itself is not sent again
        down["down"] = False
        await rig.clock.advance(5_000)
        assert world.receipts_of(key(1)) == [ReceiptStatus.DELIVERED]
        assert world.all_acknowledged


async def test_the_outbox_may_fail_and_comes_back():
    async with Rig({"a": good}) as rig:
        real_take, real_ack = rig.source.take, rig.source.acknowledge
        failures = {"take": 3, "ack": 3}

        async def take(count_max):
            if failures["take"]:
                failures["take"] -= 1
                raise ConnectionError
            return await real_take(count_max)

        async def acknowledge(entries):
            if failures["ack"]:
                failures["ack"] -= 1
                raise ConnectionError
            await real_ack(entries)

        rig.source.take, rig.source.acknowledge = take, acknowledge
        rig.source.add(entry(1, notice(target="a")))
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        rig.source.add(entry(2, notice(target="a")))
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        assert [k for _, k, _ in rig.world.got] == [key(1), key(2)]


async def test_an_entry_given_twice_is_worked_on_once():
    async with Rig({"a": hang}, lane=LaneSettings(timeout_ms=60_000)) as rig:
        rig.source.add(entry(1, notice(target="a")))
        await rig.clock.advance(0)
        rig.source._given.clear()
        rig.source.add(entry(2, notice(target="a", incident_id="other")))
        await rig.clock.advance(0)
        assert sorted(k for _, k, _ in rig.world.sent) == [key(1), key(2)]


async def test_a_withdrawal_never_overtakes_its_alarm():
    def behave(delivery, attempt):
        return RETRY if delivery.key == key(1) and attempt < 4 else DELIVERED

    async with Rig({"a": behave}) as rig:
        rig.source.add(
            entry(1, notice(target="a")), entry(2, notice(target="a", purpose=Purpose.WITHDRAWN))
        )
        await rig.clock.run_until(lambda: rig.world.all_acknowledged)
        assert [k for _, k, _ in rig.world.got] == [key(1), key(2)]


async def test_stop_lets_what_is_under_way_end_and_leaves_the_rest_in_the_outbox():
    gate = asyncio.Event()
    async with Rig({"a": good, "b": hang}) as rig:
        channel = rig.channels["a"]
        real_send = channel.send

        async def send(delivery, now_ms):
            await gate.wait()
            return await real_send(delivery, now_ms)

        channel.send = send
        rig.source.add(entry(1, notice(target="a")), entry(2, notice(target="b")))
        await rig.clock.advance(0)
        rig.notifier.stop()
        await rig.clock.advance(100)
        gate.set()
        await rig.clock.advance(6_000)
        assert rig.task.done()
        assert rig.world.receipts_of(key(1)) == [ReceiptStatus.DELIVERED]
        assert rig.world.acknowledged == {rig.world.entries[0].entry_key}


@pytest.mark.slow
async def test_a_thousand_hanging_notices_do_not_stop_the_taking():
    lane = LaneSettings(queue_max=1_000, timeout_ms=60_000)
    async with Rig({"hangs": hang, "works": good}, lane=lane) as rig:
        rig.source.add(
            *[entry(n, notice(target="hangs", incident_id=f"{n}")) for n in range(3_000)]
        )
        await rig.clock.advance(0)
        rig.source.add(entry(9_000, notice(target="works")))
        await rig.clock.advance(0)
        assert [k for target, k, _ in rig.world.got if target == "works"] == [key(9_000)]
        # What the lane could not hold has failed with a reason, and is not silent.
        assert len(rig.world.receipts) == 3_000 - 1_000 - 12 + 1
