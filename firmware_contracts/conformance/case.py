"""The log of a test in the form that the judges ask questions of."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from firmware_contracts.codes import TAG_BYTES, Kind
from firmware_contracts.conformance.frames import ANSWERS, Frame, answer_value, read_frames
from firmware_contracts.conformance.log import (
    Did,
    Ended,
    Heard,
    Item,
    Patience,
    Purpose,
    Stimulus,
    Told,
    Withheld,
)
from firmware_contracts.table import HEADER_BYTES


class Result(StrEnum):
    """What became of a sentence."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    NOT_SEEN = "not seen"


class Finding(NamedTuple):
    """One thing that speaks for or against a sentence, and what shows it."""

    sentence: str
    ok: bool
    shown_by: Heard | Told | Did | None
    why: str


Findings = Iterator[Finding]
Content = tuple[Kind, int, bytes]


def content(frame: Frame) -> Content:
    """What a frame says, whatever its number is: the same records sealed at the same moment.

    Without a clock the moment is not known; then the number belongs to it.
    """
    assert frame.header is not None
    sealed_ms = frame.header.device_time_ms
    body = frame.item.payload[HEADER_BYTES if sealed_ms else 0 : -TAG_BYTES]
    return frame.header.kind, sealed_ms, body


class Case:
    """A log, read."""

    def __init__(self, items: list[Item], device_id: str, key: bytes, patience: Patience) -> None:
        self.items = items
        self.device_id = device_id
        self.patience = patience
        self.frames = read_frames(items, device_id, key)
        self.told = [item for item in items if isinstance(item, Told)]
        self.did = [item for item in items if isinstance(item, Did)]
        self.end_ms = max(
            (item.at_ms for item in items if isinstance(item, Ended)),
            default=items[-1].at_ms if items else 0,
        )
        # What the device sealed, each once, with all the times it was heard.
        self.sent: dict[Content, list[Frame]] = {}
        for frame in self.frames:
            if frame.header is not None and frame.tag_valid and frame.header.sequence:
                self.sent.setdefault(content(frame), []).append(frame)
        self.first: list[Frame] = [frames[0] for frames in self.sent.values()]

    def heard(self, frame: Frame) -> list[Frame]:
        """Every time that a proven frame was heard, the first included."""
        return self.sent[content(frame)]

    # --- time

    def stimuli(self, *wanted: Stimulus) -> list[Did]:
        """What was done of these kinds, in order."""
        return [did for did in self.did if did.what in wanted]

    def state(self, at_ms: int, off: Stimulus, on: Stimulus) -> bool:
        """Tell whether something that is on, unless switched off, is on at a moment."""
        switched = [did for did in self.stimuli(off, on) if did.at_ms <= at_ms]
        return not switched or switched[-1].what is on

    def linked(self, at_ms: int) -> bool:
        """Whether the rig let the device be connected."""
        return self.state(at_ms, Stimulus.LINK_CUT, Stimulus.LINK_UP)

    def clock_set(self, at_ms: int) -> bool:
        """Whether the device's clock was set, as far as the test is concerned."""
        return self.state(at_ms, Stimulus.CLOCK_UNSET, Stimulus.CLOCK_SET)

    def undisturbed(self, from_ms: int, to_ms: int) -> bool:
        """Tell whether nothing broke the link or restarted the device in between."""
        broken = self.stimuli(Stimulus.LINK_CUT, Stimulus.BOOT)
        return self.linked(from_ms) and not any(from_ms <= did.at_ms <= to_ms for did in broken)

    # --- acks

    def acked_ms(self, frame: Frame) -> int | None:
        """When a frame was acked by a true ack after it was first heard; None = never."""
        keys = {one.key for one in self.heard(frame)}
        times = [
            told.at_ms
            for told in self.told
            if told.purpose is Purpose.ACK and told.at_ms >= frame.at_ms
            for boot, first, last in told.ranges
            if any(boot == of and first <= number <= last for of, number in keys)
        ]
        return min(times, default=None)

    def tried(self, *purposes: Purpose) -> list[tuple[Told, Frame]]:
        """False acks, each with the frame that it must not let go."""
        return [
            (told, frame)
            for told in self.told
            if told.purpose in purposes
            for frame in self.first
            if frame.kept and frame.key == told.about and frame.at_ms <= told.at_ms
        ]

    def withheld(self) -> list[tuple[int, int]]:
        """The spans of time in which no true ack was given."""
        spans, begun = [], None
        for item in self.items:
            if isinstance(item, Withheld) and item.on and begun is None:
                begun = item.at_ms
            elif isinstance(item, Withheld) and not item.on and begun is not None:
                spans.append((begun, item.at_ms))
                begun = None
        return spans if begun is None else [*spans, (begun, self.end_ms)]

    # --- commands

    def answers(self, told: Told) -> list[tuple[Frame, int]]:
        """The answers to a command that came after it was told: frame and code, each frame once."""
        value = answer_value(told.command_id)
        return [
            (frame, code)
            for frame in self.first
            if frame.at_ms >= told.at_ms
            for code, answered in frame.events()
            if code in ANSWERS and answered == value
        ]

    def commands(self, *purposes: Purpose) -> list[Told]:
        """The commands that were told for these purposes."""
        return [told for told in self.told if told.purpose in purposes]
