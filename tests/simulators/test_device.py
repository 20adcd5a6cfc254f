"""The device: reporting, commands, store and forward, battery, clocks."""

from typing import Any

import numpy as np
import pytest

from afstand.limits import SIM_PENDING_FIXES_MAX
from firmware_contracts import (
    CommandCode,
    EventCode,
    FixFlag,
    Kind,
    Lane,
    StatusReason,
    Tagger,
    encode_ack,
    encode_command,
    read_header,
)
from firmware_contracts.batch import decode_batch
from simulators.clock import LinearDrift, NotSet, Periodic, Steady, Step
from simulators.device import Device
from simulators.happenings import (
    ActionKind,
    Boots,
    CaseOpens,
    Charger,
    ClockBreaks,
    DeviceSpec,
    Jammed,
    LinkChanges,
    Place,
    Pressed,
    Profile,
    Received,
    Sensed,
    SetCharge,
    Shielded,
    Strap,
    Wakes,
)
from simulators.ring import Pace

KEY = bytes(range(16))
T0 = 1_750_000_000_000
HERE = Place(519_200_000, 44_800_000, 60, 140, 9_000)


def device(**kwargs) -> Device:
    spec: dict[str, Any] = {
        "device_id": "d-1",
        "key": KEY,
        "jitter_ms": 0,
        "profile": Profile(60, 3_600, 0),
    }
    return Device(DeviceSpec(**(spec | kwargs)), T0)


def decoded(frames):
    """Decode payloads as the service does: fixes, events, status; every frame must be sound."""
    payloads = [frame.payload for frame in frames]
    lengths = np.array([len(p) for p in payloads])
    offsets = (
        np.concatenate(([0], np.cumsum(lengths)[:-1])) if payloads else np.array([], dtype=int)
    )
    batch = decode_batch(b"".join(payloads), offsets, lengths)
    assert not batch.fault.any()
    tagger = Tagger("d-1", KEY)
    assert all(tagger.valid(payload) for payload in payloads)
    return batch


def events(output):
    batch = decoded([frame for frame in output.frames if frame.lane is Lane.EVENT])
    return list(zip(batch.events.code.tolist(), batch.events.value.tolist(), strict=True))


def ack(*ranges):
    return Received(Lane.ACK, encode_ack("d-1", KEY, records=list(ranges)))


def command(code, command_id=7, expires_ms=T0 + 60_000, **kwargs):
    frame = encode_command(
        "d-1", KEY, command_id=command_id, expires_ms=expires_ms, code=code, **kwargs
    )
    return Received(Lane.CMD, frame)


def drive(one: Device, until_ms: int, step_ms: int = 1_000, moving=False, acknowledge=True):
    """Wake the device when it is due; give it fixes, acknowledge what it sends.

    Returns all frames with times.
    """
    sent = []
    now = T0
    while now < until_ms:
        due = one.next_due_ms()
        now = max(now + 1, min(due if due is not None else until_ms, now + step_ms))
        out = one.handle(Wakes(moving), now)
        frames = list(out.frames)
        if any(action.kind is ActionKind.TAKE_FIX for action in out.actions):
            frames += one.handle(Sensed(HERE), now).frames
        for frame in frames:
            sent.append((now, frame))
            if acknowledge:
                one.handle(ack((*frame.key, frame.key[1])), now)
    return sent


# --- reporting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moving", "interval_s"), [(True, 60), (False, 3_600)])
def test_it_reports_at_the_interval_of_its_profile(moving, interval_s):
    one = device()
    one.handle(LinkChanges(True), T0)
    sent = drive(one, T0 + 6 * interval_s * 1000, 60_000, moving)
    times = [now for now, frame in sent if frame.lane is Lane.FIX]
    assert len(times) >= 5
    assert set(np.diff(times).tolist()) == {interval_s * 1000}


