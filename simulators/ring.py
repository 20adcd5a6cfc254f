"""What a device keeps in flash until the server's ack covers it.

A frame leaves the ring for two reasons only: an ack range of the server covers it, or the ring is
full. In the second case status goes first, then the oldest fix, then the oldest event, and the loss
is counted.
"""

from typing import Final

import msgspec

from firmware_contracts import Kind, Lane

FrameKey = tuple[int, int]  # boot, sequence

LANES: Final[dict[Kind, Lane]] = {
    Kind.FIX: Lane.FIX,
    Kind.EVENT: Lane.EVENT,
    Kind.STATUS: Lane.STATUS,
}


class Stored(msgspec.Struct):
    """One sealed frame and when it was sent (None: it is not under way)."""

    kind: Kind
    boot: int
    sequence: int
    payload: bytes
    sent_ms: int | None = None

    @property
    def key(self) -> FrameKey:
        """What an ack range names it by."""
        return self.boot, self.sequence

    @property
    def lane(self) -> Lane:
        """The topic it goes to."""
        return LANES[self.kind]


class Pace(msgspec.Struct, frozen=True):
    """How a device sends.

    Frames under way at once, and after how long without the server's ack it sends again.
    """

    window: int = 16
    resend_ms: int = 30_000
    event_resend_ms: int = 10_000
    doublings_max: int = 4

    def faster(self, speed: float) -> "Pace":
        """The same with its patience divided, for tests."""
        return Pace(
            self.window,
            max(1, round(self.resend_ms / speed)),
            max(1, round(self.event_resend_ms / speed)),
            self.doublings_max,
        )


class Ring:
    """Frames by (boot, sequence), in the order they were made, events apart from the rest."""

    def __init__(self, frames_max: int, pace: Pace) -> None:
        if frames_max < 1:
            raise ValueError("a ring holds at least one frame")
        self._frames_max = frames_max
        self._pace = pace
        self._doublings = 0  # since the last ack that covered something
        self._events: dict[FrameKey, Stored] = {}
        self._fixes: dict[FrameKey, Stored] = {}
        self._status: dict[FrameKey, Stored] = {}
        self._under_way: dict[FrameKey, Stored] = {}
        self._live: FrameKey = (0, 0)  # the newest fix frame: not backlog
        self.dropped: dict[Kind, int] = {Kind.FIX: 0, Kind.EVENT: 0, Kind.STATUS: 0}

    def __len__(self) -> int:
        return len(self._events) + len(self._fixes) + len(self._status)

    def __contains__(self, key: FrameKey) -> bool:
        return key in self._events or key in self._fixes or key in self._status

    def frames(self) -> list[Stored]:
        """Return every kept frame: events, then fixes, then status, oldest first."""
        return [*self._events.values(), *self._fixes.values(), *self._status.values()]

    def keep(self, frame: Stored) -> Stored | None:
        """Keep a frame; return the one that had to go for it, if any."""
        lost = self._make_room(frame) if len(self) >= self._frames_max else None
        if lost is not frame:
            self._shelf(frame.kind)[frame.key] = frame
            if frame.kind is Kind.FIX:
                self._live = frame.key
        return lost

    def _shelf(self, kind: Kind) -> dict[FrameKey, Stored]:
        return {Kind.EVENT: self._events, Kind.FIX: self._fixes, Kind.STATUS: self._status}[kind]

    def _make_room(self, arriving: Stored) -> Stored:
        for kind in (Kind.STATUS, Kind.FIX):
            shelf = self._shelf(kind)
            if shelf:
                lost = shelf.pop(next(iter(shelf)))
                break
            if arriving.kind is kind:
                lost = arriving  # Nothing less important is kept: it goes itself.
                break
        else:
            lost = self._events.pop(next(iter(self._events)))
        self._under_way.pop(lost.key, None)
        self.dropped[lost.kind] += 1
        return lost

    def covered(self, boot: int, first: int, last: int) -> int:
        """Let go of what an ack range covers; return how many frames that were."""
        gone = 0
        for shelf in (self._events, self._fixes, self._status):
            # A range may span four billion: walk whichever is shorter.
            if last - first < len(shelf):
                keys = [
                    (boot, sequence)
                    for sequence in range(first, last + 1)
                    if (boot, sequence) in shelf
                ]
            else:
                keys = [key for key in shelf if key[0] == boot and first <= key[1] <= last]
            for key in keys:
                del shelf[key]
                self._under_way.pop(key, None)
            gone += len(keys)
        if gone:
            self._doublings = 0
        return gone

    def forget_sending(self) -> None:
        """Forget what was under way: the link was lost, or came back."""
        for frame in self._under_way.values():
            frame.sent_ms = None
        self._under_way.clear()
        self._doublings = 0

    def to_send(self, now_ms: int) -> list[Stored]:
        """Return what goes out now and count it as under way: events, the newest fix, the backlog.

        The window bounds the backlog only: nothing that is being sent may delay a panic press or
        where somebody is now.
        """
        self._give_up_waiting(now_ms)
        chosen = [frame for frame in self._events.values() if frame.sent_ms is None]
        waiting = sum(1 for frame in self._under_way.values() if frame.kind is not Kind.EVENT)
        chosen += self._choose(self._pace.window - waiting)
        for frame in chosen:
            frame.sent_ms = now_ms
            self._under_way[frame.key] = frame
        return chosen

    def _give_up_waiting(self, now_ms: int) -> None:
        """Let frames that waited long enough for their ack go again; wait longer each time."""
        late = [frame for frame in self._under_way.values() if self._due_ms(frame) <= now_ms]
        for frame in late:
            frame.sent_ms = None
            del self._under_way[frame.key]
        if any(frame.kind is not Kind.EVENT for frame in late):
            self._doublings = min(self._doublings + 1, self._pace.doublings_max)

    def _due_ms(self, frame: Stored) -> int:
        wait_ms = self._pace.event_resend_ms
        if frame.kind is not Kind.EVENT:
            wait_ms = self._pace.resend_ms << self._doublings
        return (frame.sent_ms or 0) + wait_ms

    def _choose(self, room: int) -> list[Stored]:
        chosen: list[Stored] = []
        live = self._fixes.get(self._live)
        if live is not None and live.sent_ms is None:
            chosen.append(live)  # Whatever waits: where somebody is now matters most.
        for shelf in (self._fixes, self._status):
            for frame in shelf.values():
                if len(chosen) >= room:
                    return chosen
                if frame.sent_ms is None and frame is not live:
                    chosen.append(frame)
        return chosen

    def next_resend_ms(self) -> int | None:
        """Return when the first frame under way is due again."""
        return min(map(self._due_ms, self._under_way.values()), default=None)
