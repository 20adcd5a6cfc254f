"""Per target: stop knocking at a door that does not open, and look again now and then.

An open circuit holds back only what is not urgent. A panic is always tried at once: its own
back-off is relief enough, and it is the one message for which a wrong guess about the receiver
costs a life.
"""

from enum import IntEnum


class CircuitState(IntEnum):
    """The number is the value of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    """One attempt is under way to see whether the target is back."""
    OPEN = 2


class Circuit:
    """Opens after `failures_max` failed attempts in a row; from then one probe every `open_ms`."""

    __slots__ = ("_failures", "_failures_max", "_open_ms", "_probing", "_until_ms")

    def __init__(self, failures_max: int, open_ms: int) -> None:
        self._failures_max = failures_max
        self._open_ms = open_ms
        self._failures = 0
        self._until_ms = 0
        self._probing = False

    @property
    def state(self) -> CircuitState:
        """Tell whether the target is held to be down."""
        if self._failures < self._failures_max:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._probing else CircuitState.OPEN

    def allows(self, now_ms: int) -> bool:
        """Tell whether an attempt that is not urgent may start."""
        if self._failures < self._failures_max:
            return True
        return not self._probing and now_ms >= self._until_ms

    def opens_at_ms(self) -> int | None:
        """Give the time from which `allows` is true; None: when the attempt under way ends."""
        return None if self._probing else self._until_ms

    def started(self) -> None:
        """Note the start of an attempt that `allows` allowed."""
        self._probing = self._failures >= self._failures_max

    def succeeded(self) -> None:
        """Note an attempt that the target answered, even if it refused the message."""
        self._failures = 0
        self._probing = False

    def abandoned(self) -> None:
        """Note an attempt that ended before the target was asked."""
        self._probing = False

    def failed(self, now_ms: int) -> None:
        """Note an attempt that the target did not answer, or answered with a fault of its own."""
        self._failures += 1
        self._probing = False
        if self._failures >= self._failures_max:
            self._until_ms = now_ms + self._open_ms
