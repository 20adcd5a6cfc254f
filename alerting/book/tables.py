"""State that can be taken back: tables and timers that write down what they change.

Rows are immutable structs, so taking back a step is putting old rows back in place. Nothing here is
ever iterated in insertion order: a table is read by key, and written out sorted, so a rollback that
changes the order of a dictionary changes nothing that anyone can see.
"""

import heapq
from typing import Any, Final, Generic, TypeVar

Row = TypeVar("Row")

_NOTHING: Final = object()
_HEAP_SLACK: Final = 64


class Table(Generic[Row]):
    """Rows by key. Every change goes to the log that all tables of a book share."""

    __slots__ = ("_log", "rows")

    def __init__(self, rows: dict[str, Row], log: "ChangeLog") -> None:
        self.rows = rows
        self._log = log

    def get(self, key: str) -> Row | None:
        """The row, or None."""
        return self.rows.get(key)

    def __getitem__(self, key: str) -> Row:
        return self.rows[key]

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, key: str, row: Row) -> None:
        """Set a row."""
        self._log.changes.append((self.rows, key, self.rows.get(key, _NOTHING)))
        self.rows[key] = row

    def drop(self, key: str) -> None:
        """Remove a row, if it is there."""
        if key in self.rows:
            self._log.changes.append((self.rows, key, self.rows.pop(key)))


class Timers:
    """Deadlines by name, the earliest first, ties in the order of their names.

    `rows` is the truth; the heap may hold entries that are no longer true (moved or cleared), which
    are passed over when they come up. So setting, moving and clearing cost O(log n) and need no
    search.
    """

    __slots__ = ("_heap", "_log", "rows")

    def __init__(self, rows: dict[str, int], log: "ChangeLog") -> None:
        self.rows = rows
        self._log = log
        self._heap: list[tuple[int, str]] = []
        self._rebuild()
        log.timers = self

    def _rebuild(self) -> None:
        self._heap = [(due_ms, name) for name, due_ms in self.rows.items()]
        heapq.heapify(self._heap)

    def set(self, name: str, due_ms: int) -> None:
        """Set or move a timer."""
        old = self.rows.get(name)
        if old == due_ms:
            return
        self._log.changes.append((self.rows, name, _NOTHING if old is None else old))
        self.rows[name] = due_ms
        self.push(name, due_ms)

    def push(self, name: str, due_ms: int) -> None:
        """Make the heap know a deadline of `rows` again."""
        heapq.heappush(self._heap, (due_ms, name))
        if len(self._heap) > _HEAP_SLACK + 2 * len(self.rows):
            self._rebuild()

    def clear(self, name: str) -> None:
        """Stop a timer, if it runs."""
        if name in self.rows:
            self._log.changes.append((self.rows, name, self.rows.pop(name)))

    def next_due_ms(self) -> int | None:
        """When the earliest timer is due."""
        heap = self._heap
        while heap and self.rows.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now_ms: int) -> str | None:
        """Take the earliest timer due at `now_ms`, or None."""
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        name = heapq.heappop(self._heap)[1]
        self.clear(name)
        return name


class ChangeLog:
    """What changed since the step began, newest last."""

    __slots__ = ("changes", "timers")

    def __init__(self) -> None:
        self.changes: list[tuple[dict[str, Any], str, Any]] = []
        self.timers: Timers | None = None

    def mark(self) -> int:
        """A place to take back to."""
        return len(self.changes)

    def forget(self) -> None:
        """The step is done: nothing before now can be taken back."""
        self.changes.clear()

    def take_back(self, mark: int) -> None:
        """Undo every change since `mark`, newest first."""
        changes = self.changes
        while len(changes) > mark:
            rows, key, old = changes.pop()
            if old is _NOTHING:
                del rows[key]
                continue
            rows[key] = old
            if self.timers is not None and rows is self.timers.rows:
                self.timers.push(key, old)
