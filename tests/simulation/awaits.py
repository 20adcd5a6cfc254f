"""Which awaits of the service a death struck: at a death, every task of the process is at some.

A process can die before each of its steps, so at every await that waits. Most steps are of tasks
that wait at the same few places, so some deaths are at a place where the process was not seen yet.
What is listed as never struck either waits for nothing in these worlds, or is for a part that they
do not have.
"""

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.simulation.loop import Process

ROOT: Final = Path(__file__).parents[2]
ROLES: Final = ("afstand", "alerting", "ingest")
Point = tuple[str, int]
"""A file, from the root of the project, and a line."""


class Await(NamedTuple):
    """One await of the source, with all of its lines."""

    path: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.path}:{self.first}"


def waiting(process: Process) -> Iterator[Point]:
    """Give where the tasks of a process are."""
    for task in process.tasks:
        coro: Any = None if task.done() else task.get_coro()
        while coro is not None:
            frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
            if frame is not None and (path := _of_ours(frame.f_code.co_filename)):
                yield path, frame.f_lineno
            coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)


class Eye:
    """Looks at a process after each step: `somewhere_new` is called when it is where it never was.

    What it knows of before is the same for every life of the process.
    """

    def __init__(
        self, process: Process, known: set[Point], somewhere_new: Callable[[], None], steps: int
    ) -> None:
        self._process = process
        self._known = known
        self._somewhere_new = somewhere_new
        self._steps = steps

    def __call__(self) -> None:
        process = self._process
        self._steps -= 1
        if not self._steps:
            process.eye = None
        now = set(waiting(process))
        if not now <= self._known:
            self._known |= now
            self._somewhere_new()


@functools.cache
def _of_ours(file: str) -> str:
    """Give a file of the service by its path in the project; empty for another."""
    path = Path(file)
    if not path.is_relative_to(ROOT):
        return ""
    path = path.relative_to(ROOT)
    return str(path) if path.parts[0] in ROLES else ""


@functools.cache
def awaits_of(path: str) -> tuple[Await, ...]:
    """All awaits of a file."""
    tree = ast.parse((ROOT / path).read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Await):
            found.append(Await(path, node.lineno, node.end_lineno or node.lineno))
        elif isinstance(node, ast.AsyncFor | ast.AsyncWith):
            found.append(Await(path, node.lineno, node.body[0].lineno - 1))
    return tuple(sorted(found))


def found(points: Iterable[Point]) -> set[Await]:
    """Give the awaits of these points: the innermost around each."""
    awaits = set()
    for path, line in points:
        around = [one for one in awaits_of(path) if one.first <= line <= one.last]
        if around:
            awaits.add(min(around, key=lambda one: (one.last - one.first, one)))
    return awaits


def told(struck: Iterable[Point], seen: Iterable[Point], *, names: bool) -> str:
    """Say how many awaits of the service deaths struck; with `names`, which never."""
    hit = found(struck)
    waited = found(seen) | hit
    every = {one for path in {one.path for one in waited} for one in awaits_of(path)}
    text = (
        f"awaits: {len(hit)} struck by a death, of {len(waited)} at which a task was seen waiting"
        f" and {len(every)} in these {len({one.path for one in every})} files"
    )
    if names:
        text += "\nwaited and never struck: " + ", ".join(map(str, sorted(waited - hit)))
        text += "\nnever seen waiting: " + ", ".join(map(str, sorted(every - waited)))
    return text
