"""What a replica counts."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from afstand.watch.fold import Folded
from ingest.columns import EntryColumns

BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)


class WatchMetrics:
    """The metrics of one process, for all partitions that it watches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            names = ("partition", *labels)
            return Counter(f"afstand_watch_{name}", text, names, registry=registry)

        self.entries = counter("entries", "Journal entries folded")
        self.written = counter("outbox_written", "Outbox entries that this replica wrote first")
        self.refused = counter("outbox_refused", "Outbox entries that another replica had written")
        self.divergences = counter("divergences", "Outbox entries that differ between replicas")
        self.shadow_differences = counter(
            "shadow_differences", "Outbox entries that a shadow computes otherwise"
        )
        self.store_lost = counter("store_lost", "Times that the store had lost what was folded")
        self.snapshots = counter("snapshots", "Snapshots written")
        self.snapshot_errors = counter("snapshot_errors", "Snapshots that could not be written")
        self.store_errors = counter("store_errors", "Times the store did not answer")
        self.inputs = counter("inputs", "What entries held, by kind", "kind")
        self.outputs = counter("outputs", "Outputs, by kind", "kind")
        self.lag = Gauge(
            "afstand_watch_lag_seconds",
            "Age of the newest folded entry when it was read",
            ("partition",),
            registry=registry,
        )
        self.fold = Histogram(
            "afstand_watch_fold_seconds",
            "Time to fold what one read gave, outbox included",
            ("partition",),
            buckets=BUCKETS_S,
            registry=registry,
        )

    def of(self, partition: str) -> "PartitionMetrics":
        """The metrics of one partition."""
        return PartitionMetrics(self, partition)


class BookCollector(Collector):
    """The load on the operators and what the alarm book holds, read when somebody asks."""

    def __init__(self, watched: Mapping[str, Callable[[], Mapping[str, int]]]) -> None:
        """`watched`: by partition, what gives its figures."""
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        """One gauge, by partition and figure."""
        gauge = GaugeMetricFamily(
            "afstand_book",
            "Figures of the alarm book: load on operators (ISA-18.2, EN 50518) and sizes",
            labels=("partition", "figure"),
        )
        for partition, figures in self._watched.items():
            for figure, value in figures().items():
                gauge.add_metric((partition, figure), value)
        yield gauge


class PartitionMetrics:
    """The metrics of one replica of one partition."""

    def __init__(self, all_of_them: WatchMetrics, partition: str) -> None:
        self._all = all_of_them
        self._partition = partition
        self.written = all_of_them.written.labels(partition)
        self.refused = all_of_them.refused.labels(partition)
        self.divergences = all_of_them.divergences.labels(partition)
        self.shadow_differences = all_of_them.shadow_differences.labels(partition)
        self.store_lost = all_of_them.store_lost.labels(partition)
        self.snapshots = all_of_them.snapshots.labels(partition)
        self.snapshot_errors = all_of_them.snapshot_errors.labels(partition)
        self.store_errors = all_of_them.store_errors.labels(partition)
        self._entries = all_of_them.entries.labels(partition)
        self._lag = all_of_them.lag.labels(partition)
        self._fold = all_of_them.fold.labels(partition)

    def folded(self, step: Folded) -> None:
        """Count entries and what they gave."""
        self._entries.inc(step.entries)
        for kind, count in step.notes.items():
            if count:
                self._all.inputs.labels(self._partition, kind).inc(count)
        for output in step.outputs:
            self._all.outputs.labels(self._partition, type(output).__name__).inc()

    @contextlib.contextmanager
    def reading(self, entries: EntryColumns) -> Iterator[None]:
        """Time one read's worth of entries."""
        started = time.perf_counter()
        self._lag.set(max(0.0, time.time() - int(entries.ms[-1]) / 1000))
        yield
        self._fold.observe(time.perf_counter() - started)
