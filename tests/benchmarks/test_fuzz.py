"""Hostile input over every contract: a slice of `python -m benchmarks fuzz`, which can fail."""

import os

import pytest

from benchmarks.fuzz import KEY, NOW_MS, FuzzError, Target, fuzz
from firmware_contracts.faults import FAULTS
from firmware_contracts.frames import encode_status
from ingest import checks
from ingest.mqtt_codec import Message

SEED = int(os.environ.get("AFSTAND_SEED", "2026"))


@pytest.mark.slow
def test_a_slice_of_random_hostile_input_raises_nothing():
    outcomes = fuzz(12_000, SEED)
    assert sum(outcomes.values()) == 12_000, SEED
    reached = {fault.value for fault in FAULTS} & set(outcomes)
    assert {"bad-tag", "truncated", "impossible-value", "malformed-json"} <= reached, SEED
    assert outcomes["taken"] > 1_000, SEED


def message(payload: bytes, topic: str = "em/d-1/status") -> Message:
    return Message(topic, payload, 1, False, False, NOW_MS, 1)


def test_what_raises_is_found(monkeypatch):
    def broken(*_):
        raise IndexError("of ours")

    monkeypatch.setattr(checks, "read_owntracks", broken)
    with pytest.raises(FuzzError, match="IndexError: of ours"):
        Target().take(message(b"{}", "owntracks/jane/phone"))


def test_what_is_taken_and_cannot_be_read_is_found(monkeypatch):
    """So a status with a charge of 253 % once came into the journal."""
    frame = encode_status("d-1", KEY, boot=1, sequence=1, device_time_ms=NOW_MS, battery_pct=253)
    target = Target()
    target.take(message(frame))
    target.flush()
    assert target.outcomes == {"impossible-value": 1}
    monkeypatch.setattr(checks, "status_fault", lambda *_: "")
    target.take(message(frame))
    with pytest.raises(FuzzError, match=f"taken and not decoded: {frame.hex()}"):
        target.flush()
