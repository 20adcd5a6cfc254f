"""The alarm book told again, plainly: what must be true, without heaps, tables or undo.

Written from docs/alarm-book.md and the docstrings, in another style than the program: things that
change in place, lists that are searched, and a plan that is run by asking again and again whether
any rule applies. It knows the life cycle of alarms and incidents and the escalation plans; bounds,
mass loss and device commands have tests of their own.
"""

from typing import Any

from .book_model_parts import (
    BREACH,
    CRITICAL,
    ENDED_BY,
    FOR_EVER,
    LATCHED,
    LEAST,
    OPERATORS,
    PRESSES,
    RAISED_BY,
    RECHECK_MS,
    SETTLE_S,
    TASK_TERM_S,
    TASKS,
    UPDATE_GAP_MS,
    Facts,
    ModelAlarm,
    ModelIncident,
)
from .book_model_tasks import ModelTasks

DEFERRED = {"jamming": 120_000, "shielding": 120_000, "battery-critical": 600_000}
COUNTED = {
    "jamming": "repeated-obstruction", "shielding": "repeated-obstruction",
    "battery-critical": "repeated-empty",
}  # fmt: skip
UNDER_WAY = ("waiting", "running")


class Model(ModelTasks):
    """The plain book. Each call answers what was heard: (subject, class, target, device, person,
    purpose, step)."""

    # --- inputs ---------------------------------------------------------------------------------

    def verdict(self, v: dict[str, Any]) -> None:
        tail = f"{v['order']}/{v['protected'] or ''}"
        if not v["escalate"]:
            for kind in ("breach", "near", "silent-wearer", "silent-protected"):
                self.end(f"{kind}/{tail}")
            if v["state"] == "confirmed" and v["kind"] != "location-order":
                self.count("contact-outside-validity", tail, self.facts_of(v))
            return
        facts = self.facts_of(v)
        blind = "pair-blind" if v["kind"] == "contact-ban" else "location-doubt"
        for role in ("wearer", "protected"):
            person = v[role]
            if person is None:
                continue
            if v["freshness"] in (f"{role}-stale", "blind"):
                name = f"silent-{role}/{tail}"
                known = name in self.conditions
                silent = {**facts, "person": person, "role": role, "silence": True}
                self.begin(name, blind, {**silent, "confirmed": True}, defer=self.hidden(v))
                if not known:
                    self.silence_matters(name)
            else:
                self.end(f"silent-{role}/{tail}")
        if v["state"] == "unknown":
            return
        breach = BREACH[v["kind"]]
        wanted = None
        if v["state"] == "confirmed":
            wanted = breach
        elif v["kind"] != "location-order" and v["state"] == "warning":
            wanted = "approach"
        elif v["kind"] != "location-order" and v["state"] == "possible":
            wanted = breach if v["probability"] >= LEAST[v["risk"]] else "approach"
        if v["state"] == "possible" and f"breach/{tail}" in self.conditions:
            wanted = breach
        before = self.conditions.get(f"breach/{tail}")
        was_confirmed = before is not None and before["facts"]["confirmed"]
        if wanted == breach:
            self.end(f"near/{tail}")
            self.begin(f"breach/{tail}", breach, facts)
            if facts["confirmed"] and not was_confirmed:
                self.breach(tail, facts, self.incident_of(f"breach/{tail}"))
        else:
            if was_confirmed:
                self.breach_ended(tail)
            self.end(f"breach/{tail}")
            if wanted:
                name = f"near/{tail}"
                known = name in self.conditions
                self.begin(name, "approach", {**facts, "confirmed": True})
                if not known:
                    contact = v["kind"] == "contact-ban"
                    kind = "near-misses" if contact else "boundary-probing"
                    self.count(kind, tail, facts, self.incident_of(name))
            else:
                self.end(f"near/{tail}")

    def silence_matters(self, name: str) -> None:
        """Silence counts towards a pattern when operators are paged for it."""
        condition = self.conditions[name]
        if condition["facts"]["silence"] and condition["alarm"] is not None:
            facts = condition["facts"]
            self.count("repeated-silence", facts["person"], facts, self.incident_of(name))

    def hidden(self, v: dict[str, Any]) -> int:
        """How long silence cannot matter yet, from the distance (km) and the ages (s)."""
        pair = v["kind"] == "contact-ban"
        least = 0 if pair or v["risk"] == 1 else 600_000
        if v["kind"] == "location-order":
            return least
        if pair and v["risk"] > 1:
            least = 60_000
        if v["km"] is None:
            return least if pair else 0
        far = v["km"] if pair else -v["km"]
        if far <= 1 and not pair:
            least = 0
        longest = 300_000 if v["risk"] == 1 else 1_800_000
        return max(least, min(far * 40_000 - v["age"] * 1000, longest))

    def facts_of(self, v: dict[str, Any]) -> Facts:
        return {
            "wearer": v["wearer"], "protected": v["protected"], "device": None,
            "person": v["wearer"], "role": "wearer", "plan": v["plan"], "order": v["kind"],
            "silence": False, "confirmed": v["state"] == "confirmed", "risk": v["risk"],
            "matter": "", "order_id": v["order"],
        }  # fmt: skip

    def event(self, kind: str, device: str, person: str | None, role: str) -> None:
        facts = {
            "wearer": person if role == "wearer" else None,
            "protected": person if role == "protected" else None,
            "device": device, "person": person, "role": role, "plan": "", "order": None,
            "silence": False, "confirmed": True, "risk": 0, "matter": "",
            "order_id": None,
        }  # fmt: skip
        for source in ENDED_BY.get(kind, ()):
            self.end(f"{source}/{device}")
        if kind in RAISED_BY:
            alarm_class, source = RAISED_BY[kind]
            name = f"{source}/{device}"
            known = name in self.conditions
            self.begin(
                name,
                alarm_class,
                facts,
                lasting=source not in FOR_EVER,
                press=source in PRESSES,
                expires=self.now + 900_000 if source == "shielding" else None,
                defer=DEFERRED.get(kind, 0),
            )
            pattern = COUNTED.get(kind)
            if pattern and person and not known:
                self.count(pattern, person, facts, self.incident_of(name))

    def receipt(self, name: tuple[Any, ...], status: str) -> None:
        """A receipt for the notice of a step that reads `name`."""
        alarm, round_, index, audience = self.sent[name]
        if not any(alarm in i.alarms for i in self.incidents):
            return
        if status == "acknowledged" and (
            audience in (*OPERATORS, "police")
            or (audience == "probation" and alarm.alarm_class not in CRITICAL)
            or (audience == "case-owner" and alarm.alarm_class in TASKS)
        ):
            self.in_hand(alarm)
        if round_ != alarm.round or alarm.steps[index]["is"] != "running":
            return
        step = alarm.steps[index]
        if status == "failed":
            if name in step["failed"]:
                return
            step["failed"].append(name)
            step["left"] -= 1
            if not alarm.pages:
                return
            if not step["fell back"] and alarm.script[index].get("fallback"):
                self.fall_back(alarm, index)
            if not step["left"]:
                step["is"] = "missed"
                self.wake(alarm, index)
        elif status == "acknowledged" or alarm.script[index].get("needs") == "delivered":
            step["is"] = "met"
        self.work(alarm)

    def acknowledge(self, subject: str) -> None:
        for incident in self.incidents:
            if incident.subject == subject:
                for alarm in list(incident.alarms):
                    self.in_hand(alarm)

    def dispose(self, subject: str, *, despite_active: bool, was_nothing: bool) -> None:
        for incident in list(self.incidents):
            if incident.subject != subject:
                continue
            if self.something_lasts(incident) and not despite_active:
                return
            if any(alarm.latched for alarm in incident.alarms):
                incident.proposal = {
                    "until": self.now + 1_800_000, "despite": despite_active,
                    "nothing": was_nothing,
                }  # fmt: skip
                for alarm in list(incident.alarms):
                    self.in_hand(alarm)
                return
            self.finish(incident, was_nothing=was_nothing)

    def countersign(self, subject: str) -> None:
        for incident in list(self.incidents):
            proposal = incident.proposal
            if incident.subject != subject or proposal is None:
                continue
            if proposal["despite"] or not self.something_lasts(incident):
                self.finish(incident, was_nothing=proposal["nothing"])

    def something_lasts(self, incident: ModelIncident) -> bool:
        held_by = [s for alarm in incident.alarms for s in alarm.sources]
        return any(self.conditions[s]["lasting"] for s in held_by)

    def finish(self, incident: ModelIncident, *, was_nothing: bool) -> None:
        for alarm in list(incident.alarms):
            self.close(alarm, tell=True)
        self.incidents.remove(incident)
        if was_nothing:
            self.was_nothing(incident)

    def shelve(self, subject: str, alarm_class: str, until: int) -> None:
        for alarm in self.find(subject, alarm_class):
            if not alarm.latched:
                alarm.shelved_until = until
                alarm.again = None

    def out_of_service(self, person: str, alarm_class: str, until: int) -> None:
        if alarm_class in LATCHED:
            return
        self.repair[(person, alarm_class)] = until
        for incident in self.incidents:
            for alarm in incident.alarms:
                about = alarm.facts["person"] == person and person in incident.persons
                if alarm.alarm_class == alarm_class and about and len(alarm.sources) <= 1:
                    alarm.out_of_service = True
                    alarm.again = None

    def find(self, subject: str, alarm_class: str) -> list[ModelAlarm]:
        return [
            a
            for i in self.incidents
            if i.subject == subject
            for a in i.alarms
            if a.alarm_class == alarm_class
        ]

    # --- conditions -----------------------------------------------------------------------------

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
        old = self.conditions.get(name)
        condition = {
            "class": alarm_class, "lasting": lasting, "facts": facts, "recheck": None,
            "deferred": None,
            "alarm": old["alarm"] if old else None,
            "expires": expires if expires is not None else (old["expires"] if old else None),
        }  # fmt: skip
        self.conditions[name] = condition
        if old is None and defer:
            condition["deferred"] = self.now + defer
        elif old is None:
            self.raise_alarm(name)
        elif old["alarm"] is None:
            if press or (facts["confirmed"] and not old["facts"]["confirmed"]):
                self.raise_alarm(name)
            else:
                condition["recheck"] = old["recheck"]
                condition["deferred"] = old["deferred"]
        elif press:
            old["alarm"].count += 1
            old["alarm"].incident.proposal = None
            self.learn(old["alarm"], facts)
            self.news(old["alarm"])
        else:
            self.learn(old["alarm"], facts)

    def end(self, name: str) -> None:
        condition = self.conditions.pop(name, None)
        if condition is None or condition["alarm"] is None:
            return
        alarm = condition["alarm"]
        alarm.sources.remove(name)
        if alarm.sources:
            alarm.facts = {
                **self.conditions[alarm.sources[-1]]["facts"],
                "confirmed": alarm.confirmed,
            }
        elif not alarm.latched:
            alarm.settles = self.now + alarm.settle_ms
            alarm.again = None

    def raise_alarm(self, name: str) -> None:
        condition = self.conditions[name]
        condition["recheck"] = condition["deferred"] = None
        facts, alarm_class = condition["facts"], condition["class"]
        incident = self.incident_for(alarm_class, facts)
        for alarm in incident.alarms:
            same = alarm.facts["protected"] == facts["protected"]
            same = same and alarm.facts["matter"] == facts["matter"]
            if alarm.alarm_class == alarm_class and same:
                condition["alarm"] = alarm
                self.another_source(alarm, name, facts)
                return
        alarm = ModelAlarm(incident, alarm_class, facts, self.now)
        alarm.settle_ms = SETTLE_S.get(alarm_class, 0) * 1000
        ended, before = self.settled.get(self.recurring(alarm), (None, 0))
        if ended is not None and self.now < ended + 3_600_000:
            alarm.settle_ms = max(alarm.settle_ms, min(2 * before, 1_800_000))
        condition["alarm"] = alarm
        incident.proposal = None
        same_place = [a for a in incident.alarms if a.facts["protected"] == facts["protected"]]
        if alarm_class == "approach":
            alarm.covered = any(a.alarm_class in ("proximity", "area-breach") for a in same_place)
        if alarm_class in ("proximity", "area-breach"):
            for near in [a for a in same_place if a.alarm_class == "approach"]:
                if near.sources:
                    near.covered, near.again = True, None
                else:
                    self.close(near, tell=False)
        alarm.out_of_service = self.in_repair(alarm_class, facts)
        incident.alarms.append(alarm)
        alarm.sources.append(name)
        if not alarm.silent:
            self.start(alarm, repeats=False)

    def recurring(self, alarm: ModelAlarm) -> tuple[Any, ...]:
        """What makes two alarms the same that comes again."""
        facts = alarm.facts
        return (alarm.alarm_class, alarm.incident.subject, facts["protected"], facts["matter"])

    def in_repair(self, alarm_class: str, facts: Facts) -> bool:
        return (facts["person"], alarm_class) in self.repair

    def another_source(self, alarm: ModelAlarm, name: str, facts: Facts) -> None:
        returned = not alarm.sources
        same = all(alarm.facts[what] == facts[what] for what in ("order_id", "person"))
        already_silent = facts["silence"] and any(
            self.conditions[s]["facts"]["silence"]
            and self.conditions[s]["facts"]["person"] == facts["person"]
            for s in alarm.sources
        )
        alarm.sources.append(name)
        alarm.settles = None
        if already_silent:
            self.learn(alarm, facts)
            return
        alarm.count += 1
        alarm.incident.proposal = None
        self.learn(alarm, facts)
        if alarm.silent:
            if alarm.out_of_service and not self.in_repair(alarm.alarm_class, facts):
                alarm.out_of_service = False
            self.audible(alarm)
            return
        if returned and not alarm.latched and (same or not alarm.acknowledged):
            self.work(alarm)
        else:
            self.news(alarm)

    def audible(self, alarm: ModelAlarm) -> None:
        if alarm.acknowledged and not alarm.silent:
            self.news(alarm)
        elif not alarm.silent:
            self.start(alarm, repeats=False)

    def learn(self, alarm: ModelAlarm, facts: Facts) -> None:
        newly = facts["confirmed"] and not alarm.confirmed
        alarm.confirmed = alarm.confirmed or facts["confirmed"]
        alarm.facts = facts
        if newly:
            alarm.incident.proposal = None
            if not alarm.silent:
                self.tell_again(alarm, "update")
            for step, spec in zip(alarm.steps, alarm.script, strict=True):
                waits = step["is"] == "waiting" and step["at"] is None
                if waits and spec.get("on") == "confirmed":
                    step["at"] = self.now + spec.get("after_s", 0) * 1000
            self.work(alarm)

    def news(self, alarm: ModelAlarm) -> None:
        if alarm.acknowledged:
            alarm.acknowledged, alarm.ack_ends = False, None
            if alarm.pages:
                self.start(alarm, repeats=False)
        elif not alarm.silent:
            wanted = alarm.facts["plan"]
            another = (
                wanted
                and wanted != alarm.plan["id"]
                and wanted in self.plans
                and any(alarm.serves(s) for s in self.plans[wanted]["steps"])
            )
            if not alarm.round or another:
                if alarm.pages:
                    self.start(alarm, repeats=False)
            elif self.now - alarm.updated >= UPDATE_GAP_MS:
                self.tell_again(alarm, "update")

    # --- people ---------------------------------------------------------------------------------

    def in_hand(self, alarm: ModelAlarm) -> None:
        alarm.acknowledged = True
        by_plan = alarm.plan.get("acknowledgement_expires_s", 900)
        term = TASK_TERM_S.get(alarm.alarm_class, by_plan)
        own_side = (*OPERATORS, "case-owner") if alarm.alarm_class in TASKS else OPERATORS
        alarm.ack_ends = self.now + term * 1000
        for step, spec in zip(alarm.steps, alarm.script, strict=True):
            if step["is"] == "running" and spec["audience"] in own_side:
                step["is"] = "met"
            elif step["is"] == "waiting" and spec.get("on", "open") == "open":
                step["is"] = "waiting" if spec.get("even_if_acknowledged") else "skipped"
        self.work(alarm)

    def close(self, alarm: ModelAlarm, *, tell: bool) -> None:
        for name in alarm.sources:
            condition = self.conditions[name]
            if condition["lasting"]:
                recheck = RECHECK_MS.get(alarm.alarm_class, 1_800_000)
                condition["alarm"], condition["recheck"] = None, self.now + recheck
            else:
                del self.conditions[name]
        if tell:
            self.tell_again(alarm, "withdrawn")
        alarm.sources = []
        alarm.incident.alarms.remove(alarm)

    # --- time -----------------------------------------------------------------------------------

    def pass_time(self, until: int) -> None:
        """Let everything happen that is due up to `until`, one thing at a time."""
        while (due := self.first_due(until)) is not None:
            self.now, what, thing = due
            self.fire(what, thing)
        self.now = until

    def first_due(self, until: int) -> tuple[int, str, Any] | None:
        """The earliest thing that is due; of two at one time the one whose kind sorts first."""
        found: list[tuple[int, str, str, int, Any]] = []
        now = self.now

        def add(ms: int, what: str, thing: Any, name: str = "") -> None:
            found.append((max(ms, now), what, name, len(found), thing))

        for incident in self.incidents:
            if incident.proposal is not None and incident.proposal["until"] <= until:
                add(incident.proposal["until"], "proposal", incident)
            for alarm in incident.alarms:
                if alarm.acknowledged and alarm.ack_ends is not None and alarm.ack_ends <= until:
                    add(alarm.ack_ends, "ack", alarm)
                if alarm.again is not None and alarm.again <= until:
                    add(alarm.again, "re-alarm", alarm)
                if alarm.settles is not None and alarm.settles <= until:
                    add(alarm.settles, "settle", alarm)
                if alarm.shelved_until is not None and alarm.shelved_until <= until:
                    add(alarm.shelved_until, "shelf", alarm)
                for index, step in enumerate(alarm.steps):
                    ms = step["at"]
                    if ms is not None and ms <= until and step["is"] in UNDER_WAY and alarm.pages:
                        add(ms, f"step{index:02}", alarm)
        for name, condition in self.conditions.items():
            if (ms := condition["expires"]) is not None and ms <= until:
                add(ms, "condition", name, name)
            if (ms := condition["recheck"]) is not None and ms <= until:
                add(ms, "recheck", name, name)
            if (ms := condition["deferred"]) is not None and ms <= until:
                add(ms, "defer", name, name)
        for key, ms in self.repair.items():
            if ms <= until:
                add(ms, "service", key)
        for tail, book in self.ledger.items():
            if book["half"] is not None and book["half"] <= until:
                add(book["half"], "decision-half", tail, tail)
            if book["due"] is not None and book["due"] <= until and not book.get("late"):
                add(book["due"], "decision-due", tail, tail)
        if not found:
            return None
        ms, what, _, _, thing = min(found, key=lambda f: f[:4])
        return ms, what, thing

    def fire(self, what: str, thing: Any) -> None:
        if what == "ack":
            thing.acknowledged, thing.ack_ends = False, None
            if thing.pages:
                self.start(thing, repeats=True)
        elif what == "re-alarm":
            thing.again = None
            if thing.pages:
                self.start(thing, repeats=True)
        elif what == "settle":
            self.settled[self.recurring(thing)] = (self.now, thing.settle_ms)
            self.close(thing, tell=True)
            if not thing.incident.alarms:
                self.incidents.remove(thing.incident)
        elif what == "shelf":
            thing.shelved_until = None
            if not thing.acknowledged and thing.pages:
                self.start(thing, repeats=False)
        elif what == "proposal":
            thing.proposal = None
        elif what == "decision-half":
            self.ledger[thing]["half"] = None
            self.ask_for_decision(self.ledger[thing]["facts"])
        elif what == "decision-due":
            self.ledger[thing]["late"] = True
            self.overdue(thing)
        elif what == "condition":
            self.end(thing)
        elif what == "defer":
            self.raise_alarm(thing)
            self.silence_matters(thing)
        elif what == "recheck":
            self.raise_alarm(thing)
        elif what == "service":
            del self.repair[thing]
            for alarm in [a for i in self.incidents if thing[0] in i.persons for a in i.alarms]:
                about = alarm.alarm_class == thing[1] and alarm.facts["person"] == thing[0]
                if about and alarm.out_of_service:
                    alarm.out_of_service = False
                    if not alarm.acknowledged and alarm.pages:
                        self.start(alarm, repeats=False)
        else:
            self.work(thing)

    # --- to compare -----------------------------------------------------------------------------

    def picture(self) -> list[tuple[Any, ...]]:
        """Every open alarm with all that an operator sees of it."""
        return sorted(
            (
                incident.subject,
                alarm.alarm_class,
                alarm.facts["protected"] or "",
                bool(alarm.sources),
                alarm.acknowledged,
                alarm.confirmed,
                alarm.count,
                alarm.shelved_until or 0,
                alarm.covered,
                alarm.out_of_service,
                alarm.round,
            )
            for incident in self.incidents
            for alarm in incident.alarms
        )
