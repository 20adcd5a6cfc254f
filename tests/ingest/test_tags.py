"""Tags of many frames: the same answers as `Tagger`, with the processor's AES and without."""

import random

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from firmware_contracts.codes import TAG_BYTES
from firmware_contracts.frames import Tagger
from ingest import tags as module
from ingest.scan import PLAIN_BYTES
from ingest.tags import Tags, has_instructions

SEED = 2026
WAYS = [False, True] if has_instructions() else [False]


def frames_of(bodies):
    return np.array([np.void(body) for body in bodies])


@pytest.mark.parametrize("instructions", WAYS)
@pytest.mark.parametrize("body_bytes", [1, 15, 16, 17, 31, PLAIN_BYTES - TAG_BYTES, 64])
def test_every_tag_is_that_of_the_cmac_of_the_library(instructions, body_bytes):
    rng = random.Random(SEED)
    tags, rows, frames = Tags(instructions=instructions), [], []
    for length in range(1, 65):
        name = "".join(rng.choices("abcXYZ09._-", k=length))
        key = rng.randbytes(16)
        body = rng.randbytes(body_bytes)
        cmac = CMAC(AES(key))
        cmac.update(bytes([length]) + name.encode() + body)
        rows.append(tags.add(name, key, Tagger(name, key)))
        frames.append(body + cmac.finalize())
    assert tags.valid(np.array(rows), frames_of(frames)).all()


@pytest.mark.parametrize("instructions", WAYS)
def test_one_bit_anywhere_another_device_or_nobody_is_not_valid(instructions):
    rng = random.Random(SEED)
    tags, key = Tags(instructions=instructions), rng.randbytes(16)
    own = tags.add("em-1", key, Tagger("em-1", key))
    other = tags.add("em-2", key, Tagger("em-2", key))
    body = rng.randbytes(PLAIN_BYTES - TAG_BYTES)
    frame = body + Tagger("em-1", key).tag(body)
    changed = []
    for bit in range(8 * PLAIN_BYTES):
        raw = bytearray(frame)
        raw[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(raw))
    assert not tags.valid(np.full(len(changed), own), frames_of(changed)).any()
    frames = frames_of([frame, frame, frame])
    assert tags.valid(np.array([own, other, -1]), frames).tolist() == [True, False, False]


@pytest.mark.parametrize("instructions", WAYS)
def test_more_devices_than_there_was_room_for(instructions, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_FIRST", 2)
    tags, frames = Tags(instructions=instructions), []
    for number in range(9):
        name, key = f"em-{number}", bytes([number]) * 16
        assert tags.add(name, key, Tagger(name, key)) == number
        frames.append(b"frame" + Tagger(name, key).tag(b"frame"))
    assert tags.valid(np.arange(9), frames_of(frames)).all()
    tags.clear()
    assert tags.add("em-0", bytes(16), Tagger("em-0", bytes(16))) == 0
    assert tags.valid(np.array([0]), frames_of(frames[:1])).all()


def test_the_processors_aes_is_not_used_when_compiling_for_another(monkeypatch):
    monkeypatch.setattr("numba.config.CPU_NAME", "generic")
    assert not has_instructions()