def test_jitter_stays_within_its_bound_and_is_the_same_every_time():
    runs = []
    for _ in range(2):
        one = device(jitter_ms=400, seed=99)
        one.handle(LinkChanges(True), T0)
        runs.append([now for now, _ in drive(one, T0 + 1_800_000, 60_000, True)])
    assert runs[0] == runs[1]
    gaps = np.diff(runs[0])
    assert gaps.min() >= 59_600
    assert gaps.max() <= 60_400
    assert len(set(gaps.tolist())) > 5


def test_departure_is_seen_at_once_and_not_at_the_next_hour():
    one = device()
    one.handle(LinkChanges(True), T0)
    drive(one, T0 + 120_000, 1_000)
    out = one.handle(Wakes(True), T0 + 130_000)
    assert [action.kind for action in out.actions] == [ActionKind.TAKE_FIX]


def test_a_fix_on_the_wire_is_the_one_that_was_sensed():
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(Sensed(HERE), T0 + 5_000)
    fixes = decoded(out.frames).fixes
    row = (
        fixes.lat_e7[0],
        fixes.lon_e7[0],
        fixes.accuracy_dm[0],
        fixes.speed_cm_s[0],
        fixes.heading_cdeg[0],
    )
    assert row == HERE[:5]
    assert fixes.time_ms[0] == T0 + 5_000
    assert fixes.battery_pct[0] == 84


def test_no_position_gives_no_frame():
    one = device()
    one.handle(LinkChanges(True), T0)
    assert one.handle(Sensed(None), T0).frames == []


def test_a_button_reports_nothing_until_it_is_pressed():
    one = device(profile=Profile(0, 0, 0))
    one.handle(LinkChanges(True), T0)
    assert one.next_due_ms() is None
    out = one.handle(Pressed(), T0 + 1_000)
    assert events(out) == [(EventCode.PANIC, 0)]
    assert [action.kind for action in out.actions] == [ActionKind.TAKE_FIX]
    assert one.next_due_ms() == T0 + 11_000
    times = [now - T0 for now, frame in drive(one, T0 + 900_000, 10_000) if frame.lane is Lane.FIX]
    assert np.diff(times).tolist() == [10_000] * (len(times) - 1)
    assert times[-1] <= 611_000


def test_a_press_carries_a_fresh_position_and_no_stale_one():
    one = device()
    one.handle(LinkChanges(True), T0)
    one.handle(Sensed(HERE), T0)
    fresh = decoded(one.handle(Pressed(), T0 + 60_000).frames).events
    stale = decoded(one.handle(Pressed(), T0 + 121_000).frames).events
    assert (fresh.lat_e7[0], fresh.accuracy_dm[0]) == (HERE.lat_e7, HERE.accuracy_dm)
    assert stale.accuracy_dm[-1] == 0xFFFF


def test_status_comes_at_boot_at_connecting_and_every_interval():
    one = device(profile=Profile(0, 0, 600))
    one.handle(LinkChanges(True), T0)
    sent = drive(one, T0 + 1_900_000, 60_000)
    status = decoded([frame for _, frame in sent]).status
    assert status.reason.tolist()[0] == StatusReason.BOOT
    assert StatusReason.PERIODIC in status.reason.tolist()
    assert status.stored_frames.max() <= 2
    will = decode_one(one.last_will()).status
    assert will.reason[0] == StatusReason.LAST_WILL
    assert read_header(one.last_will()).sequence == 0


def decode_one(payload):
    return decode_batch(payload, np.array([0]), np.array([len(payload)]))


# --- commands -------------------------------------------------------------------------------------


