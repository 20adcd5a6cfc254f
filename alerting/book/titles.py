"""Legal titles as data: how long each may last, when it binds, and by when a breach is decided on.

Sources: domain notes 3.4 (art. 509hh Sv, Wet tijdelijk huisverbod, art. 38v and 14c Sr, art. 172a
Gemeentewet). The figures are defaults of this program for warnings to the owner of a case; they
decide nothing about an order: only what the order itself says makes it enforceable or not.

The first word of an order's `title` names the row ("509hh Sv gedragsaanwijzing"). A title that no
row names is used as it is; nothing about it is inferred.
"""

import re
from typing import Final

import msgspec

from alerting.book.calendar import plus_days, plus_months
from alerting.book.classes import Text
from geofence.orders import Order
from geofence.verdicts import OrderKind

TITLES_VERSION: Final = "1"


class Title(msgspec.Struct, frozen=True, kw_only=True):
    """One legal title. Zero or None: the law sets no such bound.

    `term_days`, `term_months`: the longest single term. `renewals_max`: how often it may be renewed
    for another term. `total_days`: the longest from its start, however often it is renewed.
    `needs_end`: it is not valid without an end. `appeal_suspends`: an appeal suspends it unless it
    was declared immediately enforceable. `serve_within_h`: how long after it could bind somebody
    must have served it. `decide_within_h`: by when the authority decides about a breach.
    """

    id: str
    name: Text
    authority: Text
    term_days: int = 0
    term_months: int = 0
    renewals_max: int | None = None
    total_days: int = 0
    needs_end: bool = True
    appeal_suspends: bool
    serve_within_h: int = 24
    decide_within_h: int = 48
    renewal_asks: Text | None = None


TITLES: Final = (
    Title(
        id="509hh",
        name=Text("Gedragsaanwijzing (art. 509hh Sv)", "Behavioural order (art. 509hh Sv)"),
        authority=Text("officier van justitie", "public prosecutor"),
        term_days=90,
        renewals_max=3,
        appeal_suspends=False,
        decide_within_h=24,
        renewal_asks=Text("vervolging is ingesteld", "prosecution has started"),
    ),
    Title(
        id="huisverbod",
        name=Text("Tijdelijk huisverbod (Wth)", "Temporary home ban (Wth)"),
        authority=Text("burgemeester", "mayor"),
        term_days=10,
        total_days=28,
        appeal_suspends=False,
        serve_within_h=2,
        decide_within_h=24,
        renewal_asks=Text("dreiging duurt voort", "the threat persists"),
    ),
    Title(
        id="38v",
        name=Text("Vrijheidsbeperkende maatregel (art. 38v Sr)", "Restriction of liberty (38v Sr)"),
        authority=Text("rechter", "court"),
        term_months=60,
        renewals_max=0,
        appeal_suspends=True,
    ),
    Title(
        id="14c",
        name=Text("Bijzondere voorwaarden (art. 14c Sr)", "Special conditions (art. 14c Sr)"),
        authority=Text("rechter", "court"),
        appeal_suspends=True,
    ),
    Title(
        id="schorsing",
        name=Text("Schorsing voorlopige hechtenis", "Suspended pre-trial detention"),
        authority=Text("rechter-commissaris", "examining magistrate"),
        needs_end=False,
        appeal_suspends=False,
        decide_within_h=24,
    ),
    Title(
        id="vi",
        name=Text("Voorwaardelijke invrijheidstelling", "Conditional release"),
        authority=Text("openbaar ministerie", "prosecution service"),
        appeal_suspends=False,
    ),
    Title(
        id="38z",
        name=Text("Maatregel langdurig toezicht (art. 38z Sr)", "Long-term supervision (38z Sr)"),
        authority=Text("rechter", "court"),
        appeal_suspends=True,
    ),
    Title(
        id="172a",
        name=Text("Gebiedsverbod burgemeester (art. 172a Gemw)", "Mayor's area ban (172a Gemw)"),
        authority=Text("burgemeester", "mayor"),
        term_months=3,
        renewals_max=3,
        appeal_suspends=False,
    ),
)

CONFLICTS: Final = (("172a", "509hh", OrderKind.AREA_BAN),)
"""Titles that may not both ban from one area: the mayor yields to the prosecutor (172a Gemw)."""

DEFAULT_SERVE_WITHIN_H: Final = 24
DEFAULT_DECIDE_WITHIN_H: Final = 48

BY_ID: Final = {title.id: title for title in TITLES}
_FIRST_WORD: Final = re.compile(r"[^\s,;:()]+")


def title_of(order: Order) -> Title | None:
    """The row that the first word of the order's title names, or None."""
    word = _FIRST_WORD.search(order.title)
    return BY_ID.get(word.group().casefold()) if word else None


def longest_end_ms(title: Title, from_ms: int, renewals: int = 0) -> int | None:
    """The latest end of an order from `from_ms` on after `renewals` renewals; None: no bound.

    `from_ms` is when the first term began. Terms follow one another without a gap.
    """
    terms = 1 + renewals
    end_ms: int | None = None
    if title.term_days:
        end_ms = plus_days(from_ms, title.term_days * terms)
    elif title.term_months:
        end_ms = plus_months(from_ms, title.term_months * terms)
    if title.total_days:
        total_ms = plus_days(from_ms, title.total_days)
        end_ms = total_ms if end_ms is None or renewals else min(end_ms, total_ms)
    return end_ms


def renewals_max(order: Order, title: Title | None) -> int | None:
    """How often the order may be renewed: the stricter of what it says and what its title says."""
    by_title = None if title is None else title.renewals_max
    known = [n for n in (order.renewals_max, by_title) if n is not None]
    return min(known) if known else None
