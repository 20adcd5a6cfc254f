"""Playing runs: what arrives, when, and what a request changes."""

import numpy as np
import pytest

from firmware_contracts import EventCode
from simulators.geo import separation_m
from simulators.gnss import SKIES
from simulators.paths import Environment
from simulators.suite import Play, boundaries, coincidences, queensland
from simulators.suite.boundary import indoor_drift, parked
from simulators.suite.places import PLACES
from simulators.suite.queensland import on_foot, strap_cut


def play_out(play: Play, step_ms: int = 5_000):
    """Everything that arrives, in order."""
    fixes, events = [], []
    while play.now_ms < play.end_ms + 60_000:
        arrived = play.advance(play.now_ms + step_ms)
        assert (arrived.fixes["arrive_ms"] <= play.now_ms).all()
        fixes.append(arrived.fixes)
        events += arrived.events
    return np.concatenate(fixes), events


def test_a_device_reports_once_a_minute_as_often_as_its_sky_allows():
    play = Play([parked(seed, 100, hours=6.0) for seed in range(20)])
    fixes, _ = play_out(play, 60_000)
    expected = 20 * 360 * SKIES[Environment.SUBURB].success
    assert len(fixes) == pytest.approx(expected, rel=0.02)
    gaps = np.diff(fixes[fixes["device"] == 3]["time_ms"])
    assert np.median(gaps) == pytest.approx(60_000, abs=500)
    assert (gaps > 58_000).all()
    delay = fixes["arrive_ms"] - fixes["time_ms"]
    assert delay.min() >= 400
    assert np.mean(delay) == pytest.approx(2_500, rel=0.1)


def test_fixes_err_as_the_model_says():
    runs = [parked(seed, 100, hours=6.0) for seed in range(30)]
    play = Play(runs)
    fixes, _ = play_out(play, 60_000)
    lat, lon = PLACES[1].plane.degrees(-100.0, 0.0)
    error = separation_m(fixes["lat_e7"] / 1e7, fixes["lon_e7"] / 1e7, lat, lon)
    # Rayleigh: the median of the radial error is 1.177 sigma.
    assert np.median(error) == pytest.approx(1.1774 * SKIES[Environment.SUBURB].sigma_m, rel=0.1)
    assert set(fixes["accuracy_dm"].tolist()) == {85}


@pytest.mark.slow
def test_nothing_depends_on_the_slices_or_on_who_else_plays():
    runs = [*queensland(3)[:6], *boundaries(3)[:4]]
    whole, _ = play_out(Play(runs), 60_000)
    fine, _ = play_out(Play(runs), 700)
    assert np.array_equal(
        np.sort(whole, order=["device", "time_ms"]), np.sort(fine, order=["device", "time_ms"])
    )
    alone, _ = play_out(Play(runs[4:5]), 60_000)
    play = Play(runs)
    offset = play.index[next(iter(runs[4].persons))]
    count = len(runs[4].devices)
    mine = whole[(whole["device"] >= offset) & (whole["device"] < offset + count)]
    mine["device"] -= offset
    fields = ["time_ms", "device", "lat_e7", "lon_e7", "arrive_ms"]
    assert np.array_equal(np.sort(mine, order=fields), np.sort(alone, order=fields))


def test_a_request_brings_fixes_at_once_and_often_and_then_no_more():
    play = Play([parked(1, 20, hours=1.0)])
    play.advance(play.now_ms + 600_000)
    asked_ms = play.now_ms
    play.request(0, 5, 120, asked_ms)
    fixes = np.concatenate([play.advance(play.now_ms + 1_000).fixes for _ in range(600)])
    times = fixes["time_ms"] - asked_ms
    during = times[(times >= 0) & (times < 122_000)]
    assert during[0] < 12_000
    assert np.median(np.diff(during)) == pytest.approx(5_000, abs=500)
    assert len(during) > 18
    after = times[times > 135_000]
    assert np.median(np.diff(after)) > 50_000
    assert play.requests == 1


