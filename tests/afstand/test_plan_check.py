"""`afstand plans check`: who is told when if nobody answers, and what is wrong with that."""

import json
from typing import Any

import pytest

from afstand.cli import main
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.plans import parse_plan
from alerting.book.types import AlarmClass

PLAN: dict[str, Any] = {
    "format": "afstand.plan/1",
    "id": "high",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "classes": ["panic", "tamper"],
         "deadline_s": 60, "fallback": ["meldkamer-sms"]},
        {"audience": "protected-person", "targets": ["protected-device"], "classes": ["panic"],
         "needs": "delivered"},
        {"audience": "monitoring-centre", "targets": ["room"], "deadline_s": 90},
    ],
}  # fmt: skip
ROSTER = {
    "format": "afstand.roster/1",
    "id": "desk",
    "timezone": "Europe/Amsterdam",
    "shifts": [
        {"targets": ["day-desk"],
         "weekly": [{"day": d, "start": "07:00", "end": "23:00"} for d in range(7)]},
    ],
}  # fmt: skip


def check(tmp_path, capsys, *contents, arguments=()):
    files = []
    for number, content in enumerate(contents):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(content))
        files.append(str(file))
    code = main(["plans", "check", *files, "--at", "2026-06-15T12:00", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def timetable(out: str, title: str) -> list[str]:
    lines = out.splitlines()
    begin = lines.index(title)
    found = []
    for line in lines[begin + 1 :]:
        if not line.startswith("  "):
            break
        found.append(" ".join(line.split()))
    return found


def test_the_timetable_when_nobody_answers(tmp_path, capsys):
    code, out, err = check(tmp_path, capsys, PLAN, arguments=("--class", "panic"))
    assert code == 0, err
    assert timetable(out, "plan high: panic, nobody answers") == [
        "+0 s meldkamer (police) alert [high, step 0]",
        "+0 s protected-device:victim-device (protected-person) alert [high, step 1]",
        "+0 s room (monitoring-centre) alert [high, step 2]",
        "+60 s meldkamer-sms (police) escalation [high, step 0]",
        "+2 m 00 s monitoring-centre (monitoring-centre) escalation [default, step 0]",
        "+3 m 00 s shift-lead (shift-lead) escalation [default, step 1]",
        "+7 m 00 s pages again from the start, for as long as need be",
    ]


def test_the_timetable_when_nothing_arrives(tmp_path, capsys):
    code, out, err = check(tmp_path, capsys, PLAN, arguments=("--class", "tamper"))
    assert code == 0, err
    assert timetable(out, "plan high: tamper, nothing arrives") == [
        "+0 s meldkamer (police) alert [high, step 0]",
        "+0 s room (monitoring-centre) alert [high, step 2]",
        "+0 s meldkamer-sms (police) escalation [high, step 0]",
        "+0 s monitoring-centre (monitoring-centre) escalation [default, step 0]",
        "+0 s shift-lead (shift-lead) escalation [default, step 1]",
        "+2 m 00 s pages again from the start, for as long as need be",
    ]


def test_an_acknowledgement_that_is_left_expires(tmp_path, capsys):
    _, out, _ = check(tmp_path, capsys, PLAN, arguments=("--class", "tamper"))
    assert timetable(out, "plan high: tamper, taken in hand and left") == [
        "+0 s meldkamer (police) alert [high, step 0]",
        "+0 s room (monitoring-centre) alert [high, step 2]",
        "+15 m 00 s pages again from the start, for as long as need be",
    ]


def test_a_silent_policy_tells_the_protected_person_nothing(tmp_path, capsys):
    _, out, _ = check(tmp_path, capsys, PLAN, arguments=("--class", "panic"))
    for policy in ("silent", "ask-operator"):
        lines = timetable(out, f"plan high: panic, nobody answers, protected person: {policy}")
        assert not [line for line in lines if "protected-person" in line]


def test_every_class_of_every_plan_is_rehearsed_in_every_way(tmp_path, capsys):
    code, out, err = check(tmp_path, capsys, PLAN, arguments=("--json",))
    report = json.loads(out)
    assert code == 0, err
    assert report["format"] == "afstand.plan-check/1"
    done = {(r["plan"], r["class"], r["path"]) for r in report["rehearsals"]}
    paths = ("nobody answers", "nothing arrives", "taken in hand and left")
    served = [c for c in AlarmClass if parse_plan(json.dumps(PLAN).encode()).serves(c)]
    assert {(p, c) for p, c, _ in done if p == "high"} == {("high", c.value) for c in served}
    assert {c for p, c, _ in done if p in ("default", "system")} == {c.value for c in AlarmClass}
    assert {p for *_, p in done} == set(paths)
    assert len(done) % len(paths) == 0
    assert all(r["told"] for r in report["rehearsals"])


def test_a_plan_that_leaves_an_emergency_unasked_for_too_long_is_a_problem(tmp_path, capsys):
    slow = {**PLAN, "steps": [{**PLAN["steps"][0], "deadline_s": 3000}]}
    code, _, err = check(tmp_path, capsys, slow, arguments=("--class", "panic"))
    assert code == 1
    assert "plan high, panic, nobody answers: nobody is asked for 1800 s" in err


def test_a_plan_that_the_schema_refuses_is_told_with_its_place(tmp_path, capsys):
    wrong = {**PLAN, "steps": [{**PLAN["steps"][0], "deadline_s": 1}]}
    code, out, err = check(tmp_path, capsys, wrong)
    assert code == 1
    assert "plan high: step 0, deadline_s: out-of-range" in err
    assert out == ""


def test_an_empty_roster_is_rehearsed_at_its_first_gap(tmp_path, capsys):
    plan = {**PLAN, "steps": [{"audience": "monitoring-centre", "targets": ["@desk"]}]}
    code, out, err = check(tmp_path, capsys, plan, ROSTER, arguments=("--class", "panic"))
    assert code == 0, err
    assert timetable(out, "plan high: panic, nobody answers")[0] == (
        "+0 s day-desk (monitoring-centre) alert [high, step 0]"
    )
    assert timetable(out, "plan high: panic, nobody answers, at 2026-06-15 23:00")[0] == (
        "+0 s monitoring-centre (monitoring-centre) escalation [default, step 0]"
    )
    assert "nobody on duty 2026-06-15 23:00 to 2026-06-16 07:00, and nobody else" in err
    assert "roster desk: and 361 more gaps in a year" in err
    assert "at 2026-06-15 23:00: step 0 of high tells nobody" in err


def test_names_that_lead_nowhere_are_problems(tmp_path, capsys):
    config = tmp_path / "afstand.toml"
    config.write_text(
        '[targets.meldkamer]\nkind = "cap"\nurl = "https://meldkamer.example/cap"\n'
        'audiences = ["police"]\nsecrets = ["env:SECRET"]\nsender = "afstand@example"\n'
    )
    plan = {**PLAN, "steps": [*PLAN["steps"], {"audience": "shift-lead", "targets": ["@night"]}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", "whsec_" + "A" * 32)
        code, _, err = check(
            tmp_path, capsys, plan, arguments=("--config", str(config), "--class", "panic")
        )
    assert code == 1
    assert "problem: plan high: no roster night" in err
    assert "problem: plan high: no target room in the configuration" in err
    assert "problem: built-in plan default: no target shift-lead in the configuration" in err
    assert "no target meldkamer in" not in err
    assert "no target protected-device" not in err


def test_a_cases_document_brings_its_plans_and_rosters(tmp_path, capsys):
    document = {"format": "afstand.cases/1", "plans": [PLAN], "rosters": [ROSTER]}
    code, out, err = check(tmp_path, capsys, document, arguments=("--class", "panic"))
    assert code == 0, err
    assert "plan high: panic, nobody answers" in out


@pytest.mark.parametrize(
    ("content", "arguments", "code", "said"),
    [
        ({"format": "x/1"}, (), 1, "is no plan, roster or cases"),
        ([1], (), 1, "cannot be read"),
        (PLAN, ("--class", "fire"), 2, "--class must be one of"),
        (PLAN, ("--at", "soon"), 2, "--at: "),
        ({**ROSTER, "timezone": "x"}, (), 1, "bad-schedule"),
    ],
)
def test_what_cannot_be_checked_says_why(tmp_path, capsys, content, arguments, code, said):
    got, _, err = check(tmp_path, capsys, content, arguments=arguments)
    assert got == code
    assert said in err


@pytest.mark.parametrize("alarm_class", list(AlarmClass))
def test_the_plans_that_always_exist_have_no_problem(tmp_path, capsys, alarm_class):
    code, out, err = check(tmp_path, capsys, PLAN, arguments=("--json", "--class", alarm_class))
    assert code == 0, err
    rule = ALARM_BOOK[alarm_class]
    for rehearsal in json.loads(out)["rehearsals"]:
        assert rehearsal["told"][0]["after_ms"] <= rule.respond_s * 1000