def test_a_burst_is_obeyed_answered_and_ends():
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(command(CommandCode.BURST, arg1=5, arg2=120), T0)
    assert events(out) == [(EventCode.COMMAND_DONE, 7)]
    assert [action.kind for action in out.actions] == [ActionKind.TAKE_FIX]
    one.handle(ack((1, 1, 1)), T0)
    sent = drive(one, T0 + 400_000, 1_000, True)
    times = np.array([now - T0 for now, frame in sent if frame.lane is Lane.FIX])
    assert np.diff(times[times <= 120_000]).tolist() == [5_000] * 23
    assert np.diff(times[times > 120_000]).tolist() == [60_000] * (np.sum(times > 120_000) - 1)
    fixes = decoded([frame for _, frame in sent if frame.lane is Lane.FIX]).fixes
    assert fixes.fix_flags[0] & FixFlag.ON_COMMAND
    assert not fixes.fix_flags[-1] & FixFlag.ON_COMMAND


def test_a_slower_burst_does_not_slow_the_one_under_way():
    one = device()
    one.handle(command(CommandCode.BURST, arg1=5, arg2=120), T0)
    one.handle(command(CommandCode.BURST, command_id=8, arg1=30, arg2=300), T0 + 1_000)
    assert one.next_due_ms() == T0 + 6_000


def test_fix_now_is_done_when_the_fix_is_there():
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(command(CommandCode.FIX_NOW), T0)
    assert events(out) == []
    assert [action.kind for action in out.actions] == [ActionKind.TAKE_FIX]
    out = one.handle(Sensed(HERE), T0)
    assert events(out) == [(EventCode.COMMAND_DONE, 7)]


def test_fix_now_without_a_sky_is_refused_after_three_tries():
    one = device()
    one.handle(LinkChanges(True), T0)
    one.handle(command(CommandCode.FIX_NOW), T0)
    assert events(one.handle(Sensed(None), T0)) == []
    assert one.next_due_ms() == T0 + 5_000
    one.handle(Wakes(False), T0 + 5_000)
    assert events(one.handle(Sensed(None), T0 + 5_000)) == []
    assert events(one.handle(Sensed(None), T0 + 10_000)) == [(EventCode.COMMAND_REFUSED, 7)]


def test_messages_and_vibration_reach_the_person():
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(command(CommandCode.MESSAGE, text="Keer om"), T0)
    assert [(a.kind, a.text) for a in out.actions] == [(ActionKind.SHOW_MESSAGE, "Keer om")]
    out = one.handle(command(CommandCode.VIBRATE, command_id=8), T0)
    assert [a.kind for a in out.actions] == [ActionKind.VIBRATE]
    assert events(out) == [(EventCode.COMMAND_DONE, 8)]


def test_a_profile_changes_the_interval_until_the_next_boot():
    one = device()
    one.handle(LinkChanges(True), T0)
    one.handle(command(CommandCode.PROFILE, arg1=15, arg2=300), T0)
    assert (one.interval_moving_s, one.interval_rest_s) == (15, 300)
    one.handle(Boots(), T0 + 1_000)
    assert (one.interval_moving_s, one.interval_rest_s) == (60, 3_600)


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (command(CommandCode.BURST, arg1=5, arg2=60, expires_ms=T0 - 1), EventCode.COMMAND_EXPIRED),
        (command(CommandCode.BURST, arg1=0, arg2=60), EventCode.COMMAND_REFUSED),
        (command(CommandCode.BURST, arg1=5, arg2=4_000_000), EventCode.COMMAND_REFUSED),
        (command(CommandCode.PROFILE, arg1=0, arg2=1), EventCode.COMMAND_REFUSED),
        (command(99), EventCode.COMMAND_REFUSED),
    ],
)
def test_what_is_late_or_impossible_is_answered_and_not_done(received, answer):
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(received, T0)
    assert events(out) == [(answer, 7)]
    assert out.actions == []


