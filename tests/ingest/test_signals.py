"""When the watch is told of bad input."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand.limits import (
    CLOCK_SIGNAL_EVERY_MS,
    QUARANTINE_BURST_MESSAGES,
    QUARANTINE_SIGNAL_EVERY_MS,
)
from ingest.signals import Signals

NOW_MS = 1_790_000_000_000


def body(signal):
    return msgspec.msgpack.decode(signal.blob)


def refuse(signals, count, *, now_ms=NOW_MS, reason="bad-tag", event_topic=False):
    for n in range(count):
        signals.refused(reason, f"em/d{n}/fix", now_ms, event_topic=event_topic)


def test_a_drip_is_no_burst():
    signals = Signals("p0")
    for n in range(200):
        refuse(signals, 1, now_ms=NOW_MS + 1000 * n)
        assert signals.due(NOW_MS + 1000 * n) is None


def test_a_burst_is_told_with_its_counts():
    signals = Signals("p7")
    refuse(signals, QUARANTINE_BURST_MESSAGES - 1)
    assert signals.due(NOW_MS) is None
    refuse(signals, 1, reason="truncated")
    told = signals.due(NOW_MS)
    assert told is not None
    assert told.partition == "p7"
    assert body(told)["signal"] == "quarantine"
    assert body(told)["counts"] == {"bad-tag": QUARANTINE_BURST_MESSAGES - 1, "truncated": 1}
    assert len(body(told)["devices"]) <= 20


def test_a_long_burst_is_told_at_its_rate_and_counts_nothing_twice():
    signals, told = Signals("p0"), []
    for second in range(100):
        now_ms = NOW_MS + 1000 * second
        refuse(signals, 50, now_ms=now_ms)
        if signal := signals.due(now_ms):
            told.append(body(signal)["counts"]["bad-tag"])
    assert len(told) == 100_000 // QUARANTINE_SIGNAL_EVERY_MS
    assert sum(told) <= 5000


def test_anything_refused_on_an_event_topic_is_told_at_once():
    signals = Signals("p0")
    refuse(signals, 1, event_topic=True)
    told = signals.due(NOW_MS)
    assert told is not None
    assert "event topic" in body(told)["detail"]
    refuse(signals, 1, event_topic=True)
    assert signals.due(NOW_MS + 1) is None
    later = signals.due(NOW_MS + QUARANTINE_SIGNAL_EVERY_MS)
    assert later is not None
    assert body(later)["counts"] == {"bad-tag": 1}


def test_a_wrong_clock_is_told_once_an_hour_and_device():
    signals = Signals("p0")
    first = signals.clock_fault("d1", "p3", NOW_MS)
    assert first is not None
    assert first.partition == "p3"
    assert body(first) == {"signal": "clock-fault", "counts": {}, "devices": ["d1"], "detail": ""}
    assert signals.clock_fault("d1", "p3", NOW_MS + CLOCK_SIGNAL_EVERY_MS - 1) is None
    assert signals.clock_fault("d2", "p3", NOW_MS) is not None
    assert signals.clock_fault("d1", "p3", NOW_MS + CLOCK_SIGNAL_EVERY_MS) is not None


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 40), st.booleans()), max_size=40))
def test_signals_never_come_faster_than_their_rate(draws):
    signals, told_ms, now_ms = Signals("p0"), [], NOW_MS
    for step_ms, count, event_topic in draws:
        now_ms += step_ms
        refuse(signals, count, now_ms=now_ms, event_topic=event_topic)
        if signals.due(now_ms):
            told_ms.append(now_ms)
        else:
            recently = told_ms and now_ms - told_ms[-1] < QUARANTINE_SIGNAL_EVERY_MS
            assert recently or (count < QUARANTINE_BURST_MESSAGES and not event_topic)
    gaps = [b - a for a, b in pairwise(told_ms)]
    assert all(gap >= QUARANTINE_SIGNAL_EVERY_MS for gap in gaps)
