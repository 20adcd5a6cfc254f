"""The plain model of what owners of cases are asked to do: patterns, breaches, decisions."""

from typing import Any

from .book_model_parts import Facts, ModelIncident
from .book_model_plans import ModelPlans

DAY_MS = 86_400_000
WINDOW_MS = 14 * DAY_MS
PAUSE_MS = 1_800_000
NEEDED = {
    "near-misses": {1: 3, 2: 5, 3: 8}, "boundary-probing": {1: 4, 2: 6, 3: 10},
    "repeated-breach": {1: 2, 2: 3, 3: 4}, "contact-outside-validity": {1: 1, 2: 2, 3: 3},
    "repeated-silence": {1: 6, 2: 10, 3: 15}, "repeated-obstruction": {1: 3, 2: 4, 3: 6},
    "repeated-empty": {1: 4, 2: 6, 3: 8},
}  # fmt: skip
DECIDE_MS = 2 * DAY_MS  # no order of the model is known by its title


class ModelTasks(ModelPlans):
    """Counts, and what follows from them."""

    def __init__(self, *world: Any) -> None:
        super().__init__(*world)
        self.counts: dict[str, dict[str, Any]] = {}
        self.ledger: dict[str, dict[str, Any]] = {}

    def begin(
        self,
        name: str,
        alarm_class: str,
        facts: Facts,
        *,
        lasting: bool = True,
        press: bool = False,
        expires: int | None = None,
        defer: int = 0,
    ) -> None:
        raise NotImplementedError

    def end(self, name: str) -> None:
        raise NotImplementedError

    def incident_of(self, name: str) -> ModelIncident | None:
        condition = self.conditions.get(name)
        alarm = condition["alarm"] if condition else None
        return alarm.incident if alarm is not None else None

    def case_of(self, facts: Facts) -> dict[str, Any] | None:
        """The first case that names the protected person with this wearer, else the person."""
        for case in self.cases:
            if facts["protected"] is not None:
                tied = facts["protected"] in case["protected"]
                if tied and facts["wearer"] in (None, case["wearer"]):
                    return case
            elif facts["wearer"] is not None and facts["wearer"] == case["wearer"]:
                return case
        return None

    def count(
        self, kind: str, about: str, facts: Facts, incident: ModelIncident | None = None
    ) -> None:
        name = f"{kind}/{about}"
        book = self.counts.setdefault(name, {"seen": [], "last": -PAUSE_MS})
        same, book["last"] = self.now - book["last"] < PAUSE_MS, self.now
        if same:
            return
        book["seen"] = [s for s in book["seen"] if s[0] > self.now - WINDOW_MS]
        book["seen"].append((self.now, incident))
        case = self.case_of(facts)
        risks = [r for r in (facts["risk"], case["risk"] if case else 0) if r]
        if len(book["seen"]) >= NEEDED[kind][min(risks) if risks else 2]:
            book["seen"] = []
            told = {**facts, "matter": name, "silence": False, "confirmed": True}
            self.begin(name, "pattern", told, lasting=False, press=True)

    def breach(self, tail: str, facts: Facts, incident: ModelIncident | None) -> None:
        known = self.ledger.get(tail)
        if known and known["count"] and self.now - known["last"] < PAUSE_MS:
            known["last"] = self.now
            return
        book = known or {"count": 0, "owed": [], "due": None, "half": None}
        book["count"] += 1
        book["last"], book["facts"] = self.now, facts
        book["owed"].append(incident)
        self.ledger[tail] = book
        if book["due"] is None:
            book["due"] = self.now + DECIDE_MS
            book["half"] = self.now + DECIDE_MS // 2
            self.ask_for_decision(facts)
        self.count("repeated-breach", tail, facts, incident)

    def breach_ended(self, tail: str) -> None:
        if tail in self.ledger:
            self.ledger[tail]["last"] = self.now

    def ask_for_decision(self, facts: Facts) -> None:
        case = self.case_of(facts)
        for target in case["owners"] if case else ():
            self.heard.append(("plain", "legal", target, None, None, "task", -1))

    def overdue(self, tail: str) -> None:
        book = self.ledger[tail]
        name = f"decision-overdue/{tail}"
        facts = {**book["facts"], "matter": name, "silence": False, "confirmed": True}
        self.begin(name, "legal", facts, lasting=True)

    def decide(self, tail: str, *, no_breach: bool) -> None:
        book = self.ledger.get(tail)
        if book is None or book["due"] is None:
            return
        if no_breach:
            book["count"] -= len(book["owed"])
        self.settle(tail)

    def settle(self, tail: str) -> None:
        self.ledger[tail].update(owed=[], due=None, half=None, late=False)
        self.end(f"decision-overdue/{tail}")

    def was_nothing(self, incident: ModelIncident) -> None:
        for book in self.counts.values():
            book["seen"] = [s for s in book["seen"] if s[1] is not incident]
        for tail, book in self.ledger.items():
            left = [i for i in book["owed"] if i is not incident]
            if len(left) == len(book["owed"]):
                continue
            book["count"] -= len(book["owed"]) - len(left)
            book["owed"] = left
            if not left:
                self.settle(tail)
