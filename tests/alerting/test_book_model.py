"""The book against the plain model of it: many random lives, compared after every event.

A failure names its seed. `AFSTAND_BOOK_SEEDS=7,8` runs other seeds, `AFSTAND_BOOK_EVENTS=100000`
longer lives.
"""

import json
import os
import random
from collections import Counter
from typing import Any
from unittest import mock

import msgspec
import pytest

from alerting.book import telling
from alerting.book.auditor import Auditor
from alerting.book.book import Book
from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    CaseDevice,
    CaseOwner,
    Countersign,
    Decide,
    Decision,
    DefineCase,
    DefinePlan,
    DeviceEvent,
    Dispose,
    Disposition,
    EventKind,
    Input,
    Notice,
    OutOfService,
    Receipt,
    ReceiptStatus,
    Rejected,
    Role,
    Shelve,
    Staffing,
)

from .book_model import Model
from .story import START_MS, verdict

SEEDS = [int(seed) for seed in os.environ.get("AFSTAND_BOOK_SEEDS", "1,2,3,4,5,6").split(",")]
EVENTS = int(os.environ.get("AFSTAND_BOOK_EVENTS", "1700"))

ROOM = {"audience": "monitoring-centre", "targets": ["room"]}
PLANS: dict[str, dict[str, Any]] = {
    "high": {
        "acknowledgement_expires_s": 300,
        "steps": [
            {"audience": "police", "targets": ["police", "police-2"], "deadline_s": 45,
             "classes": ["panic", "proximity", "tamper"], "fallback": ["police-sms"]},
            {"audience": "protected-person", "targets": ["protected-device"],
             "classes": ["panic", "proximity", "approach", "tamper"], "needs": "delivered",
             "deadline_s": 20, "fallback": ["victim-sms"]},
            {"audience": "shift-lead", "targets": ["lead"], "on": "missed", "of": 0, "after_s": 10,
             "classes": ["panic", "proximity", "tamper"]},
            {**ROOM, "deadline_s": 90},
            {"audience": "police", "targets": ["patrol"], "on": "confirmed", "after_s": 15,
             "classes": ["proximity"], "needs": "delivered"},
            {"audience": "probation", "targets": ["office"], "after_s": 120, "needs": "delivered",
             "classes": ["proximity", "order-breach", "pair-blind"],
             "even_if_acknowledged": True},
        ],
    },
    "area": {
        "steps": [
            {"audience": "monitoring-centre", "targets": [], "fallback": ["room"],
             "classes": ["area-breach", "approach", "order-breach"], "deadline_s": 30},
            {"audience": "wearer", "targets": ["wearer-device", "wearer-sms"],
             "classes": ["area-breach", "approach", "device-dying"], "needs": "delivered"},
            {"audience": "probation", "targets": ["office"],
             "classes": ["order-breach", "device-dying"], "deadline_s": 600},
            {"audience": "shift-lead", "targets": ["lead"], "on": "missed",
             "classes": ["area-breach", "device-dying"]},
        ],
    },
    "told-only": {
        "steps": [
            {"audience": "probation", "targets": ["office"], "needs": "delivered",
             "classes": ["order-breach", "location-doubt", "device-dying", "pair-blind"]},
            {"audience": "probation", "targets": ["archive"], "needs": "delivered", "after_s": 30,
             "classes": ["location-doubt"]},
        ],
    },
    "default": {
        "steps": [
            {"audience": "monitoring-centre", "targets": ["monitoring-centre"]},
            {"audience": "shift-lead", "targets": ["shift-lead"], "on": "missed",
             "deadline_s": 120},
            {"audience": "case-owner", "targets": ["case-owner"], "deadline_s": 28_800,
             "classes": ["pattern", "legal"]},
        ],
    },
}  # fmt: skip
for _id, _plan in PLANS.items():
    _plan["id"] = _id
    _plan["format"] = "afstand.plan/1"

