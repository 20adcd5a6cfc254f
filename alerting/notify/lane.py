"""What one target still has to get: a pure state machine.

Each target has a lane of its own and no lane knows another: a target that hangs fills its own lane
and nothing else. Inside a lane the most urgent goes first, then the oldest. Urgent deliveries
(panic, proximity, tamper) have places of their own beside the target's concurrency, are never held
by an open circuit, and push the least important delivery out of a full lane.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from afstand.limits import NOTIFY_ORDER_WAIT_MS_MAX
from alerting.notify.backoff import backoff_ms
from alerting.notify.circuit import Circuit, CircuitState
from alerting.notify.delivery import Delivery, Outcome, OutcomeStatus
from alerting.notify.settings import LaneSettings

QUEUE_FULL: Final = "queue-full"
"""Reason of a delivery that had to leave a full lane."""
_OUTDATED_MAX: Final = 64


class Job:
    """One delivery's way through its lane."""

    __slots__ = ("attempts", "delivery", "due_ms", "first_ms", "held", "order", "stamp")

    def __init__(self, delivery: Delivery, order: int, now_ms: int) -> None:
        self.delivery = delivery
        self.order = order
        self.first_ms = now_ms
        self.due_ms = now_ms
        self.attempts = 0
        self.held = False  # waits for an earlier delivery of its group
        self.stamp = 0  # of its valid entry in a heap; entries with another stamp are out of date


Waiting = tuple[int, int, int, Job]


