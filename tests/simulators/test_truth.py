"""Ground truth against shapely and against dense sampling."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.approaches import (
    Pursuit,
    following,
    in_parallel,
    passing,
    straight,
    then,
    towards_each_other,
    visit,
)
from simulators.geo import LocalPlane
from simulators.paths import Environment, Fixed, Mode, Path, PathBuilder, Switched, standing
from simulators.truth import (
    Area,
    closest_approach,
    distance_at,
    inside_intervals,
    outside_intervals,
    within_intervals,
)

PLANE = LocalPlane(51.92, 4.48)
T0 = 1_700_000_000_000
coordinate = st.integers(-400, 400)
points = st.tuples(coordinate, coordinate)


def path_of(places, step_ms=10_000) -> Path:
    count = len(places)
    x, y = np.array(places, dtype=np.float64).T
    return Path(
        T0 + np.arange(count, dtype=np.int64) * step_ms,
        x,
        y,
        np.zeros(count, dtype=np.uint8),
        np.full(count, Mode.WALK, dtype=np.uint8),
    )


def polygon_with_hole():
    outer = [(-200.0, -200.0), (250.0, -150.0), (180.0, 220.0), (-150.0, 180.0)]
    hole = [(-50.0, -50.0), (60.0, -40.0), (40.0, 70.0), (-60.0, 40.0)]
    return shapely.Polygon(outer, [hole]), Area([outer, hole])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(points, min_size=2, max_size=12))
def test_time_inside_is_what_shapely_cuts_off_the_path(places):
    polygon, area = polygon_with_hole()
    path = path_of([(x + 0.37, y + 0.61) for x, y in places])
    # A float of Unix milliseconds has steps of 0.25 us, and there are a few dozen of them.
    spans = inside_intervals(path, area)
    expected_ms = 0.0
    for i in range(len(places) - 1):
        leg = shapely.LineString([(path.x_m[i], path.y_m[i]), (path.x_m[i + 1], path.y_m[i + 1])])
        if leg.length:
            expected_ms += 10_000.0 * polygon.intersection(leg).length / leg.length
        else:
            expected_ms += 10_000.0 * polygon.contains(shapely.Point(leg.coords[0]))
    assert sum(span.length_ms for span in spans) == pytest.approx(expected_ms, abs=0.02)
    outside = outside_intervals(path, area)
    total = sum(span.length_ms for span in (*spans, *outside))
    assert total == pytest.approx(path.end_ms - path.start_ms, abs=0.02)


@settings(max_examples=100, deadline=None)
@given(points)
def test_signed_distance_is_shapelys(point):
    polygon, area = polygon_with_hole()
    x, y = point[0] + 0.123, point[1] + 0.456
    expected = shapely.Point(x, y).distance(polygon.boundary)
    inside = polygon.contains(shapely.Point(x, y))
    assert area.signed_distance_m(x, y) == pytest.approx(
        expected if inside else -expected, abs=1e-9
    )


def test_multipolygons_and_geojson_are_read():
    square = [[0.0, 0.0], [0.001, 0.0], [0.001, 0.001], [0.0, 0.001], [0.0, 0.0]]
    moved = [[lon + 0.01, lat] for lon, lat in square]
    plane = LocalPlane(0.0, 0.0)
    area = Area.from_geojson({"type": "MultiPolygon", "coordinates": [[square], [moved]]}, plane)
    assert area.contains(*plane.metres(0.0005, 0.0005))
    assert area.contains(*plane.metres(0.0005, 0.0105))
    assert not area.contains(*plane.metres(0.0005, 0.005))
    assert Area.from_geojson({"type": "Polygon", "coordinates": [square]}, plane).contains(
        50.0, 50.0
    )
    with pytest.raises(ValueError, match="edges"):
        Area([])


def test_a_path_along_an_edge_and_through_a_corner_has_whole_intervals():
    area = Area([[(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]])
    diagonal = inside_intervals(path_of([(-100.0, -100.0), (200.0, 200.0)], 3_000), area)
    assert len(diagonal) == 1
    assert diagonal[0] == pytest.approx((T0 + 1_000.0, T0 + 2_000.0))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(points, min_size=2, max_size=6),
    st.lists(points, min_size=2, max_size=6),
    st.integers(20, 300),
)
def test_time_within_a_radius_is_what_sampling_sees(one, other, radius):
    a, b = path_of(one), path_of(other, 7_000)
    spans = within_intervals(a, b, radius, PLANE)
    times = np.linspace(max(a.start_ms, b.start_ms), min(a.end_ms, b.end_ms), 400)
    for t in times:
        distance = distance_at(a, b, t, PLANE)
        if abs(distance - radius) > 0.5:
            assert any(s.from_ms <= t <= s.to_ms for s in spans) == (distance < radius)


def test_the_closest_approach_is_below_every_sample():
    a = path_of([(0, 0), (300, 40), (-100, 200)])
    b = path_of([(200, 200), (-50, -20), (80, 80)], 9_000)
    best = closest_approach(a, b, PLANE)
    samples = [distance_at(a, b, t, PLANE) for t in np.linspace(T0, T0 + 18_000, 2_000)]
    assert best.distance_m <= min(samples) + 1e-6
    assert best.distance_m == pytest.approx(min(samples), abs=0.3)


def test_paths_without_common_time_have_no_truth():
    with pytest.raises(ValueError, match="no time in common"):
        within_intervals(
            path_of([(0, 0), (1, 1)]), straight(T0 + 10**7, (0, 0), (9, 9), Mode.WALK), 5.0, PLANE
        )


# --- approaches: what each one promises, by the truth alone ---------------------------------------


def test_a_walk_in_reaches_the_place_and_a_visit_leaves_it_again():
    area = Area([[(0.0, -50.0), (100.0, -50.0), (100.0, 50.0), (0.0, 50.0)]])
    walk = straight(T0, (-139.0, 0.0), (50.0, 0.0), Mode.WALK).window(T0, T0 + 600_000)
    entered = inside_intervals(walk, area)
    assert [round(span.from_ms - T0) for span in entered] == [100_000]
    there_and_back = visit(T0, (-139.0, 0.0), (50.0, 0.0), 120_000, Mode.WALK)
    spans = inside_intervals(there_and_back, area)
    assert len(spans) == 1
    assert spans[0].length_ms == pytest.approx(120_000 + 2 * 50.0 / 1.39 * 1000.0, abs=3.0)


@pytest.mark.parametrize(("aside_m", "heading"), [(0.0, 0.0), (30.0, 123.0), (-80.0, 300.0)])
def test_passing_by_is_closest_at_its_distance_aside(aside_m, heading):
    run = passing(T0, (100.0, -40.0), heading, 800.0, aside_m, Mode.CAR)
    centre = standing(T0, 100.0, -40.0, Environment.SUBURB).window(T0, run.end_ms)
    best = closest_approach(run, centre, PLANE)
    assert best.distance_m == pytest.approx(abs(aside_m), abs=0.1)
    assert best.at_ms == pytest.approx((run.start_ms + run.end_ms) / 2, abs=50)


def test_two_who_go_towards_each_other_meet():
    one, other = towards_each_other(T0, (0.0, 0.0), (900.0, 0.0), Mode.WALK, Mode.CYCLE)
    assert one.end_ms == pytest.approx(other.end_ms, abs=2)
    assert closest_approach(one, other, PLANE).distance_m < 0.01


def test_parallel_travel_keeps_its_gap():
    first, second = in_parallel(T0, (0.0, 0.0), (10_000.0, 0.0), Mode.MOTORWAY, 200.0)
    middle = (first.start_ms + first.end_ms) / 2
    assert distance_at(first, second, middle, PLANE) == pytest.approx(200.0, rel=0.01)


def test_a_follower_is_where_the_leader_was():
    leader = Fixed(straight(T0, (0.0, 0.0), (1_000.0, 0.0), Mode.WALK))
    behind = following(leader, T0 + 60_000, T0 + 300_000, 60_000)
    for t in range(T0 + 60_000, T0 + 300_000, 7_000):
        assert behind.at(t).x_m == pytest.approx(leader.at(t - 60_000).x_m, abs=1e-6)


def test_a_pursuit_catches_up_with_whoever_is_slower_and_stays():
    target = Fixed(straight(T0, (0.0, 500.0), (600.0, 500.0), Mode.WALK))
    pursuer = Pursuit(target, T0, (0.0, 0.0), 5.0, Mode.CYCLE).until(T0 + 600_000)
    path, prey = pursuer.path(T0, T0 + 600_000), target.path(T0, T0 + 600_000)
    within = within_intervals(path, prey, 20.0, PLANE)
    assert len(within) == 1
    assert within[0].to_ms == T0 + 600_000
    steps = np.hypot(np.diff(path.x_m), np.diff(path.y_m))
    assert steps.max() <= 5.0 + 1e-6


# --- paths ----------------------------------------------------------------------------------------


def test_a_path_stands_still_before_and_after():
    path = straight(T0, (0.0, 0.0), (100.0, 0.0), Mode.CYCLE)
    assert path.at(T0 - 5_000).speed_m_s == 0.0
    assert path.at(T0 + 1_000).speed_m_s == pytest.approx(4.2, rel=1e-3)
    assert path.at(path.end_ms + 1)[:2] == (100.0, 0.0)
    assert path.velocities([T0 - 1, T0 + 1_000, path.end_ms + 1])[0] == pytest.approx(
        [0.0, 4.2, 0.0], rel=1e-3
    )


def test_arrays_of_a_path_agree_with_single_instants():
    path = visit(T0, (0.0, 0.0), (50.0, 90.0), 30_000, Mode.WALK)
    times = np.arange(T0 - 3_000, path.end_ms + 3_000, 1_700)
    xs, ys = path.positions(times)
    vx, vy = path.velocities(times)
    environments = path.environments(times)
    for row, t in enumerate(times.tolist()):
        truth = path.at(t)
        assert (xs[row], ys[row]) == pytest.approx(truth[:2], abs=1e-6)
        assert (vx[row], vy[row]) == pytest.approx(truth[2:4], abs=1e-6)
        assert environments[row] == truth.environment


def test_a_switched_mover_is_one_then_the_other():
    before = Fixed(standing(T0, 5.0, 5.0, Environment.WINDOW))
    after = Fixed(straight(T0 + 60_000, (5.0, 5.0), (105.0, 5.0), Mode.WALK))
    mover = Switched(before, after, T0 + 60_000)
    assert mover.at(T0 + 30_000).environment is Environment.WINDOW
    path = mover.path(T0, T0 + 600_000)
    for t in range(T0, T0 + 600_000, 13_000):
        assert path.at(t)[:2] == pytest.approx(mover.at(t)[:2], abs=1e-6)
    assert mover.path(T0, T0 + 1_000).end_ms == T0 + 1_000
    assert mover.path(T0 + 70_000, T0 + 80_000).start_ms == T0 + 70_000


def test_paths_in_disorder_are_refused():
    with pytest.raises(ValueError, match="time order"):
        path_of([(0, 0), (1, 1)], -5)
    later = straight(T0, (0.0, 0.0), (9.0, 9.0), Mode.WALK)
    with pytest.raises(ValueError, match="before the first"):
        then(later, later)
    joined = then(later, later.delayed(later.end_ms - T0 + 5_000))
    assert joined.end_ms == 2 * later.end_ms - T0 + 5_000


def test_a_builder_keeps_time_and_place():
    route = PathBuilder(T0, 0.0, 0.0, Environment.WINDOW).stay(T0 + 1_000).stay(T0 + 500)
    route.go([(0.0, 0.0), (14.0, 0.0)], 1.4, Mode.WALK, [Environment.SUBURB, Environment.CANYON])
    assert (route.now_ms, route.place) == (T0 + 11_000, (14.0, 0.0))
    path = route.build()
    assert path.at(T0 + 6_000).environment is Environment.CANYON
    assert path.at(T0 + 500).environment is Environment.WINDOW