def test_a_command_that_comes_twice_is_done_once_and_answered_alike():
    """FC-082: also when its time is over by then."""
    one = device()
    one.handle(LinkChanges(True), T0)
    assert len(one.handle(command(CommandCode.VIBRATE), T0).actions) == 1
    out = one.handle(command(CommandCode.VIBRATE), T0 + 61_000)
    assert (events(out)[-1], out.actions) == ((EventCode.COMMAND_DONE, 7), [])
    one.handle(command(CommandCode.FIX_NOW, 8), T0 + 1)
    assert one.handle(command(CommandCode.FIX_NOW, 8), T0 + 2).frames == []  # under way still


def test_a_forged_or_broken_command_is_ignored():
    one = device()
    one.handle(LinkChanges(True), T0)
    sound = command(CommandCode.VIBRATE).payload
    forged = encode_command(
        "d-1", b"x" * 16, command_id=1, expires_ms=T0 + 9, code=CommandCode.VIBRATE
    )
    other = encode_command("d-2", KEY, command_id=1, expires_ms=T0 + 9, code=CommandCode.VIBRATE)
    own = one.handle(Sensed(HERE), T0).frames[0].payload
    for payload in (b"", sound[:-1], forged, other, own, sound[:40] + bytes(len(sound) - 40)):
        out = one.handle(Received(Lane.CMD, payload), T0)
        assert (out.frames, out.actions) == ([], [])
    assert len(one.handle(Received(Lane.CMD, sound), T0).actions) == 1


# --- store and forward ----------------------------------------------------------------------------


def test_nothing_is_sent_without_a_link_and_everything_after():
    one = device()
    for minute in range(40):
        assert one.handle(Sensed(HERE), T0 + minute * 60_000).frames == []
    one.handle(Pressed(), T0 + 40 * 60_000)
    out = one.handle(LinkChanges(True), T0 + 41 * 60_000)
    assert [frame.lane for frame in out.frames] == [Lane.EVENT, Lane.FIX, Lane.FIX]
    fixes = decoded(out.frames).fixes
    assert sorted(fixes.time_ms.tolist()) == [T0 + minute * 60_000 for minute in range(40)]
    assert (fixes.fix_flags & FixFlag.STORED).all()
    assert max(read_header(f.payload).count for f in out.frames) == SIM_PENDING_FIXES_MAX


def test_a_frame_is_sent_again_until_the_server_has_it_and_not_after():
    one = device(pace=Pace(window=4, resend_ms=30_000, event_resend_ms=10_000, doublings_max=2))
    one.handle(LinkChanges(True), T0)
    key = one.handle(Sensed(HERE), T0).frames[0].key
    times = []
    for now in range(T0, T0 + 600_000, 1_000):
        times += [now - T0 for frame in one.handle(Wakes(False), now).frames if frame.key == key]
    assert times == [30_000, 90_000, 210_000, 330_000, 450_000, 570_000]
    one.handle(ack((1, 1, key[1])), T0 + 600_000)
    assert len(one.ring) == 0
    assert one.handle(Wakes(False), T0 + 900_000).frames == []


def test_an_ack_of_another_boot_or_range_covers_nothing():
    one = device()
    one.handle(LinkChanges(True), T0)
    one.handle(Sensed(HERE), T0)
    for ranges in ((2, 1, 1), (1, 2, 4_000_000_000), (0, 0, 4_294_967_295)):
        one.handle(ack(ranges), T0)
        assert len(one.ring) == 1
    one.handle(Received(Lane.ACK, encode_ack("d-1", b"y" * 16, records=[(1, 1, 1)])), T0)
    assert len(one.ring) == 1
    one.handle(ack((5, 1, 9), (1, 0, 4_294_967_295)), T0)
    assert len(one.ring) == 0


def test_a_press_and_the_present_place_overtake_a_full_window():
    one = device(pace=Pace(window=3))
    for minute in range(200):
        one.handle(Sensed(HERE), T0 + minute * 60_000)
    now = T0 + 200 * 60_000
    assert len(one.handle(LinkChanges(True), now).frames) == 3
    live = one.handle(Sensed(HERE), now + 1).frames
    assert decoded(live).fixes.time_ms.tolist() == [now + 1]
    out = one.handle(Pressed(), now + 2)
    assert [frame.lane for frame in out.frames] == [Lane.EVENT]