CASES: list[dict[str, Any]] = [
    {"id": "c1", "wearer": "w1", "protected": ["p1"], "plan": "high",
     "devices": {"a1": "w1", "b1": "p1", "b1x": "p1"}, "risk": 0, "owners": ["desk", "shelter"]},
    {"id": "c2", "wearer": "w2", "protected": ["p2", "p3"], "plan": None,
     "devices": {"a2": "w2", "b2": "p2"}, "risk": 1, "owners": ["desk"]},
    {"id": "c3", "wearer": None, "protected": ["p4"], "plan": "high", "devices": {"b4": "p4"},
     "risk": 0, "owners": []},
    {"id": "c4", "wearer": "w5", "protected": [], "plan": "told-only", "devices": {"a5": "w5"},
     "risk": 3, "owners": []},
]  # fmt: skip
ORDERS = [
    ("o1", "contact-ban", "w1", "p1", "high"), ("o2", "contact-ban", "w2", "p2", ""),
    ("o3", "contact-ban", "w2", "p3", "high"), ("o4", "area-ban", "w1", None, "area"),
    ("o5", "area-ban", "w2", None, "area"), ("o6", "area-ban", "w2", None, "high"),
    ("o7", "location-order", "w5", None, ""), ("o8", "location-order", "w1", None, "told-only"),
    ("o9", "area-ban", "w5", None, "lost-plan"), ("o10", "contact-ban", "w9", "p9", "area"),
]  # fmt: skip
DEVICES = {
    "a1": ("w1", "wearer"), "b1": ("p1", "protected"), "b1x": ("p1", "protected"),
    "a2": ("w2", "wearer"), "b2": ("p2", "protected"), "b4": ("p4", "protected"),
    "a5": ("w5", "wearer"), "stranger": (None, "unknown"),
}  # fmt: skip
KINDS = ("panic", "duress", "strap-cut", "strap-restored", "case-opened", "jamming",
         "jamming-ended", "shielding", "battery-critical", "charging", "shutdown", "status",
         "battery-low")  # fmt: skip
QUIET_CLASSES = ("approach", "pair-blind", "location-doubt", "device-dying", "order-breach")


