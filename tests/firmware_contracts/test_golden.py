"""The golden vectors: frames that were once valid stay readable for ever, and mean the same."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firmware_contracts
from firmware_contracts import (
    Fault,
    FrameError,
    Kind,
    Tagger,
    decode_acks,
    decode_commands,
    fault_of,
    read_header,
)
from firmware_contracts.batch import decode_batch
from tests.firmware_contracts.samples import ACK, COMMAND, frame, joined

GOLDEN = Path(firmware_contracts.__file__).parent / "golden"
VERSION_ONE = json.loads((GOLDEN / "v1" / "frames.json").read_text(encoding="utf-8"))
SOUND: list[dict[str, Any]] = VERSION_ONE["sound"]
REFUSED: list[dict[str, Any]] = VERSION_ONE["refused"]


def raw(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["frame"])


def tagger(vector: dict[str, Any]) -> Tagger:
    return Tagger(vector["device"], bytes.fromhex(vector["key"]))


def named(vectors: list[dict[str, Any]]) -> Callable[..., Any]:
    return pytest.mark.parametrize("vector", vectors, ids=[one["name"] for one in vectors])


def test_the_vectors_are_the_ones_that_were_published():
    """FC-012: a new vector goes into a new file; this one never changes."""
    digest = hashlib.sha256((GOLDEN / "v1" / "frames.json").read_bytes()).hexdigest()
    assert digest == "edc11e19e19afa7b0222711afc10249ac74e98310a4626b6014e1cf2a3c880e4"
    assert VERSION_ONE["format"] == "afstand.golden/1"


@named(SOUND)
def test_a_sound_frame_is_taken(vector):
    """FC-012."""
    header = read_header(raw(vector))
    assert tagger(vector).valid(raw(vector))
    for name, value in vector["header"].items():
        found = getattr(header, name)
        assert (found.name if name == "kind" else found) == value


@named([one for one in SOUND if one["header"]["minor"] == 0])
def test_a_sound_frame_is_written_the_same_today(vector):
    """FC-012: by the writer of the tests, which knows the specification only."""
    head = vector["header"]
    kind = Kind[head["kind"]]
    rows = [
        [value.encode() if isinstance(value, str) else value for value in record.values()]
        for record in vector["records"]
    ]
    again = frame(
        kind, rows, boot=head["boot"], sequence=head["sequence"], time_ms=head["device_time_ms"],
        device=vector["device"], key=bytes.fromhex(vector["key"]),
    )  # fmt: skip
    assert again == raw(vector)


def test_records_of_devices_are_read_as_they_were_written():
    """FC-005, FC-012: all of them in one batch."""
    vectors = [one for one in SOUND if one["header"]["kind"] in ("FIX", "EVENT", "STATUS")]
    batch = decode_batch(*joined([raw(one) for one in vectors]))
    assert not batch.fault.any()
    columns: Any
    for kind, columns in zip(("FIX", "EVENT", "STATUS"), batch[:3], strict=True):
        mine = [
            (index, one["header"], record)
            for index, one in enumerate(vectors)
            if one["header"]["kind"] == kind
            for record in one["records"]
        ]
        assert columns.frame.tolist() == [index for index, _, _ in mine]
        sealed = np.array([head["device_time_ms"] for _, head, _ in mine])
        offsets = np.array([record["time_offset_ms"] for _, _, record in mine])
        assert columns.time_ms.tolist() == np.where(sealed > 0, sealed + offsets, 0).tolist()
        for name in ("boot", "sequence"):
            assert getattr(columns, name).tolist() == [head[name] for _, head, _ in mine]
        for name in set(columns._fields) & set(mine[0][2]):
            assert getattr(columns, name).tolist() == [record[name] for _, _, record in mine], name


@named([one for one in SOUND if one["header"]["kind"] in ("ACK", "COMMAND")])
def test_records_of_the_server_are_read_as_they_were_written(vector):
    """FC-012."""
    read = decode_acks if vector["header"]["kind"] == "ACK" else decode_commands
    assert [record._asdict() for record in read(raw(vector))] == vector["records"]


def first_fault(vector: dict[str, Any]) -> Fault | None:
    """The fault of a frame as the specification's order has it: structure, tag, values."""
    try:
        header = read_header(raw(vector))
        if not tagger(vector).valid(raw(vector)):
            return Fault.BAD_TAG
        if header.kind == ACK:
            decode_acks(raw(vector))
        if header.kind == COMMAND:
            decode_commands(raw(vector))
    except FrameError as error:
        return error.fault
    return fault_of(int(decode_batch(*joined([raw(vector)])).fault[0]))


@named(REFUSED)
def test_a_refused_frame_has_its_reason(vector):
    """FC-003 to FC-009, FC-021, FC-035 to FC-044."""
    assert first_fault(vector) is Fault(vector["fault"])


def test_refused_frames_harm_no_sound_ones():
    """FC-011: the whole file, sound and refused in turn."""
    sound = [raw(one) for one in SOUND if one["header"]["kind"] in ("FIX", "EVENT", "STATUS")]
    bad = [raw(one) for one in REFUSED if one["fault"] != "bad-tag"]
    frames = [one for pair in zip(sound, bad, strict=False) for one in pair]
    assert [bool(number) for number in decode_batch(*joined(frames)).fault] == [False, True] * (
        len(frames) // 2
    )
