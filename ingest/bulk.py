"""The checks of `checks.py` for many plain fix frames at once.

Nearly everything that arrives is one thing: a frame of contract version 1.0 with one fix in it,
from a registered device, in order. Those are checked here, column by column, at a fraction of the
cost. Whatever is anything else, or is refused, is left to `Checker.check`, which alone gives
reasons; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts.codes import TAG_BYTES
from ingest.acks import warm_up as warm_up_acks
from ingest.checks import Checker, Device
from ingest.judge import judge
from ingest.mqtt_codec import Message
from ingest.pending import Fixes
from ingest.scan import PLAIN, PLAIN_BYTES, Run
from ingest.scan import warm_up as warm_up_scan
from ingest.tags import Tags
from ingest.tags import warm_up as warm_up_tags

Ints = npt.NDArray[np.int64]

_HANDLE, _SERIAL, _PARTITION, _COLUMNS = 0, 1, 2, 3
_ROOM_FIRST: Final = 1_024


class Plain(NamedTuple):
    """Fixes that pass, of one partition, and their tags."""

    partition: str
    fixes: Fixes
    tags: list[bytes]


class Bulk:
    """Splits a run into the frames that pass and the messages that need a closer look.

    `generation` changes whenever any device's record does.
    """

    def __init__(self, checker: Checker, generation: Callable[[], int]) -> None:
        self._checker = checker
        self._generation = generation
        self._known_generation = generation()
        self._tags = Tags()
        # Of the devices heard of, by row; as many as are registered.
        self._rows: dict[bytes, int] = {}  # by fix topic
        self._devices: list[Device] = []
        self._columns = np.zeros((_COLUMNS, _ROOM_FIRST), np.int64)
        self._partitions: dict[str, int] = {}

    def check(self, run: Run) -> tuple[list[Plain], list[Message]]:
        """Return the frames that pass, each once, by partition, and all others as messages."""
        rows = self._rows_of(run.topics())
        frames = run.frames
        latest_ms = run.received_ms + self._checker.clock_ahead_ms_max
        good, boots, sequences = judge(frames, latest_ms)
        raw = frames.tobytes()
        ends = range(PLAIN_BYTES, len(raw) + 1, PLAIN_BYTES)
        tags = [raw[end - TAG_BYTES : end] for end in ends]
        good &= self._tags.valid(rows, frames)
        self._leave_copies(tags, good)
        among = self._columns[_PARTITION, rows]
        if good.all() and len(rows) and (among == among[0]).all():
            return [self._plain(run, rows, boots, sequences, tags)], []
        passed = []
        for number in dict.fromkeys(among[good].tolist()):
            at = np.flatnonzero(good & (among == number))
            part = Run(run.link, run.received_ms, run.raw, run.rows[at], frames[at])
            theirs = [tags[index] for index in at.tolist()]
            passed.append(self._plain(part, rows[at], boots[at], sequences[at], theirs))
        return passed, [run.message(index) for index in np.flatnonzero(~good).tolist()]

    def _plain(
        self, run: Run, rows: Ints, boots: Ints, sequences: Ints, tags: list[bytes]
    ) -> Plain:
        known = self._devices
        devices = [known[row] for row in rows.tolist()]
        fixes = Fixes(
            run.link,
            run.received_ms,
            run.rows[:, 2],
            devices,
            self._columns[_HANDLE, rows],
            self._columns[_SERIAL, rows],
            boots,
            sequences,
            run.frames,
        )
        return Plain(devices[0].partition, fixes, tags)

    def _rows_of(self, topics: list[bytes]) -> Ints:
        """Return the row of the device of each topic, -1 for what is no device's fix topic."""
        generation = self._generation()
        if generation != self._known_generation:
            self._known_generation = generation
            self._rows.clear()
            self._devices.clear()
            self._tags.clear()
        found = list(map(self._rows.get, topics))
        if None in found:
            found = [self._row(topic) for topic in topics]
        return np.array(found, np.int64)

    def _row(self, topic: bytes) -> int:
        row = self._rows.get(topic)
        if row is not None:
            return row
        device = self._checker.device_of_fix(topic.decode("utf-8", "replace"))
        if device is None or device.tagger is None:
            return -1
        row = self._tags.add(device.device_id, device.record.key, device.tagger)
        self._rows[topic] = row
        self._devices.append(device)
        if row == self._columns.shape[1]:
            self._columns = np.hstack((self._columns, np.zeros_like(self._columns)))
        partition = self._partitions.setdefault(device.partition, len(self._partitions))
        self._columns[:, row] = device.handle, device.serial, partition
        return row

    def _leave_copies(self, tags: list[bytes], good: npt.NDArray[np.bool_]) -> None:
        """Let no frame pass that is known, or that stands before in the same batch."""
        seen = self._checker.seen
        if len(set(tags)) == len(tags) and not seen.knows_any(tags):
            return
        before: set[bytes] = set()
        for index, tag in enumerate(tags):
            if tag in before or seen.find(tag) is not None:
                good[index] = False
            elif good[index]:  # a forged one shuts nobody out
                before.add(tag)


def warm_up() -> None:
    """Compile the kernels, so that the first message does not wait for them."""
    warm_up_scan()
    warm_up_tags()
    warm_up_acks()
    judge(np.zeros(1, PLAIN), 0)
