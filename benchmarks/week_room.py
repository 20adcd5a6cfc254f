"""The people of the simulated week: operators who answer, handle and close; receivers that take."""

import heapq
import itertools
from typing import Final

import numpy as np

from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    AlarmRecord,
    AlarmState,
    Audience,
    Countersign,
    Dispose,
    Disposition,
    Input,
    Need,
    Notice,
    Output,
    Purpose,
    Receipt,
    ReceiptStatus,
    Shelve,
)

_LATCHED: Final = (
    AlarmClass.PANIC,
    AlarmClass.PROXIMITY,
    AlarmClass.TAMPER,
    AlarmClass.AREA_BREACH,
)


class Room:
    """Operators and receivers: they answer what they are told, and handle it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._later: list[tuple[int, int, Input]] = []
        self._count = itertools.count()
        self.open: dict[str, AlarmRecord] = {}

    def due(self, now_ms: int) -> list[Input]:
        """What they do by now."""
        found: list[Input] = []
        while self._later and self._later[0][0] <= now_ms:
            said = heapq.heappop(self._later)[2]
            if not isinstance(said, Shelve) or self._still_active(said.alarm_id):
                found.append(said)
        return found

    def _still_active(self, alarm_id: str) -> bool:
        alarm = self.open.get(alarm_id)
        active = (AlarmState.ACTIVE_ACKNOWLEDGED, AlarmState.ACTIVE_UNACKNOWLEDGED)
        return alarm is not None and alarm.state in active and alarm.shelved_until_ms is None

    def _do(self, at_ms: int, said: Input) -> None:
        heapq.heappush(self._later, (at_ms, next(self._count), said))

    def hear(self, output: Output, key: str, now_ms: int) -> None:
        """Something came out of the book."""
        if isinstance(output, AlarmRecord):
            if output.state is AlarmState.CLOSED:
                self.open.pop(output.alarm_id, None)
            else:
                self.open[output.alarm_id] = output
        if not isinstance(output, Notice) or output.purpose not in (
            Purpose.ALERT,
            Purpose.ESCALATION,
        ):
            return
        if output.needs is Need.DELIVERED:
            status = ReceiptStatus.DELIVERED
            at_ms = now_ms + 1000
            self._do(at_ms, Receipt(key=key, status=status, target=output.target, at_ms=at_ms))
        elif output.audience is Audience.MONITORING_CENTRE:
            self._handle(output, now_ms)
        else:
            at_ms = now_ms + 1000 * int(self._rng.integers(10, 45))
            status = ReceiptStatus.ACKNOWLEDGED
            self._do(at_ms, Receipt(key=key, status=status, target=output.target, at_ms=at_ms))

    def _handle(self, notice: Notice, now_ms: int) -> None:
        """An operator takes it, calls, and in the end closes it or, while it lasts, shelves it."""
        incident_id = notice.incident_id
        at_ms = now_ms + round(1000 * float(np.clip(self._rng.lognormal(2.8, 0.6), 4, 170)))
        self._do(at_ms, Acknowledge(incident_id=incident_id, by="operator"))
        handled_ms = at_ms + 60_000 * int(self._rng.integers(4, 12))
        if notice.alarm_class in _LATCHED:
            last = notice.round >= 4
            dispose = Dispose(
                incident_id=incident_id,
                by="operator",
                disposition=Disposition.HANDLED,
                note="called, see the map",
                despite_active=last,
            )
            self._do(handled_ms, dispose)
            self._do(handled_ms + 30_000, Countersign(incident_id=incident_id, by="second"))
        else:
            until_ms = handled_ms + 3_600_000
            self._do(
                handled_ms,
                Shelve(
                    alarm_id=notice.alarm_id,
                    by="operator",
                    reason="called, known",
                    until_ms=until_ms,
                ),
            )
