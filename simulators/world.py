"""A synthetic town: streets, districts and routes, a pure function of the seed.

Streets are a lattice of crossings, each moved from its place by a hash of its coordinates: without
an edge, without storage, and any route that only goes towards its goal is a shortest one.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulators.geo import LocalPlane
from simulators.paths import IN_VEHICLE, Environment, Mode

BLOCK_M: Final = 140.0
JITTER_M: Final = 35.0
CANYON_WITHIN_M: Final = 1_200.0
OPEN_BEYOND_M: Final = 6_000.0
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF

Point = tuple[float, float]


def mix64(value: int) -> int:
    """One round of splitmix64: a counter-based random number."""
    value = (value + 0x9E37_79B9_7F4A_7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Town:
    """Streets around a centre. Every method is a pure function."""

    plane: LocalPlane
    seed: int

    def crossing(self, column: int, row: int) -> Point:
        """Return the place of a crossing in metres."""
        noise = mix64(mix64(self.seed ^ (column & 0xFFFF_FFFF)) ^ ((row & 0xFFFF_FFFF) << 32))
        dx = (noise & 0xFFFF) / 65_535.0 * 2.0 - 1.0
        dy = (noise >> 16 & 0xFFFF) / 65_535.0 * 2.0 - 1.0
        return column * BLOCK_M + dx * JITTER_M, row * BLOCK_M + dy * JITTER_M

    def environment(self, x_m: float, y_m: float) -> Environment:
        """Return what the street there is like.

        Canyon in the centre, suburb around it, open country beyond.
        """
        from_centre_m = float(np.hypot(x_m, y_m))
        if from_centre_m < CANYON_WITHIN_M:
            return Environment.CANYON
        return Environment.SUBURB if from_centre_m < OPEN_BEYOND_M else Environment.OPEN_SKY

    def route(self, start: Point, goal: Point, rng: np.random.Generator) -> list[Point]:
        """Return the points after `start` up to and including `goal`, along streets.

        Never away from the goal.
        """
        column, row = round(start[0] / BLOCK_M), round(start[1] / BLOCK_M)
        column_end, row_end = round(goal[0] / BLOCK_M), round(goal[1] / BLOCK_M)
        points = [self.crossing(column, row)]
        while (column, row) != (column_end, row_end):
            across, along = abs(column_end - column), abs(row_end - row)
            # Go straight on for a few blocks: people turn seldom.
            blocks = int(rng.integers(1, 6))
            if across and (not along or rng.random() < across / (across + along)):
                step = 1 if column_end > column else -1
                for _ in range(min(blocks, across)):
                    column += step
                    points.append(self.crossing(column, row))
            else:
                step = 1 if row_end > row else -1
                for _ in range(min(blocks, along)):
                    row += step
                    points.append(self.crossing(column, row))
        points.append(goal)
        return points

    def environments(self, points: list[Point], mode: Mode) -> list[Environment]:
        """Return one environment per leg that ends in these points."""
        if mode in IN_VEHICLE:
            return [Environment.VEHICLE] * len(points)
        return [self.environment(x, y) for x, y in points]

    def address(
        self, rng: np.random.Generator, radius_m: float, around: Point = (0.0, 0.0)
    ) -> Point:
        """Return a dwelling beside a street, uniformly within a radius."""
        distance_m, angle = (
            radius_m * float(np.sqrt(rng.random())),
            float(rng.random()) * 2.0 * np.pi,
        )
        x, y = around[0] + distance_m * np.cos(angle), around[1] + distance_m * np.sin(angle)
        near = self.crossing(round(x / BLOCK_M), round(y / BLOCK_M))
        return float(near[0] + rng.uniform(-40.0, 40.0)), float(near[1] + rng.uniform(-40.0, 40.0))
