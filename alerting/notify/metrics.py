"""What the notifier counts. Labels are names from the configuration and enumerated reasons."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

NO_TARGET: Final = "unknown"
"""Label of what names no target that is configured: an outside name must not become a label."""

_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0,
)  # fmt: skip


class Metrics:
    """The notifier's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "afstand_notify_deliveries_total",
            "Deliveries that are settled: delivered, acknowledged, refused, failed",
            ["target", "status"],
            registry=registry,
        )
        self.attempts = Counter(
            "afstand_notify_attempts_total",
            "Attempts by what became of them",
            ["target", "status"],
            registry=registry,
        )
        self.faults = Counter(
            "afstand_notify_faults_total",
            "Outputs that failed without an attempt, by reason",
            ["reason"],
            registry=registry,
        )
        self.skipped = Counter(
            "afstand_notify_skipped_total",
            "Outputs that are not for delivery, or were settled before",
            ["why"],
            registry=registry,
        )
        self.attempt_seconds = Histogram(
            "afstand_notify_attempt_seconds",
            "Duration of one attempt",
            ["target"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.end_to_end_seconds = Histogram(
            "afstand_notify_end_to_end_seconds",
            "From the journal's time of the notice until its target had it",
            ["target", "urgent"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "afstand_notify_queue_depth",
            "Deliveries that wait for an attempt",
            ["target"],
            registry=registry,
        )
        self.running = Gauge(
            "afstand_notify_attempts_running",
            "Attempts under way",
            ["target"],
            registry=registry,
        )
        self.circuit = Gauge(
            "afstand_notify_circuit_state",
            "0 closed, 1 probing, 2 open",
            ["target"],
            registry=registry,
        )
        self.entries_open = Gauge(
            "afstand_notify_entries_open",
            "Outbox entries taken and not yet acknowledged",
            registry=registry,
        )
        self.settle_failures = Counter(
            "afstand_notify_settle_failures_total",
            "Failed writes of a receipt, an acknowledgement of the outbox, or the delivery log",
            ["what"],
            registry=registry,
        )
        self.acknowledgements = Counter(
            "afstand_notify_acknowledgements_total",
            "Acknowledgements that came in over HTTP, by what became of them",
            ["target", "result"],
            registry=registry,
        )
