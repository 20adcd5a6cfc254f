"""The scenario suite: runs with ground truth, for measuring decisions.

No engine is consulted anywhere.

A family of runs for a seed (`queensland`, `coincidences`, `boundaries`, `car_approaches`,
`long_days`, `pair_day`)
gives people, zones, orders and what truly happened; `Play` plays any number of runs side by side
and reacts to requests for more fixes.
"""

from simulators.suite.boundary import boundaries, long_days
from simulators.suite.coincidence import coincidences
from simulators.suite.kinds import Breach, Carried, Run, Tamper
from simulators.suite.pairs import pair_day
from simulators.suite.play import FIX_DTYPE, Arrived, Event, Play
from simulators.suite.queensland import queensland
from simulators.suite.warning import car_approaches

TUNING_SEEDS = range(1_000)
"""Seeds on which parameters may be chosen."""
HELD_OUT_SEEDS = range(1_000_000, 1_001_000)
"""Seeds that no parameter was ever tuned on: for reported figures only."""

__all__ = [
    "FIX_DTYPE",
    "HELD_OUT_SEEDS",
    "TUNING_SEEDS",
    "Arrived",
    "Breach",
    "Carried",
    "Event",
    "Play",
    "Run",
    "Tamper",
    "boundaries",
    "car_approaches",
    "coincidences",
    "long_days",
    "pair_day",
    "queensland",
]