class Lane:
    """The queue, the running attempts and the circuit of one target."""

    def __init__(self, settings: LaneSettings) -> None:
        self._settings = settings
        self._circuit = Circuit(settings.circuit_failures, settings.circuit_open_ms)
        self._later: list[Waiting] = []  # (due_ms, order, stamp, job): in back-off, or held
        self._urgent: list[Waiting] = []  # (rank, order, stamp, job): may start now
        self._normal: list[Waiting] = []
        self._jobs: dict[str, Job] = {}  # waiting or running, by key
        self._running: dict[str, Job] = {}
        self._groups: dict[str, list[Job]] = {}  # unsettled, in order of arrival
        self._orders = 0

    @property
    def depth(self) -> int:
        """How many deliveries wait."""
        return len(self._jobs) - len(self._running)

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._running)

    @property
    def capacity(self) -> int:
        """How many deliveries the lane can hold at once, waiting and running."""
        settings = self._settings
        return settings.queue_max + settings.concurrency + settings.urgent_places

    @property
    def circuit_state(self) -> CircuitState:
        """Tell whether the target is held to be down."""
        return self._circuit.state

    def offer(self, delivery: Delivery, now_ms: int) -> Delivery | None:
        """Take a delivery in; give the one that a full lane lets go for it, perhaps itself.

        A key that the lane has already is not taken twice.
        """
        if delivery.key in self._jobs:
            return None
        dropped = None
        if self.depth >= self._settings.queue_max:
            dropped = self._least_important(delivery)
            if dropped is delivery:
                return dropped
            self.drop(dropped.key, now_ms)
        self._orders += 1
        job = Job(delivery, self._orders, now_ms)
        self._jobs[delivery.key] = job
        if delivery.group is not None:
            siblings = self._groups.setdefault(delivery.group, [])
            if delivery.in_order and siblings:
                job.held = True
                job.due_ms = now_ms + NOTIFY_ORDER_WAIT_MS_MAX
            siblings.append(job)
        self._wait(job, now_ms)
        return dropped

    def start(self, now_ms: int) -> Job | None:
        """Give the next delivery to attempt, now counted as running; None when none may start."""
        self._ripen(now_ms)
        places = self._settings.concurrency
        job = None
        if len(self._running) < places + self._settings.urgent_places:
            job = _pop(self._urgent)
        if job is None and len(self._running) < places and self._circuit.allows(now_ms):
            job = _pop(self._normal)
            if job is not None:
                self._circuit.started()
        if job is not None:
            job.stamp += 1
            job.held = False
            job.attempts += 1
            self._running[job.delivery.key] = job
        return job

    def next_due_ms(self, now_ms: int) -> int | None:
        """Give the time at which `start` is worth calling; None: after an offer or a finish."""
        if len(self._running) >= self._settings.concurrency + self._settings.urgent_places:
            return None
        for heap in (self._later, self._urgent, self._normal):
            _prune(heap)
        if self._urgent:
            return now_ms
        due = [self._later[0][0]] if self._later else []
        if self._normal and len(self._running) < self._settings.concurrency:
            opens_ms = self._circuit.opens_at_ms()
            if opens_ms is not None:
                due.append(max(now_ms, opens_ms))
        return min(due) if due else None

    def finish(self, job: Job, outcome: Outcome, now_ms: int) -> Outcome | None:
        """Note the end of an attempt; give the outcome when it is final, None before another one.

        Final are: delivered, acknowledged, refused, failed; and a retry after the last attempt or
        past the greatest age, which becomes failed with its reason.
        """
        if outcome.reached_target is None:
            self._circuit.abandoned()
        elif outcome.reached_target:
            self._circuit.succeeded()
        else:
            self._circuit.failed(now_ms)
        key = job.delivery.key
        if self._jobs.get(key) is not job:  # dropped meanwhile: settled by somebody else
            return None
        if outcome.status is not OutcomeStatus.RETRY:
            self.drop(key, now_ms)
            return outcome
        wait_ms = self._wait_after(job, outcome)
        exhausted = self._exhausted(job, now_ms + wait_ms)
        if exhausted is not None:
            self.drop(key, now_ms)
            return Outcome(status=OutcomeStatus.FAILED, detail=f"{exhausted}: {outcome.detail}")
        del self._running[key]
        job.due_ms = now_ms + wait_ms
        self._wait(job, now_ms)
        return None

    def abandon(self, job: Job, now_ms: int) -> None:
        """Note that an attempt ended without asking the target: the delivery is settled already."""
        self._circuit.abandoned()
        self.drop(job.delivery.key, now_ms)

    def drop(self, key: str, now_ms: int) -> None:
        """Let go of a delivery that is settled; one of its group that waited for it may go."""
        job = self._jobs.pop(key, None)
        if job is None:
            return
        self._running.pop(key, None)
        job.stamp += 1
        group = job.delivery.group
        if group is None:
            return
        siblings = self._groups[group]
        siblings.remove(job)
        if not siblings:
            del self._groups[group]
        elif siblings[0].held:
            siblings[0].held = False
            siblings[0].due_ms = now_ms
            self._wait(siblings[0], now_ms)

    def _wait_after(self, job: Job, outcome: Outcome) -> int:
        settings, delivery = self._settings, job.delivery
        limit_ms = settings.backoff_ms_max
        wait_ms = backoff_ms(delivery.key, job.attempts, settings.backoff_ms, limit_ms)
        if outcome.retry_after_ms is None:
            return wait_ms
        # What is urgent lets no receiver silence it for longer than its own slowest back-off.
        bound_ms = limit_ms if delivery.urgent else settings.retry_after_ms_max
        return max(wait_ms, min(outcome.retry_after_ms, bound_ms))

    def _exhausted(self, job: Job, next_ms: int) -> str | None:
        if job.attempts >= self._settings.attempts_max:
            return f"after {job.attempts} attempts"
        if next_ms - job.first_ms > self._settings.age_ms_max:
            return f"after {job.attempts} attempts in {self._settings.age_ms_max} ms"
        return None

    def _wait(self, job: Job, now_ms: int) -> None:
        job.stamp += 1
        if job.due_ms > now_ms:
            self._push(self._later, job.due_ms, job)
        else:
            self._push(
                self._urgent if job.delivery.urgent else self._normal, job.delivery.rank, job
            )

    def _push(self, heap: list[Waiting], place: int, job: Job) -> None:
        # Entries of jobs that were pushed out of a full lane would otherwise pile up behind it.
        if len(heap) > 2 * len(self._jobs) + _OUTDATED_MAX:
            heap[:] = [entry for entry in heap if entry[2] == entry[3].stamp]
            heapify(heap)
        heappush(heap, (place, job.order, job.stamp, job))

    def _ripen(self, now_ms: int) -> None:
        _prune(self._later)
        while self._later and self._later[0][0] <= now_ms:
            job = heappop(self._later)[3]
            self._wait(job, now_ms)
            _prune(self._later)

    def _least_important(self, new: Delivery) -> Delivery:
        """Give the waiting delivery that matters least; the new one when no other matters less."""
        worst = (not new.urgent, new.rank, self._orders + 1)
        chosen = new
        for key, job in self._jobs.items():
            place = (not job.delivery.urgent, job.delivery.rank, job.order)
            if place > worst and key not in self._running:
                worst, chosen = place, job.delivery
        return chosen


def _prune(heap: list[Waiting]) -> None:
    """Drop entries of jobs that have moved on, so that the first is valid."""
    while heap and heap[0][2] != heap[0][3].stamp:
        heappop(heap)


def _pop(heap: list[Waiting]) -> Job | None:
    _prune(heap)
    return heappop(heap)[3] if heap else None