def test_a_reboot_keeps_what_was_stored_and_counts_boots():
    one = device()
    one.handle(Sensed(HERE), T0)
    one.handle(Pressed(), T0)
    one.handle(Boots(), T0 + 1_000)
    out = one.handle(LinkChanges(True), T0 + 2_000)
    assert sorted(frame.key for frame in out.frames) == [(1, 1), (1, 2)]
    assert one.handle(Sensed(HERE), T0 + 3_000).frames[0].key == (2, 1)


def test_a_full_memory_drops_status_then_fixes_and_says_so():
    one = device(ring_frames_max=6, profile=Profile(60, 60, 0))
    for number in range(4):
        one.handle(Pressed(EventCode.SELF_TEST), T0 + number)
    for number in range(SIM_PENDING_FIXES_MAX * 5):
        one.handle(Sensed(HERE), T0 + 1_000 * number)
    stored = one.ring.frames()
    assert len(stored) == 6
    assert one.ring.dropped[Kind.EVENT] == 0
    assert one.ring.dropped[Kind.FIX] >= 3
    out = one.handle(LinkChanges(True), T0 + 10**6)
    codes = [code for code, _ in events(out)]
    assert codes.count(EventCode.SELF_TEST) == 4
    assert codes.count(EventCode.MEMORY_FULL) == 1


# --- hardware -------------------------------------------------------------------------------------


def test_a_cut_strap_is_told_once_and_the_device_reports_often():
    one = device()
    one.handle(LinkChanges(True), T0)
    out = one.handle(Strap(cut=True), T0)
    assert events(out) == [(EventCode.STRAP_CUT, 0)]
    assert [action.kind for action in out.actions] == [ActionKind.TAKE_FIX]
    assert one.handle(Strap(cut=True), T0 + 1).frames == []
    assert events(one.handle(Strap(cut=False), T0 + 2)) == [(EventCode.STRAP_RESTORED, 0)]


@pytest.mark.parametrize(
    ("happening", "code"),
    [
        (CaseOpens(), EventCode.CASE_OPENED),
        (Jammed(True), EventCode.JAMMING),
        (Jammed(False), EventCode.JAMMING_ENDED),
        (Shielded(), EventCode.SHIELDING),
        (Charger(True), EventCode.CHARGING),
        (Pressed(EventCode.SELF_TEST), EventCode.SELF_TEST),
        (Pressed(EventCode.DURESS), EventCode.DURESS),
    ],
)
def test_each_happening_has_its_event(happening, code):
    one = device()
    one.handle(LinkChanges(True), T0)
    assert events(one.handle(happening, T0)) == [(code, 0)]


def test_a_battery_runs_down_tells_in_time_dies_and_comes_back():
    one = device(charge_pct=22.0, profile=Profile(60, 60, 0))
    one.handle(LinkChanges(True), T0)
    sent = drive(one, T0 + 30 * 3_600_000, 60_000, True)
    told = decoded([frame for _, frame in sent if frame.lane is Lane.EVENT]).events
    assert told.code.tolist() == [
        EventCode.BATTERY_LOW,
        EventCode.BATTERY_CRITICAL,
        EventCode.SHUTDOWN,
    ]
    assert told.value.tolist()[:2] == [20, 8]
    assert one.next_due_ms() is None
    assert one.handle(Pressed(), T0 + 31 * 3_600_000).frames == []
    one.handle(Charger(True), T0 + 31 * 3_600_000)
    one.handle(Wakes(False), T0 + 33 * 3_600_000)
    assert one.running
    assert one.boot == 2
    assert one.battery.percent > 90


