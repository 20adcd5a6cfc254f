"""Entries that were taken while the intake was behind: the newest fix of a person decides.

The oracle is the fold of the same fixes without that mark: the same evidence and the same present
behind every entry, and every breach told by the same fix.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from geofence.coalescing import newer_of
from geofence.engine import Engine, FixBatch
from geofence.layout import PAIR_ROW, PERSON, UNIT_ROW
from geofence.verdicts import Label, OrderKind, VerdictReason, VerdictState
from tests.geofence.stories import Story, batch, requests, told, verdicts

KINDS = (OrderKind.AREA_BAN, OrderKind.LOCATION_ORDER, OrderKind.EXIT_BAN, OrderKind.CONTACT_BAN)
PATHS = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
BREACH = (VerdictState.POSSIBLE, VerdictState.CONFIRMED)
RANK = {VerdictState.POSSIBLE: 1, VerdictState.CONFIRMED: 2}
# What asking a device, and remarks about travelling alike, leave in the rows.
ASIDE = ("requested_ms", "hour_ms", "doubt_requests", "alike")

fixes_of_entry = st.lists(
    st.tuples(
        st.sampled_from(["wearer", "wearer", "victim"]),
        st.integers(-130, 180),  # seconds before the entry: some are of a future not believed
        st.sampled_from([0, 0, 20, 190, 205, 260, 600, 900, 3000, 60_000]),
        st.sampled_from([5, 60, 900]),
        st.sampled_from([0, 140, 1400, 65535]),
    ),
    min_size=1,
    max_size=12,
)
entries = st.lists(st.tuples(st.sampled_from([1, 20, 90]), fixes_of_entry), min_size=1, max_size=6)


class Marked(Story):
    """A story whose fixes come in entries that were taken while the intake was behind."""

    def fixes(self, *rows: Any) -> Any:
        return self._tell(self.engine.observe(batch(list(rows)), self.now, behind=True))


def two(**fields: Any) -> tuple[Story, Story]:
    """The same beginning, with every fix speaking for itself and with marked entries."""
    plain, marked = Story(), Marked()
    for story in (plain, marked):
        story.order(**fields)
    return plain, marked


def rows_of(engine: Engine) -> dict[str, Any]:
    """Every row of the state, without what asking leaves."""
    tables = engine._docket.tables
    world = tables.world
    kinds = (
        ("persons", world.persons[: tables.persons], PERSON),
        ("units", world.units[: tables.units], UNIT_ROW),
        ("pairs", world.pairs[: tables.pairs], PAIR_ROW),
    )
    return {
        f"{name} {column}": rows[column].tolist()
        for name, rows, kind in kinds
        for column in kind.names or ()
        if column not in ASIDE
    }


def play(story: Story, drawn: list[Any]) -> list[list[Any]]:
    """What each entry tells."""
    found = []
    for pause_s, fixes in drawn:
        story.wait(pause_s * 1000)
        rows = [
            story.row(who, north, ago_ms=ago_s * 1000, accuracy_m=accuracy, speed=speed)
            for who, ago_s, north, accuracy, speed in fixes
        ]
        found.append(verdicts(story.fixes(*rows)))
    return found


def begins(verdict: Any) -> bool:
    """Whether a verdict makes a breach of what was none, or a confirmed one of a possible one."""
    return not verdict.historic and RANK.get(verdict.state, 0) > RANK.get(verdict.previous, 0)


def as_told(verdict: Any) -> tuple[Any, ...]:
    """What counts of the beginning of a breach: which state, why, and by which fix."""
    return (verdict.state, verdict.reason, verdict.fix_ms, verdict.probability_1024)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@seed(20261130)
@PATHS
@given(entries, st.integers(1, 3), st.booleans())
def test_the_present_is_the_same_and_no_breach_is_told_later(kind, drawn, risk, rings) -> None:
    fields: dict[str, Any] = {"kind": kind, "risk_class": risk}
    if rings and kind is OrderKind.CONTACT_BAN:
        fields |= {"warning_m": 1000, "time_to_contact_s": 600}
    elif rings:
        fields["buffer_m"] = 50
    plain, marked = two(**fields)
    shown = VerdictState.UNKNOWN
    for one, other in zip(play(plain, drawn), play(marked, drawn), strict=True):
        present = [v for v in other if not v.historic]
        stands = {shown, *(v.state for v in present)}
        for verdict in filter(begins, one):
            same = as_told(verdict) in map(as_told, other)
            assert same or VerdictState.CONFIRMED in stands
        assert len(other) <= len(one) or any(
            v.reason is VerdictReason.TRAVELLING_ALIKE for v in other
        )
        assert [as_told(v) for v in other if v.historic] == [as_told(v) for v in one if v.historic]
        shown = present[-1].state if present else shown
    assert rows_of(marked.engine) == rows_of(plain.engine)
    assert marked.engine.fixes()[:-1] == plain.engine.fixes()[:-1]
    assert plain.engine.fixes().coalesced == 0


@pytest.mark.parametrize("step_s", [1, 5, 20, 60])
@pytest.mark.parametrize("risk", [1, 2, 3])
def test_who_dwells_is_alarmed_by_the_same_fix_and_entry(risk: int, step_s: int) -> None:
    """A device's minutes in one entry, all inside: no evidence is left out of the alarm."""
    begun = []
    for story in two(risk_class=risk):
        story.wait(600_000)
        story.fix("wearer", 3000, ago_ms=300_000)
        rows = [story.row("wearer", 0, ago_ms=1000 * s) for s in range(240, 0, -step_s)]
        found = verdicts(story.fixes(*rows))
        begun.append([as_told(v) for v in found if begins(v)])
        assert found[-1].state is VerdictState.CONFIRMED
    assert begun[0] == begun[1]