class Twin:
    """The book and the model, fed the same."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.book = Book()
        self.model = Model(PLANS, CASES)
        self.now = START_MS
        self.model.now = START_MS
        self.entries = 0
        self.auditor = Auditor(settle_ms=10**15)
        self.subjects: dict[str, str] = {}
        self.sent: list[tuple[str, str, tuple[Any, ...], int]] = []
        self.compared = 0
        self.notices: Counter[str] = Counter()
        plans = [json.dumps(plan).encode() for plan in PLANS.values()]
        cases = [
            DefineCase(
                case_id=case["id"],
                wearer_id=case["wearer"],
                protected_ids=tuple(case["protected"]),
                devices=tuple(
                    CaseDevice(device_id=d, person_id=p) for d, p in case["devices"].items()
                ),
                plan_id=case["plan"],
                risk_class=case["risk"],
                review_weeks=0,  # reviews are told as stories, not modelled
                owners=tuple(
                    CaseOwner(name=target, target=target, side=side)
                    for target, side in zip(
                        case["owners"], (Role.WEARER, Role.PROTECTED), strict=False
                    )
                ),
            )
            for case in CASES
        ]
        # Floods have stories of their own; so many operators never see one.
        staff = Staffing(operators=10_000, by="op")
        definitions: list[Input] = [staff, *(DefinePlan(plan=p) for p in plans), *cases]
        outputs = self.book.step(definitions, self.now, "seed-0")
        assert not [o for o in outputs if isinstance(o, Rejected)], outputs

    def step(self, *inputs: Input) -> list[tuple[Any, ...]]:
        self.entries += 1
        key = f"p-{self.now}-{self.entries}"
        outputs = self.book.step(inputs, self.now, key)
        self.auditor.take(outputs, self.now)
        assert self.auditor.missing(self.now) == [], f"seed {self.seed}, entry {self.entries}"
        heard = []
        for index, output in enumerate(outputs):
            if isinstance(output, Notice):
                incident = self.book._state.incidents.get(output.incident_id)
                subject = "plain" if incident is None else incident.subject
                heard.append(
                    (subject, str(output.alarm_class), output.target,
                     output.subject_device_id, output.recipient_id, str(output.purpose),
                     output.step)
                )  # fmt: skip
                self.notices[f"{output.alarm_class} {output.purpose}"] += 1
                if output.step >= 0:
                    number = int(output.alarm_id.rpartition(".")[2])
                    name = (
                        subject, str(output.alarm_class), output.opened_at_ms, number,
                        output.round, output.plan_id, output.step, output.target,
                        output.subject_device_id, output.recipient_id,
                    )  # fmt: skip
                    self.sent.append((f"{key}-{index}", output.target, name, self.now))
        return heard

    def compare(self, heard: list[tuple[Any, ...]], what: str) -> None:
        said = f"seed {self.seed}, entry {self.entries}, at {self.now - START_MS} ms: {what}"
        wanted, self.model.heard = self.model.heard, []
        order = lambda line: tuple(str(part) for part in line)  # noqa: E731
        assert heard == wanted or sorted(heard, key=order) == sorted(wanted, key=order), said
        assert self.picture() == self.model.picture(), said
        new = [name for _, _, name, _ in self.sent[self.compared :]]
        self.compared = len(self.sent)
        names, self.model.new_names = self.model.new_names, []
        assert set(new) == set(names), said

    def picture(self) -> list[tuple[Any, ...]]:
        state = self.book._state
        return sorted(
            (
                incident.subject,
                str(alarm.alarm_class),
                alarm.facts.protected_id or "",
                alarm.active,
                alarm.acknowledged,
                alarm.confirmed,
                alarm.count,
                alarm.shelved_until_ms or 0,
                bool(alarm.suppressed),
                bool(alarm.out_of_service),
                alarm.round,
            )
            for incident in state.rows.incidents.values()
            if not incident.closed
            for alarm in (state.alarms[a] for a in incident.alarm_ids)
        )

    def pass_time(self, until: int) -> None:
        while (due := self.book.next_due_ms()) is not None and due <= until:
            self.now = max(self.now, due)
            heard = self.step()
            self.model.pass_time(self.now)
            self.compare(heard, "time")
        self.now = until
        self.model.pass_time(until)
        assert self.model.heard == [], f"seed {self.seed}: only the model heard something"

    def live(self, events: int) -> None:
        # Hours of paging may reach the bound of notices, which has a story of its own.
        with mock.patch.object(telling, "BOOK_NOTICES_PER_HOUR_MAX", 10**9):
            self._live(events)

    def _live(self, events: int) -> None:
        rng = self.rng
        for _ in range(events):
            # Odd seeds live fast: many inputs between two deadlines; even ones wait for them.
            short = 500 if self.seed % 2 else 2_000
            pause = rng.choice((0, 0, rng.randrange(short), rng.randrange(18 * short)))
            if rng.random() < 0.003:  # hours in which the book pages and nothing else happens
                pause = rng.randrange(3 * 3_600_000)
            if rng.random() < 0.003:
                self.quiet_days()
            self.pass_time(self.now + pause)
            what = rng.choices(
                (self.a_verdict, self.an_event, self.a_receipt, self.an_operator),
                (40, 20, 30, 15),
            )[0]
            if rng.random() < 0.02:
                self.book = Book.load(self.book.dump())
            if rng.random() < 0.02:
                self.a_fault()
            what()

    def quiet_days(self) -> None:
        """Everything ends and is disposed of, then days pass: long terms come to their end."""
        for order, kind, wearer, protected, plan in ORDERS:
            v = {"order": order, "kind": kind, "wearer": wearer, "protected": protected,
                 "plan": plan, "state": "clear", "freshness": "fresh", "escalate": True,
                 "risk": 2, "probability": 0, "km": None, "age": 0}  # fmt: skip
            self.tell(v)
        for device in DEVICES:
            for kind in ("strap-restored", "jamming-ended", "charging", "status"):
                self.report(kind, device)
        self.pass_time(self.now + 900_000)
        for subject, incident_id in self.open_incidents():
            self.dispose(subject, incident_id, Disposition.HANDLED, despite_active=True)
            self.countersign(subject, incident_id)
        self.pass_time(self.now + self.rng.randrange(4 * 86_400_000))

    # --- what may happen ------------------------------------------------------------------------

    def a_fault(self) -> None:
        """A step that raises in the middle changes nothing."""
        before = self.book.dump()
        press = self.press("panic", "b1")
        with pytest.raises(Exception, match="input 1"):
            self.book.step([press, object()], self.now, "fault")  # type: ignore[list-item]
        assert self.book.dump() == before, f"seed {self.seed}"

    def a_verdict(self) -> None:
        rng = self.rng
        order, kind, wearer, protected, plan = rng.choice(ORDERS)
        stale = ["wearer-stale", *(["protected-stale", "blind"] if protected else [])]
        v: dict[str, Any] = {
            "order": order, "kind": kind, "wearer": wearer, "protected": protected, "plan": plan,
            "state": rng.choice(("clear", "clear", "warning", "possible", "confirmed", "unknown")),
            "freshness": rng.choice(("fresh", "fresh", "fresh", *stale)),
            "escalate": rng.random() < 0.93,
            "risk": rng.choice((1, 2, 3)),
            "probability": rng.choice((700, 930, 980, 995)),
            "km": rng.choice((None, -8, 1, 4, 12)),
            "age": rng.randrange(300),
        }  # fmt: skip
        self.tell(v)

    def tell(self, v: dict[str, Any]) -> None:
        heard = self.step(
            verdict(
                v["state"], order=v["order"], kind=v["kind"], wearer=v["wearer"],
                protected=v["protected"], plan_id=v["plan"], risk=v["risk"],
                probability=v["probability"] / 1024, freshness=v["freshness"],
                escalate=v["escalate"], at_ms=self.now, wearer_age_ms=v["age"] * 1000,
                distance_mm=None if v["km"] is None else v["km"] * 1_000_000,
            )
        )  # fmt: skip
        self.model.verdict(v)
        self.compare(heard, str(v))

    def press(self, kind: str, device: str) -> DeviceEvent:
        person, role = DEVICES[device]
        return DeviceEvent(
            device_id=device,
            person_id=person,
            role=Role(role),
            kind=EventKind(kind),
            at_ms=self.now,
            device_ms=self.now,
            key=f"{device}/{self.entries}",
        )

    def an_event(self) -> None:
        self.report(self.rng.choice(KINDS), self.rng.choice(list(DEVICES)))

    def report(self, kind: str, device: str) -> None:
        heard = self.step(self.press(kind, device))
        self.model.event(kind, device, *DEVICES[device])
        self.compare(heard, f"{kind} of {device}")

    def a_receipt(self) -> None:
        if not self.sent:
            return
        newest = self.rng.random() < 0.9
        number = self.rng.randrange(max(0, len(self.sent) - 12) if newest else 0, len(self.sent))
        key, target, name, sent = self.sent[number]
        if self.now - sent > 6 * 3_600_000:
            return  # of an alarm that pages for days not every notice is remembered
        status = self.rng.choice(("delivered", "delivered", "acknowledged", "failed"))
        heard = self.step(
            Receipt(key=key, status=ReceiptStatus(status), target=target, at_ms=self.now)
        )
        self.model.receipt(name, status)
        self.compare(heard, f"{status} for {key}")

    def an_operator(self) -> None:
        incidents = self.open_incidents()
        if not incidents:
            return
        subject, incident_id = self.rng.choice(incidents)
        act = self.rng.choice(
            (
                "ack",
                "ack",
                "dispose",
                "dispose",
                "force",
                "sign",
                "sign",
                "shelve",
                "service",
                "decide",
            )
        )
        if act == "ack":
            heard = self.step(Acknowledge(incident_id=incident_id, by="op"))
            self.model.acknowledge(subject)
        elif act in ("dispose", "force"):
            force = act == "force"
            disposition = self.rng.choice((Disposition.HANDLED, Disposition.FALSE_ALARM))
            self.dispose(subject, incident_id, disposition, despite_active=force)
            return
        elif act == "sign":
            self.countersign(subject, incident_id)
            return
        elif act == "decide":
            order, _, _, protected, _ = self.rng.choice(ORDERS)
            decision = self.rng.choice((Decision.WARNED, Decision.NO_BREACH))
            heard = self.step(
                Decide(
                    order_id=order, protected_id=protected, by="om", decision=decision, note="so"
                )
            )
            no_breach = decision is Decision.NO_BREACH
            self.model.decide(f"{order}/{protected or ''}", no_breach=no_breach)
        elif act == "shelve":
            self._shelve(incident_id, subject)
            return
        else:
            person = self.rng.choice(("w1", "p1", "w2", "p2", "w5", "w9"))
            alarm_class = self.rng.choice((*QUIET_CLASSES, "tamper"))
            until = self.now + self.rng.randrange(1_000, 3_600_000)
            heard = self.step(
                OutOfService(
                    person_id=person,
                    alarm_class=AlarmClass(alarm_class),
                    by="op",
                    reason="repair",
                    until_ms=until,
                )
            )
            self.model.out_of_service(person, alarm_class, until)
        self.compare(heard, f"{act} {subject}")

    def open_incidents(self) -> list[tuple[str, str]]:
        rows = self.book._state.rows.incidents.values()
        return sorted((i.subject, i.incident_id) for i in rows if not i.closed)

    def dispose(
        self, subject: str, incident_id: str, disposition: Disposition, *, despite_active: bool
    ) -> None:
        heard = self.step(
            Dispose(
                incident_id=incident_id,
                by="op",
                disposition=disposition,
                note="why",
                despite_active=despite_active,
            )
        )
        nothing = disposition is Disposition.FALSE_ALARM
        self.model.dispose(subject, despite_active=despite_active, was_nothing=nothing)
        self.compare(heard, f"dispose {subject}")

    def countersign(self, subject: str, incident_id: str) -> None:
        heard = self.step(Countersign(incident_id=incident_id, by="op-2"))
        self.model.countersign(subject)
        self.compare(heard, f"countersign {subject}")

    def _shelve(self, incident_id: str, subject: str) -> None:
        state = self.book._state
        alarm_ids = state.incidents[incident_id].alarm_ids
        alarm = state.alarms[self.rng.choice(alarm_ids)]
        same_class = [a for a in alarm_ids if state.alarms[a].alarm_class is alarm.alarm_class]
        if len(same_class) > 1:
            return
        until = self.now + self.rng.randrange(1_000, 3_600_000)
        heard = self.step(
            Shelve(alarm_id=alarm.alarm_id, by="op", reason="technician", until_ms=until)
        )
        self.model.shelve(subject, str(alarm.alarm_class), until)
        self.compare(heard, f"shelve {alarm.alarm_class} of {subject}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_book_and_the_plain_model_agree_about_every_event(seed):
    twin = Twin(seed)
    twin.live(EVENTS)
    classes = {line.split()[0] for line in twin.notices}
    assert len(classes) >= 9, f"a life too quiet to show anything: {sorted(twin.notices)}"
    assert classes >= {"pattern", "legal"}
    purposes = {line.split()[1] for line in twin.notices}
    assert purposes == {"alert", "update", "escalation", "withdrawn", "task"}


def test_after_a_random_life_nothing_is_left_over():
    """All quiet and everything disposed of: the state holds the definitions and nothing else."""
    twin = Twin(99)
    twin.live(150)
    twin.quiet_days()
    for order, _, _, protected, _ in ORDERS:
        twin.step(Decide(order_id=order, protected_id=protected, by="om", note="so",
                         decision=Decision.WARNED))  # fmt: skip
    for _, incident_id in twin.open_incidents():
        twin.step(
            Dispose(
                incident_id=incident_id,
                by="op",
                disposition=Disposition.HANDLED,
                note="why",
                despite_active=True,
            ),
            Countersign(incident_id=incident_id, by="op-2"),
        )
    while (due := twin.book.next_due_ms()) is not None:
        twin.now = due
        twin.step()
    rows = twin.book._state.rows
    left = {
        name: len(getattr(rows, name))
        for name in msgspec.structs.asdict(rows)
        if getattr(rows, name)
    }
    assert set(left) - {"mass", "breaches", "desk"} == {
        "plans", "current_plans", "cases", "person_cases", "device_persons", "numbers",
    }  # fmt: skip
    assert left["plans"] == left["current_plans"]