@pytest.mark.slow
def test_it_runs_for_three_days_at_a_fix_a_minute():
    one = device(charge_pct=100.0, profile=Profile(60, 60, 0))
    one.handle(LinkChanges(True), T0)
    drive(one, T0 + 90 * 3_600_000, 60_000, True)
    hours = (one.battery.at_ms - T0) / 3_600_000
    assert not one.running
    assert hours > 60


def test_charging_stops_the_warnings():
    one = device(charge_pct=50.0)
    one.handle(LinkChanges(True), T0)
    one.handle(Charger(True), T0)
    assert events(one.handle(SetCharge(5.0), T0)) == []
    assert events(one.handle(Charger(False), T0)) == [
        (EventCode.CHARGING_ENDED, 0),
        (EventCode.BATTERY_LOW, 5),
        (EventCode.BATTERY_CRITICAL, 5),
    ]


# --- clocks ---------------------------------------------------------------------------------------


def test_each_clock_fault_has_its_formula():
    assert Steady().device_time_ms(T0) == T0
    assert (
        LinearDrift(ppm=50.0, since_ms=T0).device_time_ms(T0 + 86_400_000)
        == T0 + 86_400_000 + 4_320
    )
    jump = Step(at_ms=T0 + 10, offset_ms=-3_600_000)
    assert (jump.device_time_ms(T0 + 9), jump.device_time_ms(T0 + 10)) == (
        T0 + 9,
        T0 + 10 - 3_600_000,
    )
    swing = Periodic(amplitude_ms=500, period_ms=60_000)
    offsets = [swing.device_time_ms(t) - t for t in range(T0, T0 + 60_000, 100)]
    assert (min(offsets), max(offsets)) == (-500, 500)
    assert abs(sum(offsets)) < 5
    unset = NotSet(until_ms=T0 + 5)
    assert (unset.device_time_ms(T0), unset.device_time_ms(T0 + 5)) == (0, T0 + 5)


@pytest.mark.parametrize(
    "fault",
    [
        LinearDrift(ppm=-400.0, since_ms=T0 - 86_400_000),
        Step(at_ms=T0 + 90_000, offset_ms=-7_200_000),
        Step(at_ms=T0 + 90_000, offset_ms=7_200_000),
        Periodic(amplitude_ms=4_000, period_ms=30_000),
    ],
)
def test_frames_of_a_wrong_clock_are_sound_and_say_what_the_clock_said(fault):
    one = device(clock=fault)
    times = [T0 + 20_000 * n for n in range(12)]
    for now in times:
        one.handle(Sensed(HERE), now)
    fixes = decoded(one.handle(LinkChanges(True), T0 + 300_000).frames).fixes
    assert fixes.time_ms.tolist() == [fault.device_time_ms(now) for now in times]


def test_a_clock_that_was_never_set_writes_zero_and_the_press_still_counts():
    one = device(clock=NotSet(until_ms=T0 + 60_000))
    one.handle(LinkChanges(True), T0)
    out = one.handle(Pressed(), T0)
    assert read_header(out.frames[0].payload).device_time_ms == 0
    assert decoded(out.frames).events.time_ms[0] == 0


def test_a_fix_without_a_time_is_not_sent():
    """FC-035: it would be refused, and be lost."""
    one = device(clock=NotSet(until_ms=T0 + 60_000))
    one.handle(LinkChanges(True), T0)
    assert one.handle(Sensed(HERE), T0 + 1).frames == []
    out = one.handle(Sensed(HERE), T0 + 60_000)
    assert decoded(out.frames).fixes.time_ms.tolist() == [T0 + 60_000]


def test_a_clock_may_break_while_it_runs():
    one = device()
    one.handle(LinkChanges(True), T0)
    one.handle(ClockBreaks(Step(at_ms=T0 + 1_000, offset_ms=500_000)), T0 + 1_000)
    out = one.handle(Sensed(HERE), T0 + 2_000)
    assert decoded(out.frames).fixes.time_ms[0] == T0 + 502_000
