"""Tables and timers against the plainest thing that does the same: copies of dictionaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.book.tables import ChangeLog, Table, Timers

KEYS = st.sampled_from("abcdef")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("drop"), KEYS),
        st.tuples(st.just("set"), KEYS, st.integers(0, 50)),
        st.tuples(st.just("clear"), KEYS),
        st.tuples(st.just("pop"), st.integers(0, 50)),
        st.tuples(st.just("mark")),
        st.tuples(st.just("back")),
        st.tuples(st.just("forget")),
    ),
    max_size=120,
)


@pytest.mark.slow
@given(CHANGES)
def test_taking_back_is_as_good_as_a_copy(changes):
    log = ChangeLog()
    rows: dict[str, int] = {}
    due: dict[str, int] = {}
    table, timers = Table(rows, log), Timers(due, log)
    copies: list[tuple[dict[str, int], dict[str, int], int]] = [({}, {}, 0)]
    for change, *args in changes:
        if change == "put":
            table.put(*args)
        elif change == "drop":
            table.drop(*args)
        elif change == "set":
            timers.set(*args)
        elif change == "clear":
            timers.clear(*args)
        elif change == "pop":
            expected = min(((ms, name) for name, ms in due.items() if ms <= args[0]), default=None)
            assert timers.pop_due(args[0]) == (expected and expected[1])
            assert expected is None or expected[1] not in due
        elif change == "mark":
            copies.append((dict(rows), dict(due), log.mark()))
        elif change == "back":
            was_rows, was_due, mark = copies.pop() if len(copies) > 1 else copies[0]
            log.take_back(mark)
            assert rows == was_rows
            assert due == was_due
        else:
            log.forget()
            copies = [(dict(rows), dict(due), 0)]
        assert timers.next_due_ms() == min(due.values(), default=None)
    order = []
    while (name := timers.pop_due(1_000)) is not None:
        order.append(name)
    assert due == {}
    assert len(order) == len(set(order))


def test_the_heap_stays_in_proportion_to_the_timers():
    log = ChangeLog()
    timers = Timers({}, log)
    for n in range(10_000):
        timers.set("only", n)
    assert len(timers._heap) < 200
    assert timers.next_due_ms() == 9_999


def test_ties_fire_in_the_order_of_their_names():
    timers = Timers({}, ChangeLog())
    for name in ("c", "a", "b"):
        timers.set(name, 5)
    assert [timers.pop_due(5) for _ in range(4)] == ["a", "b", "c", None]
