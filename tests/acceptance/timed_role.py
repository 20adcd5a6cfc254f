"""A role of the service whose wall clock is a file that a test writes.

`python -m tests.acceptance.timed_role intake --config FILE` is `afstand intake --config FILE`, but
that the two places where the service asks what time it is ask that file: the clock by which an
intake receives and judges, and the id under which an entry is appended to a journal, whose
millisecond part is all the time that a fold knows. What waits (timeouts, back-off, quiet, the
pace of acknowledgements) waits as always: its clock is another, and is left alone.
"""

import contextlib
import mmap
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from afstand.cli import main
from afstand.site import Site
from ingest import intake, journal, resp
from ingest.journal import Append, xadd_command

CLOCK_VARIABLE: Final = "TIMED_ROLE_CLOCK"
ROOT: Final = Path(__file__).resolve().parents[2]


class SharedClock:
    """Unix time in ms, in 8 bytes that several processes look at."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._at = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")

    def now_ms(self) -> int:
        """The time."""
        return self._at[0]

    def advance(self, to_ms: int) -> None:
        """Move time on."""
        assert to_ms >= self._at[0], "time does not go back"
        self._at[0] = to_ms


@contextlib.contextmanager
def by(clock: SharedClock) -> Iterator[None]:
    """What is received and appended while the block runs has the time of this clock."""

    def timed_xadd(append: Append) -> tuple[Any, ...]:
        name, key, entry_id, *fields = xadd_command(append)
        assert entry_id == "*", "the journal gives its ids in another way"
        return (name, key, f"{clock.now_ms()}-*", *fields)

    with (
        patch.object(intake, "Intake", partial(intake.Intake, now_ms=clock.now_ms)),
        patch.object(journal, "xadd_command", timed_xadd),
        patch.object(resp, "xadd_command", timed_xadd),
    ):
        yield


class TimedSite(Site):
    """A site whose processes live by the clock that `CLOCK_VARIABLE` of `environ` names."""

    def command(self, role: str) -> tuple[list[str], dict[str, str]]:
        """See `Site.command`."""
        command, environ = super().command(role)
        command[command.index("afstand")] = "tests.acceptance.timed_role"
        return command, environ | {"PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    with by(SharedClock(Path(os.environ[CLOCK_VARIABLE]))):
        sys.exit(main())
