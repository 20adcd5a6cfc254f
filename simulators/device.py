"""A device as a state machine: a happening and the time in, frames to send and actions out.

It reads no clock, draws no random number and does no I/O; whoever drives it (a fleet, a test, a
scenario suite) brings the true time, positions and the link. `Device.handle` is a pure function of
the state and what is passed in.
"""

from typing import Final

import msgspec

from afstand.limits import (
    SIM_BURST_S_MAX,
    SIM_COMMANDS_REMEMBERED_MAX,
    SIM_INTERVAL_S_MAX,
    SIM_PENDING_FIXES_MAX,
)
from firmware_contracts import (
    Command,
    CommandCode,
    EventCode,
    FixFlag,
    FrameError,
    Kind,
    Lane,
    Network,
    StatusFlag,
    StatusReason,
    Tagger,
    decode_acks,
    decode_commands,
)
from firmware_contracts.frames import seal
from firmware_contracts.keys import derive_key, read_key_command
from firmware_contracts.table import struct_of
from simulators.battery import BOOTS_AT_PCT, CRITICAL_PCT, FIX_PCT, FRAME_PCT, LOW_PCT, Battery
from simulators.clock import CLOCK_NOT_SET
from simulators.happenings import (
    Action,
    ActionKind,
    Boots,
    CaseOpens,
    Charger,
    ClockBreaks,
    DeviceSpec,
    Happening,
    Jammed,
    LinkChanges,
    Outgoing,
    Output,
    Place,
    Pressed,
    Received,
    Sensed,
    SetCharge,
    Shielded,
    Strap,
    Wakes,
)
from simulators.ring import Ring, Stored
from simulators.world import mix64

FIRMWARE: Final = 1 << 24
_EVENT: Final = struct_of(Kind.EVENT)
_FIX: Final = struct_of(Kind.FIX)
_STATUS: Final = struct_of(Kind.STATUS)
_NO_ACCURACY: Final = 0xFFFF
PANIC_BURST_S: Final = (10, 600)
POSITION_FRESH_MS: Final = 120_000
FIX_NOW_TRIES: Final = 3
FIX_NOW_RETRY_MS: Final = 5_000
_URGENT: Final = frozenset(
    {EventCode.PANIC, EventCode.DURESS, EventCode.STRAP_CUT, EventCode.CASE_OPENED}
)


class PendingFix(msgspec.Struct):
    """A fix that has not been put into a frame yet."""

    time_ms: int
    place: Place
    battery_pct: int
    flags: int


