"""Persons who approach: each function returns a true path from where somebody is at an instant.

Lengths in metres in the town's plane, times in ms, speeds in metres a second.
"""

from dataclasses import dataclass

import numpy as np

from simulators.paths import (
    IN_VEHICLE,
    SPEED_M_S,
    Environment,
    Fixed,
    Mode,
    Mover,
    Path,
    PathBuilder,
    joined,
)
from simulators.world import Point, Town


def _environment(mode: Mode, outdoors: Environment) -> Environment:
    return Environment.VEHICLE if mode in IN_VEHICLE else outdoors


def straight(start_ms: int, start: Point, goal: Point, mode: Mode, speed_m_s: float = 0.0) -> Path:
    """Go in a straight line and stay there: the plainest walk-in."""
    route = PathBuilder(start_ms, *start, Environment.SUBURB)
    return route.go(
        [goal], speed_m_s or SPEED_M_S[mode], mode, _environment(mode, Environment.SUBURB)
    ).build()


def along_streets(
    town: Town,
    start_ms: int,
    start: Point,
    goal: Point,
    mode: Mode,
    rng: np.random.Generator,
    speed_m_s: float = 0.0,
) -> Path:
    """Go to a goal along the streets and stay there."""
    route = PathBuilder(start_ms, *start, town.environment(*start))
    points = town.route(start, goal, rng)
    return route.go(
        points, speed_m_s or SPEED_M_S[mode], mode, town.environments(points, mode)
    ).build()


def visit(
    start_ms: int, start: Point, goal: Point, stays_ms: int, mode: Mode, speed_m_s: float = 0.0
) -> Path:
    """Go to a goal, stay a while, and go back the same way."""
    speed = speed_m_s or SPEED_M_S[mode]
    outdoors = _environment(mode, Environment.SUBURB)
    route = PathBuilder(start_ms, *start, Environment.SUBURB).go([goal], speed, mode, outdoors)
    return route.stay(route.now_ms + stays_ms, outdoors).go([start], speed, mode, outdoors).build()


def passing(
    start_ms: int,
    centre: Point,
    heading_deg: float,
    run_m: float,
    aside_m: float,
    mode: Mode,
    speed_m_s: float = 0.0,
) -> Path:
    """Drive through (`aside_m` small) or by (`aside_m` large).

    A straight run of 2 x `run_m` past a centre.

    `heading_deg` clockwise from north; `aside_m` to the right of the centre seen in the direction
    of travel.
    """
    angle = np.radians(heading_deg)
    ahead, right = (np.sin(angle), np.cos(angle)), (np.cos(angle), -np.sin(angle))
    middle = (centre[0] + right[0] * aside_m, centre[1] + right[1] * aside_m)
    start = (float(middle[0] - ahead[0] * run_m), float(middle[1] - ahead[1] * run_m))
    goal = (float(middle[0] + ahead[0] * run_m), float(middle[1] + ahead[1] * run_m))
    return straight(start_ms, start, goal, mode, speed_m_s)


def following(leader: Mover, from_ms: int, to_ms: int, gap_ms: int) -> Path:
    """Follow somebody at a distance in time: the leader's own path, `gap_ms` later."""
    return leader.path(from_ms - gap_ms, to_ms - gap_ms).delayed(gap_ms)


def towards_each_other(
    start_ms: int, one: Point, other: Point, mode_one: Mode, mode_other: Mode
) -> tuple[Path, Path]:
    """Two persons who walk or drive towards each other in a straight line and meet."""
    speed_one, speed_other = SPEED_M_S[mode_one], SPEED_M_S[mode_other]
    share = speed_one / (speed_one + speed_other)
    meet = (one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share)
    return straight(start_ms, one, meet, mode_one), straight(start_ms, other, meet, mode_other)


def in_parallel(
    start_ms: int, start: Point, goal: Point, mode: Mode, gap_m: float, aside_m: float = 4.0
) -> tuple[Path, Path]:
    """Two persons on one motorway or in one train.

    The same way at the same speed, `gap_m` apart, by coincidence.
    """
    speed = SPEED_M_S[mode]
    first = straight(start_ms, start, goal, mode)
    length_m = float(np.hypot(goal[0] - start[0], goal[1] - start[1]))
    right = ((goal[1] - start[1]) / length_m * aside_m, -(goal[0] - start[0]) / length_m * aside_m)
    return first, first.delayed(round(gap_m / speed * 1000.0), *right)


@dataclass(frozen=True, slots=True)
class Pursuit:
    """Somebody who goes straight for where another person truly is, and stays with them; a `Mover`.

    Stepped at `step_ms` (the path between steps is straight), so the whole is still a piecewise
    linear path.
    """

    target: Mover
    start_ms: int
    start: Point
    speed_m_s: float
    mode: Mode
    step_ms: int = 1_000

    def until(self, to_ms: int, outdoors: Environment = Environment.SUBURB) -> Fixed:
        """Return the mover up to an instant; it stands still afterwards."""
        times = np.arange(self.start_ms, to_ms + self.step_ms, self.step_ms, dtype=np.int64)
        there_x, there_y = self.target.path(int(times[0]), int(times[-1])).positions(times)
        x, y = self.start
        xs, ys = [x], [y]
        reach_m = self.speed_m_s * self.step_ms / 1000.0
        for goal_x, goal_y in zip(there_x[1:], there_y[1:], strict=True):
            away_m = float(np.hypot(goal_x - x, goal_y - y))
            share = 1.0 if away_m <= reach_m else reach_m / away_m
            x, y = x + (float(goal_x) - x) * share, y + (float(goal_y) - y) * share
            xs.append(x)
            ys.append(y)
        count = len(times)
        environment = _environment(self.mode, outdoors)
        return Fixed(
            Path(
                times,
                np.array(xs),
                np.array(ys),
                np.full(count, environment, dtype=np.uint8),
                np.full(count, self.mode, dtype=np.uint8),
            )
        )


def then(first: Path, second: Path) -> Path:
    """Put one path after another, standing still in between."""
    if second.start_ms < first.end_ms:
        raise ValueError("the second path starts before the first one ends")
    return joined([first, second])