@pytest.mark.parametrize("step_s", [5, 20])
def test_a_breach_that_is_over_is_told_and_then_ended_by_the_newest(step_s: int) -> None:
    plain, marked = two()
    for story in (plain, marked):
        story.wait(600_000)
        rows = [story.row("wearer", 0, ago_ms=1000 * s) for s in range(400, 200, -step_s)]
        rows += [story.row("wearer", 3000, ago_ms=1000 * s) for s in range(150, 5, -step_s)]
        story.fixes(*rows, story.row("wearer", 3000, ago_ms=2_000))
    states = [v.state for v in verdicts(marked.told)]
    assert states[-2:] == [VerdictState.CONFIRMED, VerdictState.CLEAR]
    last = verdicts(marked.told)[-1]
    assert (last.reason, last.fix_ms) == (
        VerdictReason.CLEARED_BY_EVIDENCE,
        marked.now - 2_000,
    )
    assert Label.COALESCED in last.labels
    cleared = [v for v in verdicts(plain.told) if v.reason is VerdictReason.CLEARED_BY_EVIDENCE]
    assert (cleared[0].fix_ms or 0) < (last.fix_ms or 0), (
        "by itself an older fix would have ended it"
    )


def test_a_warning_that_is_over_is_not_told_and_nobody_is_asked() -> None:
    found = []
    for story in two(buffer_m=100):
        story.fix("wearer", 3000)
        story.wait(240_000)
        found.append(
            story.fixes(
                story.row("wearer", 290, ago_ms=200_000),
                story.row("wearer", 215, ago_ms=150_000, accuracy_m=15),
                story.row("wearer", 3000, ago_ms=10_000),
            )
        )
        coalesced = story.engine.fixes().coalesced
    assert VerdictState.WARNING in [v.state for v in verdicts(found[0])]
    assert requests(found[0])
    assert found[1] == []
    assert coalesced == 2


def test_the_newest_of_two_devices_decides_for_their_person() -> None:
    """A person is where the newest of all devices says, as for fixes that come one by one."""
    _, marked = two(buffer_m=100)
    marked.wait(60_000)
    rows = [marked.row("wearer", 280, ago_ms=59_000), marked.row("wearer", 1500, ago_ms=4_000)]
    found = verdicts(marked.fixes(rows[1], rows[0]))
    assert [v.fix_ms for v in found] == [marked.now - 4_000]
    assert found[0].labels == (Label.COALESCED,)


def test_behind_a_doubted_newest_fix_the_one_before_it_decides() -> None:
    """A jump that nobody can have made speaks for nobody."""
    _, marked = two(buffer_m=100)
    marked.fix("wearer", 3000)
    marked.wait(300_000)
    found = marked.fixes(
        marked.row("wearer", 2900, ago_ms=60_000),
        marked.row("wearer", 280, ago_ms=10_000),
        marked.row("wearer", 90_000, ago_ms=2_000),
    )
    first = verdicts(found)[0]
    assert (first.state, first.fix_ms) == (VerdictState.WARNING, marked.now - 10_000)
    assert first.labels == (Label.COALESCED,)
    assert marked.engine.fixes().coalesced == 1


def test_a_fix_that_is_not_used_decides_nothing() -> None:
    """From a future that is not believed, or nowhere on earth: the newest usable one counts."""
    _, marked = two(buffer_m=100)
    marked.wait(60_000)
    far = marked.row("wearer", 3000, ago_ms=-500_000)
    nowhere = (far[0], marked.now, 910_000_000, *far[3:])
    found = marked.fixes(marked.row("wearer", 280, ago_ms=9_000), far, nowhere)
    assert told(found) == [(VerdictState.WARNING, VerdictReason.INSIDE_BUFFER)]
    assert verdicts(found)[0].labels == ()
    assert marked.engine.fixes().coalesced == 0


