"""Runs one lane: starts attempts when it says so, times them, and tells what became of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from afstand.limits import NOTIFY_LOG_CHECK_MS_MAX
from alerting.book.types import Audience
from alerting.notify.clock import Clock, wait_any, within
from alerting.notify.delivery import Channel, Delivery, Outcome, OutcomeStatus, RenderError
from alerting.notify.lane import Job, Lane
from alerting.notify.metrics import Metrics
from alerting.notify.settings import LaneSettings
from alerting.notify.source import DeliveryLog

Settle = Callable[[Delivery, Outcome | None], Awaitable[None]]
"""Takes a delivery that is settled; None when it was settled before, its receipt journalled."""


class Destination(NamedTuple):
    """A target that can be reached: how, how hard, and for whom."""

    channel: Channel
    lane: LaneSettings
    audiences: frozenset[Audience]


class LaneDriver:
    """One target's lane in the running service."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        clock: Clock,
        log: DeliveryLog,
        metrics: Metrics,
        settle: Settle,
    ) -> None:
        self._name = name
        self._channel = destination.channel
        self._timeout_ms = destination.lane.timeout_ms
        self._lane = Lane(destination.lane)
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._settle = settle
        self._wake = asyncio.Event()
        self._closing = False
        self._busy = 0  # attempts and their settling
        self._logger = logging.getLogger(__name__)

    @property
    def capacity(self) -> int:
        """How many deliveries the lane can hold."""
        return self._lane.capacity

    @property
    def busy(self) -> bool:
        """Tell whether an attempt or its settling is under way."""
        return self._busy > 0

    def offer(self, delivery: Delivery) -> Delivery | None:
        """Take a delivery in; give the one that a full lane lets go for it, perhaps itself."""
        dropped = self._lane.offer(delivery, self._clock.steady_ms())
        self._wake.set()
        return dropped

    def close(self) -> None:
        """Start no attempt any more."""
        self._closing = True

    async def run(self) -> None:
        """Work until cancelled. A fault of ours ends it, loudly: nothing is lost by a restart."""
        async with asyncio.TaskGroup() as attempts:
            while True:
                self._wake.clear()
                now_ms = self._clock.steady_ms()
                while not self._closing and (job := self._lane.start(now_ms)) is not None:
                    self._busy += 1
                    attempts.create_task(self._attempt(job))
                self._show()
                due_ms = None if self._closing else self._lane.next_due_ms(now_ms)
                limit_ms = None if due_ms is None else max(1, due_ms - now_ms)
                await wait_any(self._clock, self._wake, limit_ms)

    async def _attempt(self, job: Job) -> None:
        try:
            delivery = job.delivery
            # Somebody else may have settled it: another notifier, or an acknowledgement that came
            # in over HTTP after an attempt that seemed to fail. Not known before the first attempt
            # of a fresh entry, which this look therefore does not delay.
            again = job.attempts > 1 or delivery.redelivered
            if again and await self._settled_before(delivery.key):
                self._lane.abandon(job, self._clock.steady_ms())
                self._wake.set()
                await self._settle(delivery, None)
                return
            outcome = await self._send(delivery)
            final = self._lane.finish(job, outcome, self._clock.steady_ms())
            self._wake.set()
            if final is not None:
                await self._settle(delivery, final)
        finally:
            self._busy -= 1

    async def _settled_before(self, key: str) -> bool:
        try:
            found = await within(self._clock, NOTIFY_LOG_CHECK_MS_MAX, self._log.settled(key))
        except Exception:  # noqa: BLE001 - whatever ails the log, a copy is better than a miss
            self._metrics.settle_failures.labels("log-read").inc()
            return False
        return found is not None

    async def _send(self, delivery: Delivery) -> Outcome:
        started_ms = self._clock.now_ms()
        if delivery.expires_ms is not None and started_ms >= delivery.expires_ms:
            outcome = Outcome(status=OutcomeStatus.FAILED, detail="expired", reached_target=None)
        else:
            outcome = await self._send_now(delivery, started_ms)
        seconds = max(0, self._clock.now_ms() - started_ms) / 1000
        self._metrics.attempt_seconds.labels(self._name).observe(seconds)
        self._metrics.attempts.labels(self._name, outcome.status.value).inc()
        return outcome

    async def _send_now(self, delivery: Delivery, now_ms: int) -> Outcome:
        try:
            sending = self._channel.send(delivery, now_ms)
            return await within(self._clock, self._timeout_ms, sending)
        except TimeoutError:
            detail = f"no answer in {self._timeout_ms} ms"
            return Outcome(status=OutcomeStatus.RETRY, detail=detail, reached_target=False)
        except RenderError as error:
            detail = f"cannot be sent: {error}"
            return Outcome(status=OutcomeStatus.FAILED, detail=detail, reached_target=None)
        except Exception as error:
            # A fault of ours in one delivery must not stop the others, nor lose this one.
            self._logger.exception("delivery %s to %s", delivery.key, self._name)
            detail = f"fault in the channel: {type(error).__name__}"
            return Outcome(status=OutcomeStatus.RETRY, detail=detail, reached_target=None)

    def _show(self) -> None:
        self._metrics.queue_depth.labels(self._name).set(self._lane.depth)
        self._metrics.running.labels(self._name).set(self._lane.running)
        self._metrics.circuit.labels(self._name).set(self._lane.circuit_state)
