"""The plain model of the alarm book: who belongs to whom, and how a plan runs."""

from typing import Any

from .book_model_parts import (
    AGAIN_S,
    CRITICAL,
    TASKS,
    Facts,
    Heard,
    ModelAlarm,
    ModelIncident,
    Told,
)


class ModelPlans:
    """The world, and plans that run: asked again and again whether any rule applies."""

    def __init__(
        self,
        plans: dict[str, dict[str, Any]],
        cases: list[dict[str, Any]],
    ) -> None:
        self.plans = plans
        self.cases = cases
        self.now = 0
        self.incidents: list[ModelIncident] = []
        self.conditions: dict[str, dict[str, Any]] = {}
        self.repair: dict[tuple[str, str], int] = {}
        self.settled: dict[tuple[Any, ...], tuple[int | None, int]] = {}
        self.heard: list[Heard] = []
        self.sent: dict[tuple[Any, ...], tuple[ModelAlarm, int, int, str]] = {}
        """Every notice of a step by what it says: alarm, round, step, audience."""
        self.new_names: list[tuple[Any, ...]] = []

    # --- the world ------------------------------------------------------------------------------

    def others(self, person: str | None) -> list[str]:
        found: list[str] = []
        for case in self.cases:
            if case["wearer"] == person:
                found += [p for p in case["protected"] if p not in found]
            elif person in case["protected"] and case["wearer"] not in found:
                found += [case["wearer"]] if case["wearer"] else []
        return found

    def devices(self, person: str) -> list[str]:
        found: list[str] = []
        for case in self.cases:
            found += [d for d, p in case["devices"].items() if p == person and d not in found]
        return found

    def subject(self, alarm_class: str, facts: Facts) -> tuple[str, list[str]]:
        wearer, protected = facts["wearer"], facts["protected"]
        if wearer and not protected and len(self.others(wearer)) == 1:
            protected = self.others(wearer)[0]
        elif protected and not wearer and len(self.others(protected)) == 1:
            wearer = self.others(protected)[0]
        mark = "task/" if alarm_class in TASKS else ""
        if wearer and protected:
            return f"{mark}pair/{wearer}/{protected}", [wearer, protected]
        if wearer or protected:
            return f"{mark}person/{wearer or protected}", [wearer or protected]
        return f"{mark}device/{facts['device']}", []

    def incident_for(self, alarm_class: str, facts: Facts) -> ModelIncident:
        name, persons = self.subject(alarm_class, facts)
        for incident in self.incidents:
            if incident.subject == name:
                return incident
        if name.startswith("person/"):
            pairs = [
                i
                for i in self.incidents
                if persons[0] in i.persons and i.subject.startswith("pair/")
            ]
            if len(pairs) == 1:
                return pairs[0]
        incident = ModelIncident(name, persons)
        self.incidents.append(incident)
        return incident

    def case_for(self, incident: ModelIncident) -> dict[str, Any] | None:
        """The first case that names everybody of an incident."""
        for case in self.cases:
            everyone = [case["wearer"], *case["protected"]]
            if incident.persons and all(p in everyone for p in incident.persons):
                return case
        return None

    def plan_of(self, incident: ModelIncident, facts: Facts) -> str:
        if facts["plan"]:
            return str(facts["plan"])
        case = self.case_for(incident)
        return str(case["plan"] or "default") if case else "default"

    # --- the plan -------------------------------------------------------------------------------

    def start(self, alarm: ModelAlarm, *, repeats: bool) -> None:
        incident = alarm.incident
        wanted = self.plan_of(incident, alarm.facts)
        if wanted not in self.plans:
            wanted = "default"
        plan = incident.frozen.setdefault(wanted, self.plans[wanted])
        if not any(alarm.serves(s) for s in plan["steps"]):
            plan = incident.frozen.setdefault("default", self.plans["default"])
        alarm.plan, alarm.round, alarm.repeats = plan, alarm.round + 1, repeats
        alarm.again = None
        alarm.steps, alarm.script, alarm.resort = [], [], 0
        self.add(alarm, plan)
        self.work(alarm)

    def add(self, alarm: ModelAlarm, plan: dict[str, Any]) -> None:
        """Put the steps of a plan behind those that are there."""
        first = len(alarm.steps)
        for spec in plan["steps"]:
            starts = spec.get("on", "open") == "open" or (
                spec.get("on") == "confirmed" and alarm.confirmed
            )
            alarm.script.append(spec)
            alarm.steps.append(
                {
                    "is": "waiting" if alarm.serves(spec) else "passed",
                    "at": self.now + spec.get("after_s", 0) * 1000 if starts else None,
                    "left": 0,
                    "fell back": False,
                    "failed": [],
                }
            )
        for index in range(first, len(alarm.steps)):
            if not alarm.serves(alarm.script[index]):
                self.wake(alarm, index)

    def work(self, alarm: ModelAlarm) -> None:
        """Apply the first rule that applies to the first step it applies to, until none does."""
        if not alarm.pages or not alarm.steps:
            return
        while any(self.apply(alarm, index) for index in range(len(alarm.steps))):
            pass
        if alarm.acknowledged or self.hope(alarm):
            alarm.again = None
        elif alarm.again is None and self.owed(alarm):
            if alarm.resort or alarm.plan["id"] in ("default", "system"):
                alarm.again = self.now + AGAIN_S[alarm.alarm_class] * 1000
            else:
                alarm.resort = len(alarm.steps)
                self.add(alarm, alarm.incident.frozen.setdefault("default", self.plans["default"]))
                self.work(alarm)

    def hope(self, alarm: ModelAlarm) -> bool:
        """Whether somebody is asked, or will be, who could take the alarm in hand."""
        able = ["police", "monitoring-centre", "shift-lead"]
        if alarm.alarm_class not in CRITICAL:
            able.append("probation")
        if alarm.alarm_class in TASKS:
            able.append("case-owner")
        return any(
            spec["audience"] in able
            and spec.get("needs", "acknowledged") == "acknowledged"
            and (step["is"] == "running" or (step["is"] == "waiting" and step["at"] is not None))
            for step, spec in zip(alarm.steps, alarm.script, strict=True)
        )

    def apply(self, alarm: ModelAlarm, index: int) -> bool:
        step, spec = alarm.steps[index], alarm.script[index]
        if step["at"] is None or step["at"] > self.now or step["is"] not in ("waiting", "running"):
            return False
        if step["is"] == "running":
            if not step["fell back"] and spec.get("fallback"):
                step["at"] = self.now + spec.get("deadline_s", 60) * 1000
                self.fall_back(alarm, index)
            else:
                step["is"] = "missed"
            self.wake(alarm, index)
            return True
        spared = alarm.acknowledged and spec.get("on", "open") == "open"
        if spared and not spec.get("even_if_acknowledged"):
            step["is"] = "skipped"
            return True
        again = alarm.repeats or self.in_resort(alarm, index)
        to, may = self.audience(alarm, spec, spec.get("targets", []), again)
        if to:
            step["is"], step["at"] = "running", self.now + spec.get("deadline_s", 60) * 1000
            urgent = spec.get("on") == "missed" or again
            self.send(alarm, index, to, "escalation" if urgent else "alert")
        elif not may:
            step["is"] = "skipped"
        else:
            step["is"] = "passed"
            to, _ = self.audience(alarm, spec, spec.get("fallback", []), again)
            if to:
                step["is"], step["at"] = "running", self.now + spec.get("deadline_s", 60) * 1000
                self.fall_back(alarm, index)
            self.wake(alarm, index)
        return True

    def in_resort(self, alarm: ModelAlarm, index: int) -> bool:
        return bool(alarm.resort) and index >= alarm.resort

    def wake(self, alarm: ModelAlarm, missed: int) -> None:
        start = alarm.resort if self.in_resort(alarm, missed) else 0
        end = alarm.resort if alarm.resort and not start else len(alarm.steps)
        for index in range(start, end):
            step, spec = alarm.steps[index], alarm.script[index]
            if step["is"] != "waiting" or step["at"] is not None or spec.get("on") != "missed":
                continue
            for_whom = index - 1
            for earlier in range(start, index):
                if alarm.script[earlier].get("needs", "acknowledged") == "acknowledged":
                    for_whom = earlier
            if spec.get("of") is not None:
                for_whom = start + spec["of"]
            if for_whom == missed:
                step["at"] = self.now + spec.get("after_s", 0) * 1000

    def fall_back(self, alarm: ModelAlarm, index: int) -> None:
        spec = alarm.script[index]
        alarm.steps[index]["fell back"] = True
        again = alarm.repeats or self.in_resort(alarm, index)
        to, _ = self.audience(alarm, spec, spec["fallback"], again)
        self.send(alarm, index, to, "escalation")

    def audience(
        self, alarm: ModelAlarm, spec: dict[str, Any], targets: list[str], again: bool
    ) -> tuple[list[Told], bool]:
        """Who is told, and whether anybody may be."""
        who = spec["audience"]
        if who == "case-owner":
            case = self.case_for(alarm.incident)
            owners = case["owners"] if case and "case-owner" in targets else []
            return [(owner, who, None, None) for owner in owners], True
        if who not in ("protected-person", "wearer"):
            return [(t, who, None, None) for t in targets], True
        if again and any(told[1] == who for told in alarm.told):
            return [], False
        if who == "wearer" and (
            alarm.facts["order"] == "contact-ban" or alarm.facts["role"] != "wearer"
        ):
            return [], False
        key = "protected" if who == "protected-person" else "wearer"
        other = "wearer" if key == "protected" else "protected"
        persons = [alarm.facts[key]] if alarm.facts[key] else self.others(alarm.facts[other])
        found: list[Told] = []
        for target in targets:
            for person in persons:
                if target.endswith("-device"):
                    found += [(target, who, device, person) for device in self.devices(person)]
                else:
                    found.append((target, who, None, person))
        return found, True

    def send(self, alarm: ModelAlarm, index: int, to: list[Told], purpose: str) -> None:
        for told in to:
            number = index - alarm.resort if self.in_resort(alarm, index) else index
            plan = "default" if self.in_resort(alarm, index) else alarm.plan["id"]
            self.say(alarm, told, purpose, number)
            name = (
                alarm.incident.subject, alarm.alarm_class, alarm.opened, alarm.number, alarm.round,
                plan, number, told[0], told[2], told[3],
            )  # fmt: skip
            assert name not in self.sent
            self.new_names.append(name)
            self.sent[name] = (alarm, alarm.round, index, told[1])
            alarm.steps[index]["left"] += 1
            if told not in alarm.told:
                alarm.told.append(told)

    def tell_again(self, alarm: ModelAlarm, purpose: str) -> None:
        for told in alarm.told:
            own = alarm.facts["order"] != "contact-ban" and alarm.facts["role"] == "wearer"
            if told[1] != "wearer" or own:
                self.say(alarm, told, purpose, -1)
        alarm.updated = self.now

    def say(self, alarm: ModelAlarm, told: Told, purpose: str, step: int) -> None:
        target, _, device, person = told
        self.heard.append(
            (alarm.incident.subject, alarm.alarm_class, target, device, person, purpose, step)
        )

    def owed(self, alarm: ModelAlarm) -> bool:
        """Critical always; else when anything was missed or nobody was told."""
        if alarm.alarm_class in CRITICAL:
            return True
        serving = [
            (step, spec)
            for step, spec in zip(alarm.steps, alarm.script, strict=True)
            if alarm.serves(spec)
        ]
        asked = [s for s, spec in serving if spec.get("needs", "acknowledged") == "acknowledged"]
        if any(step["is"] in ("missed", "passed") for step in asked):
            return True
        if any(step["is"] == "missed" for step, _ in serving):
            return True
        going_on = ("running", "met")
        return not any(
            step["is"] in going_on or (step["is"] == "waiting" and step["at"] is not None)
            for step, _ in serving
        )
