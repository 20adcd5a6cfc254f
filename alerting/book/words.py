"""The words of the alarm book: classes, priorities, audiences, kinds of event."""

from enum import StrEnum
from typing import Final

TARGET_PROTECTED_DEVICE: Final = "protected-device"
"""Reserved target: every device of the protected person of the alarm, one notice each."""
TARGET_WEARER_DEVICE: Final = "wearer-device"
"""Reserved target: every device of the wearer of the alarm, one notice each."""
TARGET_CASE_OWNER: Final = "case-owner"
"""Reserved target: the owners of the case, each where the case says they are reached."""


class AlarmClass(StrEnum):
    """The twelve classes that an operator sees (domain 8.1). Everything finer is an attribute."""

    PANIC = "panic"
    PROXIMITY = "proximity"
    TAMPER = "tamper"
    AREA_BREACH = "area-breach"
    APPROACH = "approach"
    PAIR_BLIND = "pair-blind"
    ORDER_BREACH = "order-breach"
    DEVICE_DYING = "device-dying"
    LOCATION_DOUBT = "location-doubt"
    PATTERN = "pattern"
    LEGAL = "legal"
    SYSTEM = "system"


class Priority(StrEnum):
    """How fast somebody must start handling it; most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Audience(StrEnum):
    """Who a notice is for: decides which of its fields are filled (`audience.py`)."""

    POLICE = "police"
    PROBATION = "probation"
    MONITORING_CENTRE = "monitoring-centre"
    SHIFT_LEAD = "shift-lead"
    CASE_OWNER = "case-owner"
    """Whoever answers for the case: the wearer's side, the victim's side, or both."""
    PROTECTED_PERSON = "protected-person"
    WEARER = "wearer"


class Purpose(StrEnum):
    """What a notice is about."""

    ALERT = "alert"
    UPDATE = "update"
    """The same alarm, told before: confirmed, pressed again, one order more."""
    ESCALATION = "escalation"
    """Somebody before did not answer in time, or an acknowledgement expired."""
    WITHDRAWN = "withdrawn"
    """The alarm is over: the condition went away by itself, or a person disposed of it."""
    TEST = "test"
    """A test press. Never an alarm."""
    TASK = "task"
    """A person owes a decision by the deadline: said at once, and once again halfway."""
    EXPLANATION = "explanation"
    """Why there was an alarm, told to the protected person afterwards."""
    HISTORY = "history"
    """A breach in the past, found in fixes that came late. Never urgent."""


class Need(StrEnum):
    """What a step of a plan must get from one of its targets before its deadline."""

    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"


class Role(StrEnum):
    """Whose device it is."""

    WEARER = "wearer"
    PROTECTED = "protected"
    UNKNOWN = "unknown"


class EventKind(StrEnum):
    """What a device reports, or what its silence says."""

    PANIC = "panic"
    DURESS = "duress"
    FALL = "fall"
    STRAP_CUT = "strap-cut"
    STRAP_RESTORED = "strap-restored"
    CASE_OPENED = "case-opened"
    JAMMING = "jamming"
    JAMMING_ENDED = "jamming-ended"
    SHIELDING = "shielding"
    SHIELDING_ENDED = "shielding-ended"
    BATTERY_LOW = "battery-low"
    BATTERY_CRITICAL = "battery-critical"
    CHARGING = "charging"
    CHARGING_ENDED = "charging-ended"
    COMMAND_DONE = "command-done"
    COMMAND_REFUSED = "command-refused"
    COMMAND_EXPIRED = "command-expired"
    SELF_TEST = "self-test"
    SILENCE = "silence"
    SILENCE_ENDED = "silence-ended"
    CLOCK_FAULT = "clock-fault"
    CLOCK_RIGHT = "clock-right"
    CONTACT_RADIO = "contact-radio"
    SHUTDOWN = "shutdown"
    MEMORY_FULL = "memory-full"
    STATUS = "status"


class SignalKind(StrEnum):
    """What the service says about itself. One SYSTEM incident per kind, however often it is sa."""

    QUARANTINE_BURST = "quarantine-burst"
    MASS_LOSS = "mass-loss"
    POISON_ENTRY = "poison-entry"
    DELIVERY_DEAD = "delivery-dead"
    DEVICE_SET_ASIDE = "device-set-aside"
    JOURNAL_LAG = "journal-lag"
    ORDER_REJECTED = "order-rejected"
    REPLICA_DIVERGENCE = "replica-divergence"
    """Two replicas of the watch did not compute the same outbox."""
    SHADOW_DIFFERS = "shadow-differs"
    """A program that runs beside the watches computes another outbox."""
    READER_SILENT = "reader-silent"
    """A reader of the streams says nothing; nothing is trimmed until it does or is taken out."""
    ARCHIVE_FAULT = "archive-fault"
    """The archive, or what the store gave it, is not as it was written."""
    AUDIT_FINDING = "audit-finding"
    """The auditor misses something that should have happened."""
    BOOK_LIMIT = "book-limit"
    """A named bound of the alarm book was reached."""
    ALARM_FLOOD = "alarm-flood"
    """More alarms than the operators at work can handle."""
    TIMER_FAULT = "timer-fault"
    """A timer of the book raised and was set aside; a person must look at the alarm it names."""
