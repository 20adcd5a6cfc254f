"""What a replica counts."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.entries import Entry

if TYPE_CHECKING:
    from afstand.watch.fold import Step

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class WatchMetrics:
    """The metrics of one replica; their names are the reference in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry, partition: str) -> None:
        label = ["partition"]

        def counter(name: str, text: str) -> Counter:
            made = Counter(f"afstand_watch_{name}", text, label, registry=registry)
            return made.labels(partition)

        self.entries = counter("entries", "Journal entries folded")
        self.written = counter("outbox_written", "Outbox entries that this replica wrote first")
        self.refused = counter("outbox_refused", "Outbox entries that another replica had written")
        self.divergences = counter("divergences", "Outbox entries that differ between replicas")
        self.snapshots = counter("snapshots", "Snapshots written")
        self.snapshot_errors = counter("snapshot_errors", "Snapshots that could not be written")
        self.store_errors = counter("store_errors", "Times the store did not answer")
        self._partition = partition
        self._inputs = Counter(
            "afstand_watch_inputs", "What entries held, by kind", ["partition", "kind"], registry=registry
        )
        self._outputs = Counter(
            "afstand_watch_outputs", "Outputs, by kind", ["partition", "kind"], registry=registry
        )
        self._lag = Gauge(
            "afstand_watch_lag_seconds", "Age of the newest folded entry when read", label, registry=registry
        ).labels(partition)
        self._fold = Histogram(
            "afstand_watch_fold_seconds",
            "Time to fold what one read gave, outbox included",
            label,
            buckets=BUCKETS_S,
            registry=registry,
        ).labels(partition)

    def folded(self, step: "Step") -> None:
        """Count one entry."""
        self.entries.inc()
        for kind, count in step.notes.items():
            if count:
                self._inputs.labels(self._partition, kind).inc(count)
        for output in step.outputs:
            self._outputs.labels(self._partition, type(output).__name__).inc()

    @contextlib.contextmanager
    def reading(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Time one read's worth of entries."""
        started = time.perf_counter()
        self._lag.set(max(0.0, time.time() - entries[-1].id.ms / 1000))
        yield
        self._fold.observe(time.perf_counter() - started)
