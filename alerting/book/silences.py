"""Mass loss: many who go silent at once are one trouble of the network, not one alarm each.

While it lasts, alarms that say no more than "silent" are suppressed by design, with the reason and
for a bounded term; the SYSTEM alarm carries the list of persons, the highest risk first. When the
term ends and most are still silent, it is renewed: the SYSTEM alarm pages again with the new list,
and those of risk class 1 page for themselves. Panic, proximity, tamper and area breach are never
touched. Whoever is still silent when it is over pages after all, in a rhythm that can be followed.
"""

from typing import Final

import msgspec

from afstand.limits import (
    BOOK_MASS_LOSS_PERSONS,
    BOOK_MASS_LOSS_SUPPRESSED_MAX,
    BOOK_MASS_LOSS_TERM_MS,
    BOOK_MASS_LOSS_WINDOW_MS,
)
from alerting.book.context import Context
from alerting.book.state import Facts, MassLoss, State
from alerting.book.words import AlarmClass

MASS_LOSS: Final = "mass-loss"
END_TIMER: Final = "mass-loss-end"
RELEASE_TIMER: Final = "mass-loss-release"
SILENT_CLASSES: Final = (AlarmClass.PAIR_BLIND, AlarmClass.LOCATION_DOUBT)
SILENT_REASONS: Final = ("wearer-silent", "protected-silent", "silence")
LISTED_MAX: Final = 50
"""Persons named in the notice of a mass loss; the rest is counted."""

_ROW: Final = "now"


def current(state: State) -> MassLoss:
    """The mass loss, or what might become one."""
    return state.mass.get(_ROW) or MassLoss()


def active(state: State) -> bool:
    """Whether there is a mass loss now."""
    return current(state).since_ms is not None


def suppresses(state: State, alarm_class: AlarmClass, facts: Facts) -> bool:
    """Whether a new alarm says no more than that somebody is silent in a mass loss."""
    return (
        alarm_class in SILENT_CLASSES
        and facts.reason in SILENT_REASONS
        and active(state)
        and len(state.mass_suppressed) < BOOK_MASS_LOSS_SUPPRESSED_MAX
    )


def fell_silent(cx: Context, person_id: str, risk_class: int) -> bool:
    """Count a person who went silent. True when this makes it a mass loss."""
    state = cx.state
    mass = current(state)
    if person_id in state.mass_silent:
        return False
    if mass.since_ms is not None:
        state.mass_silent.put(person_id, risk_class)
        state.mass.put(
            _ROW, msgspec.structs.replace(mass, peak=max(mass.peak, len(state.mass_silent)))
        )
        return False
    horizon_ms = cx.now_ms - BOOK_MASS_LOSS_WINDOW_MS
    recent = tuple(r for r in mass.recent if r[0] > horizon_ms and r[1] != person_id)
    recent = (*recent, (cx.now_ms, person_id, risk_class))
    if len(recent) < BOOK_MASS_LOSS_PERSONS:
        state.mass.put(_ROW, MassLoss(recent=recent))
        return False
    for _, silent_id, risk in recent:
        state.mass_silent.put(silent_id, risk)
    state.mass.put(_ROW, MassLoss(since_ms=cx.now_ms, peak=len(recent)))
    state.timers.set(END_TIMER, cx.now_ms + BOOK_MASS_LOSS_TERM_MS)
    return True


def heard_again(cx: Context, person_id: str) -> bool:
    """A person reports again. True when so many do that the mass loss is over."""
    state = cx.state
    mass = current(state)
    if mass.since_ms is None:
        if any(r[1] == person_id for r in mass.recent):
            left = tuple(r for r in mass.recent if r[1] != person_id)
            state.mass.put(_ROW, MassLoss(recent=left))
        return False
    state.mass_silent.drop(person_id)
    return not most_are_silent(state)


def most_are_silent(state: State) -> bool:
    """Whether more than half of those lost at the worst moment are still silent."""
    return 2 * len(state.mass_silent) > current(state).peak


def end(cx: Context) -> None:
    """The mass loss is over: forget who was silent in it.

    Their alarms are released by the caller.
    """
    state = cx.state
    for person_id in sorted(state.mass_silent.rows):
        state.mass_silent.drop(person_id)
    state.mass.put(_ROW, MassLoss())
    state.timers.clear(END_TIMER)


def ranked(state: State) -> str:
    """Who is silent, the highest risk (class 1) first, unknown risk last."""
    rows = state.mass_silent.rows
    order = sorted(rows, key=lambda person_id: (rows[person_id] or 9, person_id))
    named = ", ".join(f"{p} ({rows[p] or '?'})" for p in order[:LISTED_MAX])
    more = len(order) - LISTED_MAX
    return f"{len(order)} silent, by risk class: {named}" + (
        f" and {more} more" if more > 0 else ""
    )
