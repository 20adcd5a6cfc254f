"""The kernels as plain Python give the same bytes: same dumps, same distances, same projections."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def digest() -> str:
    """Everything that a kernel computes, on a small case; runs compiled or interpreted."""
    from geofence.kernels import elementary
    from geofence.kernels.batch import contains_many
    from geofence.kernels.projection import chord_mm, rd_from_wgs84, rd_from_wgs84_many
    from geofence.kernels.segment import segment_depth_many
    from geofence.zones import Circle, ZoneSet

    rng = np.random.default_rng(5)
    zones = ZoneSet()
    for i, (lon, lat, count) in enumerate(((4.48, 51.92, 40), (15.4, 47.1, 25), (5.1, 52.1, 4))):
        angle = 2.0 * np.pi * np.arange(count) / count
        radius = 0.01 * rng.uniform(0.5, 1.0, count)
        ring = [
            [lon + r * math.cos(a), lat + r * math.sin(a)]
            for r, a in zip(radius.tolist(), angle.tolist(), strict=True)
        ]
        text = json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
        zones.put(f"z{i}", 1, text.encode())
    zones.put("circle", 1, Circle(519200000, 44800000, 700_000))
    total = hashlib.sha256(zones.dump())

    count = 60
    index = rng.integers(0, 4, count)
    head = zones.arrays().head
    low = np.stack([head[index, 1], head[index, 2]])
    high = np.stack([head[index, 3], head[index, 4]])
    start = rng.integers(low - 400_000, high + 400_000)
    end = start + rng.integers(-300_000, 300_000, start.shape)
    for tolerance_m in (math.inf, 50.0):
        tolerance = np.full(count, tolerance_m)
        total.update(zones.signed_distance_many(index, start[0], start[1], tolerance).tobytes())
    inside = np.empty(count, np.bool_)
    contains_many(zones.arrays(), index, start[0], start[1], inside)
    depth = np.empty(count, np.int64)
    reach = np.full(count, 300.0)
    segment_depth_many(zones.arrays(), index, start[0], start[1], end[0], end[1], reach, depth)
    total.update(inside.tobytes() + depth.tobytes())

    lats = rng.integers(-900_000_000, 900_000_000, count).astype(np.int32)
    lons = rng.integers(-1_800_000_000, 1_800_000_000, count).astype(np.int32)
    x, y = np.empty(count, np.int64), np.empty(count, np.int64)
    rd_from_wgs84_many(lats, lons, x, y)
    total.update(x.tobytes() + y.tobytes())
    for i in range(count):
        a, b, c = int(lats[i]), int(lons[i]), int(lats[i - 1])
        total.update(repr((rd_from_wgs84(a, b), chord_mm(a, b, c, b))).encode())
        for function in (elementary.exp, elementary.tanh, elementary.normal_cdf):
            total.update(repr(float(function(a / 1e8))).encode())
        total.update(repr(float(elementary.log(abs(b) + 1.0))).encode())
        total.update(repr(tuple(map(float, elementary.sin_cos_degrees(b / 1e7)))).encode())
        total.update(repr(float(elementary.arctan2(a / 1e7, b / 1e7))).encode())
    return total.hexdigest()


@pytest.mark.slow
def test_interpreted_and_compiled_give_the_same_bytes() -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.geofence.test_kernels_nojit"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == digest()


if __name__ == "__main__":
    sys.stdout.write(digest())
