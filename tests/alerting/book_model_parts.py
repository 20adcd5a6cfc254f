"""What the plain model of the alarm book knows: the figures of the book, alarms, incidents."""

from typing import Any

LATCHED = ("panic", "proximity", "tamper", "area-breach")
CRITICAL = (*LATCHED, "system")
SETTLE_S = {
    "approach": 60, "pair-blind": 120, "order-breach": 300, "device-dying": 60,
    "location-doubt": 120, "pattern": 60, "legal": 60, "system": 60,
}  # fmt: skip
AGAIN_S = {
    "panic": 120, "proximity": 120, "tamper": 120, "area-breach": 300, "approach": 300,
    "pair-blind": 600, "order-breach": 1800, "device-dying": 1800, "location-doubt": 1800,
    "pattern": 14_400, "legal": 86_400, "system": 600,
}  # fmt: skip
BREACH = {"contact-ban": "proximity", "area-ban": "area-breach", "location-order": "order-breach"}
LEAST = {1: 922, 2: 973, 3: 990}
RAISED_BY = {
    "panic": ("panic", "press"), "duress": ("panic", "duress"),
    "strap-cut": ("tamper", "strap"), "case-opened": ("tamper", "case"),
    "jamming": ("location-doubt", "jamming"), "shielding": ("location-doubt", "shielding"),
    "battery-critical": ("device-dying", "battery"), "shutdown": ("device-dying", "shutdown"),
}  # fmt: skip
PRESSES = ("press", "duress")
FOR_EVER = (*PRESSES, "case")
ENDED_BY = {
    "strap-restored": ("strap",), "jamming-ended": ("jamming",),
    "charging": ("battery", "shutdown"), "status": ("shutdown",),
}  # fmt: skip
OPERATORS = ("monitoring-centre", "shift-lead")
RECHECK_MS = {"pattern": 86_400_000, "legal": 7 * 86_400_000}
"""How long a condition may last after its alarm was closed; half an hour for all others."""
TASKS = ("pattern", "legal")
TASK_TERM_S = {"pattern": 86_400, "legal": 5 * 86_400}
UPDATE_GAP_MS = 15_000

Facts = dict[str, Any]
Told = tuple[str, str, str | None, str | None]
"""Target, audience, device, person."""
Heard = tuple[str, str, str, str | None, str | None, str, int]


class ModelAlarm:
    """One alarm and the plan that runs for it."""

    def __init__(self, incident: "ModelIncident", alarm_class: str, facts: Facts, ms: int) -> None:
        self.incident = incident
        self.alarm_class = alarm_class
        self.facts = facts
        self.opened = ms
        incident.numbered += 1
        self.number = incident.numbered
        self.sources: list[str] = []
        self.acknowledged = False
        self.ack_ends: int | None = None
        self.confirmed = facts["confirmed"]
        self.count = 1
        self.shelved_until: int | None = None
        self.covered = False
        self.out_of_service = False
        self.settles: int | None = None
        self.settle_ms = 0
        self.again: int | None = None
        self.round = 0
        self.repeats = False
        self.plan: dict[str, Any] = {}
        self.script: list[dict[str, Any]] = []
        """The steps of the plan, and behind them those of the last resort."""
        self.resort = 0
        """Where the last resort begins; 0 while it was not needed."""
        self.steps: list[dict[str, Any]] = []
        self.told: list[Told] = []
        self.updated = ms

    @property
    def latched(self) -> bool:
        return self.alarm_class in LATCHED

    @property
    def silent(self) -> bool:
        return self.covered or self.out_of_service or self.shelved_until is not None

    @property
    def pages(self) -> bool:
        return not self.silent and (bool(self.sources) or self.latched)

    def serves(self, step: dict[str, Any]) -> bool:
        classes = step.get("classes", [])
        if classes:
            return self.alarm_class in classes
        return self.alarm_class not in ("system", *TASKS)


class ModelIncident:
    """Alarms of one subject."""

    def __init__(self, subject: str, persons: list[str]) -> None:
        self.subject = subject
        self.persons = persons
        self.alarms: list[ModelAlarm] = []
        self.numbered = 0
        self.frozen: dict[str, dict[str, Any]] = {}
        self.proposal: dict[str, Any] | None = None