def test_a_breach_anew_is_told_although_its_end_was_not() -> None:
    """A doubt below the threshold of the risk class, its end, then a surer one: an alarm."""
    plain, marked = two(risk_class=3)
    for story in (plain, marked):
        story.fix("wearer", 2000)
        story.wait(900_000)
        story.fix("wearer", 200 - 25, accuracy_m=12, ago_ms=500_000)
        story.fixes(
            *(story.row("wearer", 900, ago_ms=1000 * s) for s in range(450, 300, -20)),
            story.row("wearer", 0, ago_ms=200_000),
        )
    for story in (plain, marked):
        possible = [v for v in verdicts(story.told) if v.state is VerdictState.POSSIBLE]
        assert len(possible) == 2
        assert possible[1].probability_1024 > possible[0].probability_1024
        assert possible[1].reason is VerdictReason.ONE_FIX_BEYOND_DOUBT
    assert VerdictReason.DOUBT_ENDED in [v.reason for v in verdicts(plain.told)]
    assert VerdictReason.DOUBT_ENDED not in [v.reason for v in verdicts(marked.told)]


def test_an_entry_taken_in_time_is_what_it_was() -> None:
    plain, marked = two(buffer_m=100)
    for story in (plain, marked):
        story.wait(60_000)
        rows = [story.row("wearer", 280, ago_ms=9_000), story.row("wearer", 3000, ago_ms=4_000)]
        story.told += story.engine.observe(batch(rows), story.now)
    assert marked.told == plain.told
    assert marked.engine.dump() == plain.engine.dump()


columns = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans(), st.integers(0, 4)), max_size=25
)


@seed(20261131)
@given(columns, st.lists(st.booleans(), min_size=5, max_size=5))
def test_what_is_newer_is_what_a_loop_finds(drawn, behind) -> None:
    rows = sorted(drawn, key=lambda row: (row[3], row[1]))  # by entry and time
    person, time_ms, usable, entry = (
        np.array([row[k] for row in rows], np.int64) for k in range(4)
    )
    first = np.searchsorted(entry, entry)
    marked = np.array([behind[e] for e in entry], np.bool_)
    found = newer_of(person, time_ms, usable != 0, marked, first)
    for k, row in enumerate(rows):
        later = [
            j - first[k]
            for j, other in enumerate(rows)
            if other[0] == row[0] and other[3] == row[3] and other[1] > row[1] and other[2]
        ]
        if not marked[k]:
            assert found[k] == -4
        elif not usable[k] or not later:
            assert found[k] == -2
        else:
            assert found[k] == later[0] << 1


def quiet(engine: Engine, calls: list[tuple[FixBatch, int, bool]]) -> list[Any]:
    """Fold entries with `fold_quiet` wherever that takes them."""
    sizes = [len(fixes.person) for fixes, _, _ in calls]
    joined = FixBatch(
        *(np.concatenate(column) for column in zip(*(c[0] for c in calls), strict=True))
    )
    prepared = engine.quiet_entries(
        joined, np.cumsum(sizes), np.array([c[1] for c in calls]), np.array([c[2] for c in calls])
    )
    found: list[Any] = []
    at = 0
    while True:
        done = engine.fold_quiet(prepared, at, 2**62)
        found += [[]] * (done - at)
        if done == len(calls):
            return found
        fixes, now_ms, behind = calls[done]
        found.append(engine.advance(now_ms) + engine.observe(fixes, now_ms, behind=behind))
        at = done + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@seed(20261132)
@PATHS
@given(entries, st.lists(st.booleans(), min_size=6, max_size=6))
def test_quiet_entries_are_folded_as_by_themselves(kind, drawn, marks) -> None:
    single, many = two(kind=kind, risk_class=2)
    calls = []
    for (pause_s, fixes), mark in zip(drawn, marks, strict=False):
        single.now += pause_s * 1000
        rows = [
            single.row(who, north, ago_ms=ago_s * 1000, accuracy_m=accuracy, speed=speed)
            for who, ago_s, north, accuracy, speed in fixes
        ]
        calls.append((batch(rows), single.now, mark))
    expected = [
        single.engine.advance(now_ms) + single.engine.observe(fixes, now_ms, behind=mark)
        for fixes, now_ms, mark in calls
    ]
    assert quiet(many.engine, calls) == expected
    assert many.engine.dump() == single.engine.dump()
    assert many.engine.fixes() == single.engine.fixes()
