"""The charge of a simulated device. Figures.

Domain.md 7.3 (72 h at a fix a minute, 2 h to charge).
"""

from typing import Final

import msgspec

IDLE_PCT_PER_HOUR: Final = 100.0 / 168.0
FIX_PCT: Final = (100.0 - 72.0 * IDLE_PCT_PER_HOUR) / (72.0 * 60.0)
FRAME_PCT: Final = 0.002
CHARGE_PCT_PER_HOUR: Final = 50.0
LOW_PCT: Final = 20
CRITICAL_PCT: Final = 8
BOOTS_AT_PCT: Final = 3.0
EMPTY_MV: Final = 3_300
FULL_MV: Final = 4_200
HOUR_MS: Final = 3_600_000.0


class Battery(msgspec.Struct):
    """Charge in percent at an instant; integrated whenever the device does something."""

    charge_pct: float
    at_ms: int
    charging: bool = False

    def advance(self, now_ms: int) -> None:
        """Integrate up to an instant (a step back in time costs nothing)."""
        hours = max(0.0, (now_ms - self.at_ms) / HOUR_MS)
        rate = CHARGE_PCT_PER_HOUR if self.charging else -IDLE_PCT_PER_HOUR
        self.charge_pct = min(100.0, max(0.0, self.charge_pct + rate * hours))
        self.at_ms = now_ms

    def spend(self, pct: float) -> None:
        """Take what an action costs; on the charger the mains pays."""
        if not self.charging:
            self.charge_pct = max(0.0, self.charge_pct - pct)

    @property
    def percent(self) -> int:
        """Whole percents, as reported."""
        return int(self.charge_pct)

    @property
    def millivolts(self) -> int:
        """Voltage, as reported."""
        return int(EMPTY_MV + (FULL_MV - EMPTY_MV) * self.charge_pct / 100.0)

    @property
    def empty(self) -> bool:
        """Whether nothing runs any more."""
        return self.charge_pct <= 0.0
