"""The checks of `checks.py` for many plain fix frames at once.

Nearly everything that arrives is one thing: a frame of contract version 1.0 with one fix in it,
from a registered device, in order. Those are checked here, column by column, at a fraction of the
cost. Whatever is anything else, or is refused, is left to `Checker.check`, which alone gives
reasons; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts.codes import TAG_BYTES
from ingest.checks import Checker, Device
from ingest.judge import judge
from ingest.mqtt_codec import Message
from ingest.pending import Fixes
from ingest.scan import PLAIN, PLAIN_BYTES, Run
from ingest.scan import warm_up as warm_up_scan


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
        self._devices: dict[bytes, Device] = {}  # by fix topic; as many as are registered

    def check(self, run: Run) -> tuple[list[Plain], list[Message]]:
        """Return the frames that pass, each once, by partition, and all others as messages."""
        known = self._topics()
        found = [known.get(topic) or self._device(topic) for topic in run.topics()]
        frames = run.frames
        latest_ms = run.received_ms + self._checker.clock_ahead_ms_max
        good, boots, sequences = judge(frames, latest_ms)
        raw = frames.tobytes()
        payloads = [raw[at : at + PLAIN_BYTES] for at in range(0, len(raw), PLAIN_BYTES)]
        tags = [payload[-TAG_BYTES:] for payload in payloads]
        good &= np.fromiter(map(_valid, found, payloads), np.bool_, len(found))
        self._leave_copies(tags, good)
        devices = [device for device in found if device is not None]
        if good.all():
            numbers = boots.tolist(), sequences.tolist()
            fixes = Fixes(run.link, run.received_ms, run.rows[:, 2], devices, *numbers, frames)
            if len({device.partition for device in devices}) == 1:
                return [Plain(devices[0].partition, fixes, tags)], []
        partitions = [
            device.partition if device is not None and passes else ""
            for device, passes in zip(found, good.tolist(), strict=True)
        ]
        rest = [run.message(index) for index, name in enumerate(partitions) if not name]
        return _by_partition(run, frames, found, tags, partitions), rest

    def _topics(self) -> dict[bytes, Device]:
        generation = self._generation()
        if generation != self._known_generation:
            self._known_generation = generation
            self._devices.clear()
        return self._devices

    def _device(self, topic: bytes) -> Device | None:
        device = self._checker.device_of_fix(topic.decode("utf-8", "replace"))
        if device is not None:
            self._devices[topic] = device
        return device

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


def _valid(device: Device | None, payload: bytes) -> bool:
    return device is not None and device.tagger is not None and device.tagger.valid(payload)


def _by_partition(
    run: Run,
    frames: npt.NDArray[np.void],
    found: list[Device | None],
    tags: list[bytes],
    partitions: list[str],
) -> list[Plain]:
    """Cut a run by the partitions of its devices, leaving out where there is none."""
    plain: list[Plain] = []
    for partition in dict.fromkeys(partitions):
        if not partition:
            continue
        chosen = [index for index, name in enumerate(partitions) if name == partition]
        part = frames[chosen]
        header = part["header"]
        fixes = Fixes(
            run.link,
            run.received_ms,
            run.rows[chosen, 2],
            [device for index in chosen if (device := found[index]) is not None],
            header["boot"].tolist(),
            header["sequence"].tolist(),
            part,
        )
        plain.append(Plain(partition, fixes, [tags[index] for index in chosen]))
    return plain


def warm_up() -> None:
    """Compile the kernels, so that the first message does not wait for them."""
    warm_up_scan()
    judge(np.zeros(1, PLAIN), 0)