def test_a_faster_request_wins_over_a_slower_one():
    play = Play([parked(1, 20, hours=1.0)])
    play.request(0, 30, 300, play.now_ms)
    play.advance(play.now_ms + 60_000)
    play.request(0, 5, 60, play.now_ms)
    play.advance(play.now_ms + 20_000)
    play.request(0, 60, 600, play.now_ms)
    fixes = np.concatenate([play.advance(play.now_ms + 1_000).fixes for _ in range(40)])
    assert np.median(np.diff(fixes["time_ms"])) == pytest.approx(5_000, abs=500)


def test_without_coverage_nothing_comes_then_everything_in_order():
    (run,) = [r for r in boundaries(2) if r.name == "late-after" and r.place == "suburb"]
    (outage,) = run.devices[0].outages
    fixes, _ = play_out(Play([run]), 1_000)
    late = fixes[(fixes["time_ms"] >= outage.from_ms) & (fixes["time_ms"] < outage.to_ms - 10_000)]
    assert len(late) > 8
    assert (late["arrive_ms"] >= outage.to_ms).all()
    assert (np.diff(late["time_ms"]) > 0).all()
    assert late["arrive_ms"].max() - outage.to_ms < 10_000
    assert not ((fixes["arrive_ms"] >= outage.from_ms) & (fixes["arrive_ms"] < outage.to_ms)).any()


def test_a_request_into_a_hole_in_coverage_expires():
    (run,) = [r for r in boundaries(2) if r.name == "late-after" and r.place == "suburb"]
    (outage,) = run.devices[0].outages
    play = Play([run])
    play.advance(outage.from_ms + 5_000)
    play.request(0, 1, 3_000, play.now_ms)
    play.advance(outage.to_ms + 5_000)
    fixes = play.advance(run.end_ms).fixes
    assert np.median(np.diff(fixes["time_ms"])) > 50_000


def test_a_cut_strap_arrives_within_seconds():
    run = strap_cut(PLACES[0], 4)
    _, events = play_out(Play([run]), 1_000)
    (event,) = events
    assert event.code is EventCode.STRAP_CUT
    assert event.time_ms == run.tampers[0].at_ms
    assert 500 <= event.arrive_ms - event.time_ms <= 5_000


def test_fixes_come_from_where_the_device_is_and_not_the_person():
    run = strap_cut(PLACES[0], 4)
    fixes, _ = play_out(Play([run]), 10_000)
    device = run.devices[0].path.at(run.start_ms)
    lat, lon = run.plane.degrees(device.x_m, device.y_m)
    mine = fixes[fixes["device"] == 0]
    error = separation_m(mine["lat_e7"] / 1e7, mine["lon_e7"] / 1e7, lat, lon)
    assert np.median(error) < 50


def test_runs_end_and_time_does_not_go_back():
    play = Play([indoor_drift(1), on_foot(PLACES[1], 1)])
    last = play.runs[1].end_ms
    fixes, _ = play_out(play, 60_000)
    walker = fixes[fixes["device"] >= 1]
    assert walker["time_ms"].max() < last
    assert play.next_due_ms() is None
    with pytest.raises(ValueError, match="back"):
        play.advance(play.now_ms - 1)


def test_the_next_instant_is_known():
    play = Play(coincidences(1))
    due = play.next_due_ms()
    assert due is not None
    assert len(play.advance(due - 1).fixes) == 0
    seen = 0
    for _ in range(40):
        due = play.next_due_ms()
        assert due is not None
        seen += len(play.advance(due).fixes)
    assert seen > 5


def test_runs_that_cannot_be_played_together_are_refused():
    run = on_foot(PLACES[1], 1)
    with pytest.raises(ValueError, match="two devices"):
        Play([run, run])
    with pytest.raises(ValueError, match="start together"):
        Play([])
