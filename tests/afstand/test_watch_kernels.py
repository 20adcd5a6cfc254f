"""The compiled loops of a page, against zlib and against the runs of a device."""

import random
import zlib

import numpy as np
import pytest

from afstand.watch.frames import Devices
from afstand.watch.kernels import checksums
from afstand.watch.seen import Seen
from tests.conftest import run_seed


def test_checksums_are_those_of_zlib():
    rng = np.random.default_rng(run_seed())
    data = rng.integers(0, 256, 5000).astype(np.uint8)
    starts = rng.integers(0, 2000, 300)
    lengths = rng.integers(20, 3000, 300)
    found = checksums(data, starts, lengths, 16, 20).tolist()
    raw = data.tobytes()
    for start, length, crc in zip(starts.tolist(), lengths.tolist(), found, strict=True):
        part = raw[start : start + length]
        assert crc == zlib.crc32(part[:16] + part[20:])


@pytest.mark.parametrize("offset", range(5))
def test_frames_noted_together_count_as_one_by_one(offset):
    """In order, with gaps, copies, reboots, late ones, of known and of unknown handles."""
    seed = run_seed() + offset
    draw = random.Random(seed)
    known: dict[int, Seen] = {}
    devices = Devices()
    sent = dict.fromkeys((1, 2, 5, 1023, 1024, 5000), (1, 0))
    for _ in range(60):
        rows = []
        for _ in range(draw.randrange(1, 40)):
            handle = draw.choice(list(sent))
            boot, sequence = sent[handle]
            what = draw.random()
            if what < 0.8:
                sequence += 1
            elif what < 0.85:
                sequence += draw.randrange(2, 9)
            elif what < 0.9:
                boot, sequence = boot + 1, draw.randrange(5)
            else:
                sequence = max(0, sequence - draw.randrange(12))
            sent[handle] = max(sent[handle], (boot, sequence))
            rows.append((handle, boot, sequence, draw.random() < 0.95))
        expected = []
        for handle, boot, sequence, wanted in rows:
            if not wanted:
                expected.append(True)
            elif handle in known:
                expected.append(known[handle].add(boot, sequence))
            else:
                known[handle] = Seen(boot, sequence)
                expected.append(True)
        handles, boots, sequences, asked = (np.array(column) for column in zip(*rows, strict=True))
        assert devices.note_all(handles, boots, sequences, asked).tolist() == expected, seed
        if draw.random() < 0.2:
            devices._make_room(draw.choice([100, 3000]))
        devices.dump()
        runs = {handle: seen.dump() for handle, seen in devices.seen.items()}
        assert runs == {handle: seen.dump() for handle, seen in known.items()}, seed