class Device:
    """One simulated device. All times passed in are true Unix ms.

    What it writes is by its own clock.
    """

    def __init__(self, spec: DeviceSpec, now_ms: int) -> None:
        self.spec = spec
        self.boot = spec.first_boot
        self.sequence = 0
        self.ring = Ring(spec.ring_frames_max, spec.pace)
        self.battery = Battery(charge_pct=spec.charge_pct, at_ms=now_ms)
        self.linked = False
        self.moving = False
        self.strap_closed = True
        self.case_closed = True
        self.interval_moving_s = spec.profile.moving_s
        self.interval_rest_s = spec.profile.rest_s
        self.last_place: Place | None = None
        self.running = True
        self._clock = spec.clock
        self.key_generation = 0
        self._tagger = Tagger(spec.device_id, spec.key)
        self._former: Tagger | None = None
        self._last_place_ms = 0
        self._pending: list[PendingFix] = []
        self._boot_ms = now_ms
        self._burst_s = 0
        self._burst_until_ms = 0
        self._jitters = 0
        self._last_fix_ms = now_ms
        self._next_fix_ms: int | None = None
        self._next_status_ms = now_ms
        self._commands: dict[int, EventCode | None] = {}  # and how each was answered
        self._fix_now: tuple[int, int] | None = None  # command id, tries left
        self._low_told = 100
        self._full_told = False
        self._boot_told = False
        self._dying = False
        self._plan_fix(now_ms, first=True)

    # --- what a driver needs ----------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """Return when the device wants to be woken (a resend counts only while linked)."""
        if not self.running:
            return None
        due = [self._next_status_ms] if self.spec.profile.status_s else []
        if self._next_fix_ms is not None:
            due.append(self._next_fix_ms)
        if self.linked:
            again = self.ring.next_resend_ms()
            if again is not None:
                due.append(again)
        return min(due, default=None)

    def device_time_ms(self, now_ms: int) -> int:
        """Return what the device's clock says."""
        return self._clock.device_time_ms(now_ms)

    def last_will(self) -> bytes:
        """Return the frame that the broker publishes when the link breaks (sequence 0.

        It is never acknowledged).
        """
        return self._seal_status(StatusReason.LAST_WILL, 0, CLOCK_NOT_SET)

    def handle(self, happening: Happening, now_ms: int) -> Output:
        """Take one happening.

        Return the frames to publish now, in order, and what the driver is to do.
        """
        out = Output([], [])
        self.battery.advance(now_ms)
        if not self.running and not isinstance(happening, (Charger, SetCharge, Wakes, Strap)):
            return out
        match happening:
            case Wakes():
                self._wake(happening.moving, now_ms, out)
            case Sensed():
                self._sensed(happening, now_ms)
            case Received():
                self._received(happening, now_ms, out)
            case LinkChanges():
                self._link(up=happening.up, now_ms=now_ms)
            case _:
                self._hardware(happening, now_ms, out)
        self._charge_events(now_ms)
        if self.linked and self.running:
            self._flush_fixes(now_ms)
            for stored in self.ring.to_send(now_ms):
                self.battery.spend(FRAME_PCT)
                out.frames.append(Outgoing(stored.lane, stored.payload, stored.key))
        if self._dying:
            # The last words went out with what is left in the capacitors; nothing after them.
            self.running = self.linked = self._dying = False
        return out

    # --- happenings -------------------------------------------------------------------------------

    def _hardware(self, happening: Happening, now_ms: int, out: Output) -> None:
        match happening:
            case Pressed():
                self._event(happening.code, now_ms)
                if happening.code in _URGENT:
                    self._own_burst(now_ms, out)
            case Boots():
                self._restart(now_ms)
            case ClockBreaks():
                self._clock = happening.fault
            case Strap():
                self._strap(cut=happening.cut, now_ms=now_ms, out=out)
            case CaseOpens():
                self.case_closed = False
                self._event(EventCode.CASE_OPENED, now_ms)
            case Jammed():
                self._event(EventCode.JAMMING if happening.on else EventCode.JAMMING_ENDED, now_ms)
            case Shielded():
                self._event(EventCode.SHIELDING, now_ms)
            case Charger():
                self._charger(on=happening.on, now_ms=now_ms)
            case SetCharge():
                self.battery.charge_pct = happening.percent
            case _:
                raise TypeError(f"no happening of a device: {happening!r}")

    def _wake(self, moving: bool, now_ms: int, out: Output) -> None:
        if not self.running:
            return
        departs = moving and not self.moving
        self.moving = moving
        if departs and self._next_fix_ms is not None:
            # The accelerometer wakes the receiver: a departure is not seen an hour late.
            soon_ms = max(now_ms, self._last_fix_ms + self._interval_ms(now_ms))
            self._next_fix_ms = min(self._next_fix_ms, soon_ms)
        if self._next_fix_ms is not None and now_ms >= self._next_fix_ms:
            self._plan_fix(now_ms)
            out.actions.append(Action(ActionKind.TAKE_FIX))
        if self.spec.profile.status_s and now_ms >= self._next_status_ms:
            self._next_status_ms = now_ms + self.spec.profile.status_s * 1000
            self._status(StatusReason.PERIODIC if self._boot_told else StatusReason.BOOT, now_ms)
            self._boot_told = True

    def _sensed(self, sensed: Sensed, now_ms: int) -> None:
        self.battery.spend(FIX_PCT)
        self._last_fix_ms = now_ms
        asked = self._fix_now
        if sensed.place is not None:
            self.last_place, self._last_place_ms = sensed.place, now_ms
        # A fix without a time would be refused (FC-035).
        if sensed.place is not None and self.device_time_ms(now_ms) != CLOCK_NOT_SET:
            flags = FixFlag(0)
            flags |= FixFlag.MOVING if self.moving else FixFlag(0)
            flags |= FixFlag(0) if self.linked else FixFlag.STORED
            flags |= FixFlag.ON_COMMAND if asked or now_ms < self._burst_until_ms else FixFlag(0)
            flags |= FixFlag.CHARGING if self.battery.charging else FixFlag(0)
            self._pending.append(
                PendingFix(
                    self.device_time_ms(now_ms), sensed.place, self.battery.percent, int(flags)
                )
            )
            if len(self._pending) >= SIM_PENDING_FIXES_MAX:
                self._flush_fixes(now_ms)
        if asked is not None:
            command_id, tries = asked
            if sensed.place is not None or tries <= 1:
                self._fix_now = None
                got = sensed.place is not None
                self._answer(
                    EventCode.COMMAND_DONE if got else EventCode.COMMAND_REFUSED, command_id, now_ms
                )
            else:
                self._fix_now = (command_id, tries - 1)
                self._next_fix_ms = now_ms + FIX_NOW_RETRY_MS

    def _received(self, received: Received, now_ms: int, out: Output) -> None:
        """Obey the server: a frame that is not ours or not sound is ignored, as a device must."""
        if self._tagger.valid(received.payload):
            self._former = None
        elif self._former is None or not self._former.valid(received.payload):
            return
        try:
            if received.lane is Lane.ACK:
                for ack in decode_acks(received.payload):
                    self.ring.covered(ack.boot, ack.first, ack.last)
            elif received.lane is Lane.CMD:
                for command in decode_commands(received.payload):
                    self._obey(command, now_ms, out)
        except FrameError:
            return

    def _obey(self, command: Command, now_ms: int, out: Output) -> None:
        if command.command_id in self._commands:
            answer = self._commands[command.command_id]
            if answer is not None:  # else it is under way still
                self._event(answer, now_ms, command.command_id)
            return
        self._commands[command.command_id] = None
        if len(self._commands) > SIM_COMMANDS_REMEMBERED_MAX:
            del self._commands[next(iter(self._commands))]
        if self.device_time_ms(now_ms) > command.expires_ms:
            self._answer(EventCode.COMMAND_EXPIRED, command.command_id, now_ms)
        elif command.code == CommandCode.FIX_NOW:
            if self._fix_now is not None:
                self._answer(EventCode.COMMAND_DONE, self._fix_now[0], now_ms)
            self._fix_now = (command.command_id, FIX_NOW_TRIES)
            out.actions.append(Action(ActionKind.TAKE_FIX))
        elif self._carried_out(command, now_ms, out):
            self._answer(EventCode.COMMAND_DONE, command.command_id, now_ms)
        else:
            self._answer(EventCode.COMMAND_REFUSED, command.command_id, now_ms)

    def _answer(self, code: EventCode, command_id: int, now_ms: int) -> None:
        if command_id in self._commands:
            self._commands[command_id] = code
        self._event(code, now_ms, command_id)

    def _carried_out(self, command: Command, now_ms: int, out: Output) -> bool:
        first, second = command.arg1, command.arg2
        if command.code == CommandCode.BURST:
            if not (1 <= first <= SIM_INTERVAL_S_MAX and 1 <= second <= SIM_BURST_S_MAX):
                return False
            self._burst(first, second, now_ms)
            out.actions.append(Action(ActionKind.TAKE_FIX))
        elif command.code == CommandCode.PROFILE:
            if not (1 <= first <= SIM_INTERVAL_S_MAX and 1 <= second <= SIM_INTERVAL_S_MAX):
                return False
            self.interval_moving_s, self.interval_rest_s = first, second
            self._plan_fix(now_ms)
        elif command.code == CommandCode.MESSAGE:
            out.actions.append(Action(ActionKind.SHOW_MESSAGE, command.text, command.command_id))
        elif command.code == CommandCode.KEY:
            return self._new_key(command)
        elif command.code == CommandCode.VIBRATE:
            out.actions.append(Action(ActionKind.VIBRATE, "", command.command_id))
        else:
            return False
        return True

    def _new_key(self, command: Command) -> bool:
        """Seal with the key of a later generation from now on; the answer is the first."""
        order = read_key_command(command)
        if order is None or not self.spec.root or order.generation <= self.key_generation:
            return False
        key = derive_key(self.spec.root, self.spec.device_id, *order)
        self.key_generation = order.generation
        self._former, self._tagger = self._tagger, Tagger(self.spec.device_id, key)
        return True

    def _link(self, *, up: bool, now_ms: int) -> None:
        self.ring.forget_sending()
        if up and not self.linked and self.spec.profile.status_s:
            self._status(StatusReason.CONNECTED, now_ms)
        self.linked = up

    def _strap(self, *, cut: bool, now_ms: int, out: Output) -> None:
        if self.strap_closed is not cut:
            return
        self.strap_closed = not cut
        if self.running:
            self._event(EventCode.STRAP_CUT if cut else EventCode.STRAP_RESTORED, now_ms)
            if cut:
                self._own_burst(now_ms, out)

    def _charger(self, *, on: bool, now_ms: int) -> None:
        if on != self.battery.charging:
            self.battery.charging = on
            if self.running:
                self._event(EventCode.CHARGING if on else EventCode.CHARGING_ENDED, now_ms)

    def _charge_events(self, now_ms: int) -> None:
        percent = self.battery.percent
        if not self.running:
            if self.battery.charging and self.battery.charge_pct >= BOOTS_AT_PCT:
                self.running = True
                self._restart(now_ms)
            return
        if percent > LOW_PCT + 5:
            self._low_told = 100
        for line, code in (
            (LOW_PCT, EventCode.BATTERY_LOW),
            (CRITICAL_PCT, EventCode.BATTERY_CRITICAL),
        ):
            if percent <= line < self._low_told and not self.battery.charging:
                self._low_told = line
                self._event(code, now_ms, percent)
        if self.battery.empty:
            self._event(EventCode.SHUTDOWN, now_ms)
            self._flush_fixes(now_ms)
            self._dying = True

    def _restart(self, now_ms: int) -> None:
        """Start anew: flash (ring, boot counter) stays, memory goes."""
        self._flush_fixes(now_ms)
        self.boot += 1
        self.sequence = 0
        self.linked = False
        self.ring.forget_sending()
        self._fix_now = None
        self._burst_until_ms = 0
        self._boot_ms = now_ms
        self._next_status_ms = now_ms
        self._boot_told = False
        self.interval_moving_s, self.interval_rest_s = (
            self.spec.profile.moving_s,
            self.spec.profile.rest_s,
        )
        self._plan_fix(now_ms, first=True)

    # --- reporting --------------------------------------------------------------------------------

    def _own_burst(self, now_ms: int, out: Output) -> None:
        self._burst(*PANIC_BURST_S, now_ms)
        out.actions.append(Action(ActionKind.TAKE_FIX))

    def _burst(self, interval_s: int, duration_s: int, now_ms: int) -> None:
        running = now_ms < self._burst_until_ms
        # A second request never slows a burst that is under way.
        self._burst_s = min(interval_s, self._burst_s) if running else interval_s
        self._burst_until_ms = max(
            now_ms + duration_s * 1000, self._burst_until_ms if running else 0
        )
        self._plan_fix(now_ms)

    def _interval_ms(self, now_ms: int) -> int:
        """Return the present reporting interval; 0: no fix of its own accord (a panic button)."""
        normal_s = self.interval_moving_s if self.moving else self.interval_rest_s
        if now_ms < self._burst_until_ms:
            return min(self._burst_s, normal_s or self._burst_s) * 1000
        return normal_s * 1000

    def _plan_fix(self, now_ms: int, *, first: bool = False) -> None:
        interval_ms = self._interval_ms(now_ms)
        if interval_ms == 0:
            self._next_fix_ms = None
            return
        if first:
            self._next_fix_ms = now_ms + self.spec.phase_ms % interval_ms
            return
        self._jitters += 1
        spread = 2 * self.spec.jitter_ms + 1
        jitter_ms = mix64(self.spec.seed ^ self._jitters) % spread - self.spec.jitter_ms
        self._next_fix_ms = now_ms + max(500, interval_ms + jitter_ms)

    def _flush_fixes(self, now_ms: int) -> None:
        sealed_ms = self.device_time_ms(now_ms)
        if not self._pending or sealed_ms == CLOCK_NOT_SET:
            return
        # An offset may not be positive: a clock that stepped back seals at its newest fix.
        sealed_ms = max(sealed_ms, *(fix.time_ms for fix in self._pending), 0)
        records = b"".join(
            _FIX.pack(
                fix.time_ms - sealed_ms,
                fix.place.lat_e7,
                fix.place.lon_e7,
                fix.place.accuracy_dm,
                fix.place.speed_cm_s,
                fix.place.heading_cdeg,
                fix.place.mechanism,
                fix.place.satellites,
                fix.battery_pct,
                fix.flags,
                fix.place.altitude_m,
            )
            for fix in self._pending
        )
        self._pending.clear()
        self._keep(Kind.FIX, records, sealed_ms, now_ms)

    def _event(self, code: EventCode, now_ms: int, value: int = 0) -> None:
        place = self.last_place
        if place is None or now_ms - self._last_place_ms > POSITION_FRESH_MS:
            record = _EVENT.pack(0, code, value, 0, 0, _NO_ACCURACY, 0, 0)
        else:
            record = _EVENT.pack(
                0, code, value, place.lat_e7, place.lon_e7, place.accuracy_dm, place.mechanism, 0
            )
        self._keep(Kind.EVENT, record, self.device_time_ms(now_ms), now_ms)

    def _status(self, reason: StatusReason, now_ms: int) -> None:
        self.sequence += 1
        device_ms = self.device_time_ms(now_ms)
        payload = self._seal_status(reason, self.sequence, device_ms)
        self._store(Stored(Kind.STATUS, self.boot, self.sequence, payload), now_ms)

    def _seal_status(self, reason: StatusReason, sequence: int, device_ms: int) -> bytes:
        flags = StatusFlag.GNSS_WORKS if self.last_place is not None else StatusFlag(0)
        flags |= StatusFlag.CHARGING if self.battery.charging else StatusFlag(0)
        flags |= StatusFlag.STRAP_CLOSED if self.strap_closed else StatusFlag(0)
        flags |= StatusFlag.CASE_CLOSED if self.case_closed else StatusFlag(0)
        flags |= StatusFlag.CLOCK_SET if device_ms != CLOCK_NOT_SET else StatusFlag(0)
        uptime_s = max(0, self.battery.at_ms - self._boot_ms) // 1000
        record = _STATUS.pack(
            0, uptime_s, FIRMWARE, len(self.ring), self.interval_moving_s, self.interval_rest_s,
            self.battery.millivolts, -85, self.battery.percent, Network.LTE_M, reason, flags,
        )  # fmt: skip
        return seal(
            self._tagger,
            Kind.STATUS,
            record,
            boot=self.boot,
            sequence=sequence,
            device_time_ms=device_ms,
        )

    def _keep(self, kind: Kind, records: bytes, device_ms: int, now_ms: int) -> None:
        self.sequence += 1
        payload = seal(
            self._tagger,
            kind,
            records,
            boot=self.boot,
            sequence=self.sequence,
            device_time_ms=device_ms,
        )
        self._store(Stored(kind, self.boot, self.sequence, payload), now_ms)

    def _store(self, stored: Stored, now_ms: int) -> None:
        lost = self.ring.keep(stored)
        if lost is None:
            self._full_told = False
        elif not self._full_told:
            self._full_told = True
            self._event(EventCode.MEMORY_FULL, now_ms, sum(self.ring.dropped.values()))
