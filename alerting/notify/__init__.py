"""The notifier and its channels: from the outbox to police, reclassering and devices, and back.

`open_destinations` makes the channels of the settings; `Notifier` delivers an `OutboxSource` to
them and journals receipts; `Acknowledgements` is the HTTP endpoint for answers that come later.
"""

from alerting.notify.acknowledgements import Acknowledgements
from alerting.notify.channels import open_destinations
from alerting.notify.clock import Clock, SystemClock
from alerting.notify.delivery import Channel, Delivery, Outcome, OutcomeStatus, RenderError
from alerting.notify.driver import Destination
from alerting.notify.metrics import Metrics
from alerting.notify.notifier import JournalReceipt, Notifier
from alerting.notify.settings import (
    BrokerSettings,
    CapTarget,
    EventsTarget,
    LaneSettings,
    MailTarget,
    NotifySettings,
    SmsTarget,
    TlsSettings,
)
from alerting.notify.source import DeliveryLog, MemoryDeliveryLog, OutboxEntry, OutboxSource

__all__ = [
    "Acknowledgements",
    "BrokerSettings",
    "CapTarget",
    "Channel",
    "Clock",
    "Delivery",
    "DeliveryLog",
    "Destination",
    "EventsTarget",
    "JournalReceipt",
    "LaneSettings",
    "MailTarget",
    "MemoryDeliveryLog",
    "Metrics",
    "Notifier",
    "NotifySettings",
    "OutboxEntry",
    "OutboxSource",
    "Outcome",
    "OutcomeStatus",
    "RenderError",
    "SmsTarget",
    "SystemClock",
    "TlsSettings",
    "open_destinations",
]
