"""The figures of an intake, for Prometheus.

Counted per batch: one addition per figure and tick, whatever the batch holds.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class IntakeMetrics:
    """All figures of one intake, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, doc: str, *labels: str) -> Counter:
            return Counter(f"afstand_intake_{name}", doc, labels, registry=registry)

        def gauge(name: str, doc: str, *labels: str) -> Gauge:
            return Gauge(f"afstand_intake_{name}", doc, labels, registry=registry)

        self.received = counter("received", "Messages taken from the broker", "connection")
        self.journalled = counter("journalled", "Frames made durable", "lane")
        self.copies = counter("copies", "Frames stored before, acknowledged again", "connection")
        self.ignored = counter("ignored", "Valid messages that hold nothing we want", "why")
        self.quarantined = counter("quarantined", "Messages refused", "reason")
        self.unproven = counter(
            "unproven_alarms", "Alarms journalled without proof of who sent them", "reason"
        )
        self.clock_faults = counter("clock_faults", "Frames from a clock that cannot be right")
        self.signals = counter("signals", "Signals given to the watch")
        self.acks = counter("device_acks", "Acknowledgements sent to devices")
        self.acks_delayed = counter("device_acks_delayed", "Acknowledgements that had to wait")
        self.store_failures = counter("store_failures", "Writes that failed", "what")
        self.stale = counter("stale_acks", "Messages whose connection had gone before the write")
        self.disconnects = counter("disconnects", "Connections lost", "connection", "reason")
        self.passed_over = gauge("packets_passed_over", "Packets of no meaning", "connection")
        self.connected = gauge("connected", "1 when subscribed", "connection")
        self.ticking = gauge("ticking", "1 when the broker is read by ticks", "connection")
        self.held = gauge("held", "Messages taken and not yet durable", "connection")
        self.devices = gauge("devices", "Registered devices known")
        self.devices_broken = gauge("devices_broken", "Registered devices that cannot be used")
        self.ready = gauge("ready", "1 when messages are taken and stored")
        self.batch = Histogram(
            "afstand_intake_batch_messages",
            "Messages in one batch",
            ["connection"],
            registry=registry,
            buckets=_SIZES,
        )
        self.check_s = Histogram(
            "afstand_intake_check_seconds",
            "Time to check one batch",
            ["connection"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.write_s = Histogram(
            "afstand_intake_write_seconds",
            "Time of one write to the store",
            ["connection"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.durable_s = Histogram(
            "afstand_intake_durable_seconds",
            "Age of the oldest message of a batch when the batch was durable",
            ["connection"],
            registry=registry,
            buckets=_SECONDS,
        )
