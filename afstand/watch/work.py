"""One entry on its way through the fold, and how what raises is answered."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from afstand.watch.envelope import entry_key
from afstand.watch.moving import Passed
from alerting.book.types import Input, Output, Rejected, RejectReason, SignalKind, SystemSignal
from geofence.verdicts import Finding
from ingest.entries import Entry

SET_ASIDE_NAMED_MAX: Final = 5  # in one line; the alarm's record has a line for each entry


class Work:
    """One entry on its way through the fold."""

    def __init__(self, entry: Entry, partition: str) -> None:
        self.entry = entry
        self.now_ms = entry.id.ms
        self.key = entry_key(partition, entry.id)
        self.received_ms = 0
        self.inputs: list[Input] = []
        self.outputs: list[Output] = []
        self.passed: list[Passed] = []
        self.notes: Counter[str] = Counter()
        self.set_aside: list[str] = []
        """Devices whose fixes made the program raise in this entry."""
        self.why_set_aside = ""
        """What the first of them raised."""

    def signal(self, kind: SignalKind, detail: str) -> None:
        """Tell the book something about the service itself."""
        self.inputs.append(SystemSignal(kind=kind, at_ms=self.now_ms, detail=detail[:200]))

    def poison(self, detail: str) -> None:
        """An entry, or a part of it, that cannot be folded."""
        self.notes["poison"] += 1
        self.signal(SignalKind.POISON_ENTRY, f"{self.key}: {detail}")

    def say_set_aside(self, in_all: int) -> None:
        """Name the devices that were set aside: nobody watches by their fixes any more."""
        if not self.set_aside:
            return
        named = ", ".join(self.set_aside[:SET_ASIDE_NAMED_MAX])
        more = len(self.set_aside) - SET_ASIDE_NAMED_MAX
        text = f"{named}{f' and {more} more' if more > 0 else ''}: {self.why_set_aside[:100]}"
        self.signal(SignalKind.DEVICE_SET_ASIDE, f"{text} ({in_all} set aside in all)")

    def rejected(self, reason: RejectReason, what: str, ref: str, detail: str) -> None:
        """Something that changed nothing, said to whoever sent it."""
        self.notes["rejected"] += 1
        self.outputs.append(
            Rejected(reason=reason, what=what, ref=ref, at_ms=self.now_ms, detail=detail[:400])
        )


def tried(
    action: Callable[[], Sequence[Finding]], work: Work, what: str
) -> Sequence[Finding] | None:
    """Do something that may raise; None when it did, which is then told as poison."""
    try:
        return action()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - reported as a SYSTEM alarm, the same on every replica
        work.poison(f"{what}: {named(error)}")
        return None


def named(error: Exception) -> str:
    """The kind of an error alone would say too little.

    Its arguments may hold a position: type and first words only.
    """
    return f"{type(error).__name__}: {str(error)[:120]}"
