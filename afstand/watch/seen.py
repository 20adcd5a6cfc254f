"""Which frames of a device were folded already: the exact answer to "is this a copy?".

Every intake gets every event, a broker delivers again, a device sends again until it has an ack,
and an attacker may replay: the journal may hold a frame several times. Each counts once. What was
seen is kept as runs of sequence numbers per boot. Past the bound the oldest run is forgotten and a
copy from it would count again: duplicates are preferred to misses.
"""

from typing import Final

from afstand.limits import SEEN_RUNS_MAX

Run = tuple[int, int, int]
"""(boot, first, last): every sequence number of that boot from first to last was seen."""


class Seen:
    """The frames seen of one device."""

    __slots__ = ("boot", "first", "last", "runs")

    def __init__(self, boot: int, sequence: int) -> None:
        # The run that grows with each frame in order; the others are gaps being filled and earlier
        # boots.
        self.boot, self.first, self.last = boot, sequence, sequence
        self.runs: list[Run] = []

    def copy(self) -> "Seen":
        """The same, on its own."""
        made = Seen(self.boot, self.first)
        made.last, made.runs = self.last, list(self.runs)
        return made

    def add(self, boot: int, sequence: int) -> bool:
        """Note the frame; True when it is new."""
        if boot == self.boot and sequence == self.last + 1:
            # The growing run is the newest one of the newest boot: there is none above it to join.
            self.last = sequence
            return True
        if boot == self.boot and self.first <= sequence <= self.last:
            return False
        return self._add_aside(boot, sequence)

    def _add_aside(self, boot: int, sequence: int) -> bool:
        if any(run[0] == boot and run[1] <= sequence <= run[2] for run in self.runs):
            return False
        if boot > self.boot:
            # After a reboot the device counts on from a new run; the old one is kept for its stored
            # frames.
            self.runs.append((self.boot, self.first, self.last))
            self.boot, self.first, self.last = boot, sequence, sequence
        elif boot == self.boot and sequence == self.first - 1:
            self.first = sequence
        elif boot == self.boot and sequence > self.last:
            self.runs.append((self.boot, self.first, self.last))
            self.first, self.last = sequence, sequence
        else:
            self.runs.append((boot, sequence, sequence))
        self._join()
        return True

    def _join(self) -> None:
        """Make one run of runs that touch, and keep within the bound."""
        merged: list[Run] = []
        for boot, first, last in sorted([*self.runs, (self.boot, self.first, self.last)]):
            if merged and merged[-1][0] == boot and merged[-1][2] + 1 >= first:
                merged[-1] = (boot, merged[-1][1], max(last, merged[-1][2]))
            else:
                merged.append((boot, first, last))
        # The newest run of the newest boot is the last after sorting.
        self.boot, self.first, self.last = merged.pop()
        self.runs = merged[-SEEN_RUNS_MAX:]

    def dump(self) -> list[Run]:
        """All runs, the growing one last."""
        return [*self.runs, (self.boot, self.first, self.last)]

    @classmethod
    def load(cls, runs: list[Run]) -> "Seen":
        """The reverse of `dump`."""
        *rest, (boot, first, last) = runs
        seen = cls(boot, first)
        seen.last = last
        seen.runs = [(b, f, n) for b, f, n in rest]
        return seen


SEEN_FORMAT: Final = 1
