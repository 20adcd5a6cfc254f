"""Pairs who live in one town and keep apart, for a day.

What a contact ban costs in false alarms.
"""

from typing import Final

import numpy as np

from simulators.people import DailyLife, draw_habits, time_zone
from simulators.suite.kinds import PROTECTED, START_MS, WEARER, Carried, Run, finish, order
from simulators.suite.places import PLACES
from simulators.suite.queensland import RADIUS_M, TIME_TO_CONTACT_S, WARNING_M
from simulators.world import Town

DAY_MS: Final = 86_400_000
TOWN_M: Final = 6_000.0
TRIES: Final = 80
APART_M: Final = RADIUS_M + 100.0
SAMPLE_MS: Final = 15_000


def pair_day(seed: int, days: int = 1) -> Run:
    """Return a day of two people in one town who truly stay outside the radius (by at least 100 m).

    Nobody is placed far away on purpose: the first pair of lives that keeps apart is taken, so that
    most come near now and then.
    """
    place = PLACES[3]
    town = Town(place.plane, seed)
    zone = time_zone("Europe/Amsterdam")
    end_ms = START_MS + days * DAY_MS
    times = np.arange(START_MS, end_ms, SAMPLE_MS)
    wearer_id = f"d{seed}-w"
    wearer = DailyLife(town, wearer_id, draw_habits(town, wearer_id, TOWN_M), zone).path(
        START_MS, end_ms
    )
    x, y = wearer.positions(times)
    best, best_m = wearer, -1.0
    for attempt in range(TRIES):
        name = f"d{seed}-p{attempt}"
        other = DailyLife(town, name, draw_habits(town, name, TOWN_M), zone).path(START_MS, end_ms)
        other_x, other_y = other.positions(times)
        apart_m = float(np.hypot(x - other_x, y - other_y).min())
        if apart_m > best_m:
            best, best_m = other, apart_m
        if apart_m >= APART_M:
            break
    protected_id = f"d{seed}-p"
    ban = order(
        f"{wearer_id}-contact", "contact-ban", wearer_id, START_MS, protected_ids=[protected_id],
        radius_m=RADIUS_M, warning_m=WARNING_M, time_to_contact_s=TIME_TO_CONTACT_S,
    )  # fmt: skip
    return finish(
        family="pair-day", name="pair-day", place=place.name, seed=seed, plane=place.plane,
        start_ms=START_MS, end_ms=end_ms, persons={wearer_id: wearer, protected_id: best},
        devices=[Carried(wearer_id, WEARER, wearer), Carried(protected_id, PROTECTED, best)],
        orders=[ban],
    )  # fmt: skip
