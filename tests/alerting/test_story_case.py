"""The case around the alarm, told as stories in virtual time."""

from itertools import product

import pytest

from alerting.book.case_words import (
    Activate,
    ActivationStep,
    CaseChange,
    CaseRecord,
    Cause,
    CheckIn,
    ChecklistStep,
    Concern,
    LogbookEntry,
    LogbookRecord,
    Review,
    ReviewOutcome,
    Screen,
    SetCheckIn,
    TellCause,
)
from alerting.book.risk import CAUSES, RISKS
from alerting.book.types import DefinePlan, Rejected, RejectReason
from tests.alerting.story import START_MS, Story, plan, verdict

HOUR_S, DAY_S = 3_600, 86_400
OWNERS = {"wearer": "reclassering-jansen", "protected": "opvang-de-vries"}
BOTH = tuple(OWNERS.values())


@pytest.fixture
def story():
    with Story() as told:
        told.case(owners=OWNERS, contact="mevrouw De Vries", review_weeks=10)
        yield told


def records(story, change=None) -> list[CaseRecord]:
    return [one for one in story.outputs if isinstance(one, CaseRecord)
            and change in (None, one.change)]  # fmt: skip


def tasks(story, reason: str, purpose: str = "task") -> None:
    """Both owners were told of this, and nobody else."""
    heard(story, reason, *(f"{target} legal {purpose}" for target in BOTH))


def heard(story, reason: str, *wanted: str) -> None:
    """Exactly these were told, and why."""
    assert {notice.reason for notice in story.expect(*wanted)} == {reason}


def rejected(story) -> list[RejectReason]:
    return [one.reason for one in story.last if isinstance(one, Rejected)]


# --- screening --------------------------------------------------------------------------------


def test_a_screening_sets_risk_class_plan_thresholds_and_check_in(story):
    story.take(DefinePlan(plan=plan("risk-high", {"audience": "police", "targets": ["meldkamer"],
                                                  "deadline_s": 30})))  # fmt: skip
    story.take(Screen(case_id="case-1", by="ar-1", concern=Concern.HIGH, screened_ms=START_MS))
    (screened,) = records(story, CaseChange.SCREENED)
    assert (screened.concern, screened.risk_class) == (Concern.HIGH, 1)
    case = story.book.case("case-1")
    assert (case.risk_class, case.plan_id) == (1, "risk-high")
    assert records(story, CaseChange.CHECK_IN_SET)[0].due_ms == story.now_ms + 24 * 3_600_000
    # The thresholds of patterns follow: three near-misses, not five.
    for _ in range(3):
        story.take(verdict("warning", plan_id=""))
        story.unexpected.clear()
        story.take(verdict("clear"))
        story.forward(HOUR_S)
        story.unexpected.clear()
    story.take()
    patterns = [o for o in story.outputs if getattr(o, "alarm_class", "") == "pattern"]
    assert patterns


def test_a_screening_outlives_a_new_version_of_the_case(story):
    story.take(Screen(case_id="case-1", by="ar-1", concern=Concern.HIGH, screened_ms=START_MS))
    story.case(owners=OWNERS, review_weeks=10)
    assert story.book.case("case-1").risk_class == 1


def test_an_order_of_a_lower_risk_class_is_told_to_the_owners(story):
    story.order(risk_class=3)
    story.take(Screen(case_id="case-1", by="ar-1", concern=Concern.HIGH, screened_ms=START_MS))
    tasks(story, "order-below-screening")
    assert records(story, CaseChange.SCREENED)[0].facts == {"orders_of_a_lower_risk_class": 1}


def test_the_table_of_risks_asks_for_more_the_greater_the_concern():
    assert [RISKS[one].risk_class for one in Concern] == [3, 2, 1]
    assert list(RISKS) == list(reversed(Concern))
    assert not RISKS[Concern.HIGH].may_scale_down


@pytest.mark.parametrize(("said", "why"), [
    (Screen(case_id="x", by="a", concern=Concern.LOW, screened_ms=1), RejectReason.BAD_CASE),
    (Screen(case_id="case-1", by="", concern=Concern.LOW, screened_ms=1),
     RejectReason.NO_REASON_GIVEN),
    (Screen(case_id="case-1", by="a", concern=Concern.LOW, screened_ms=START_MS + 1),
     RejectReason.IN_THE_FUTURE),
    (Review(case_id="case-1", by="a", outcome=ReviewOutcome.KEEP, note=" "),
     RejectReason.NO_REASON_GIVEN),
    (LogbookEntry(case_id="case-1", person_id="W", text="x", happened_ms=1), RejectReason.BAD_CASE),
    (LogbookEntry(case_id="case-1", person_id="P", text=" ", happened_ms=1),
     RejectReason.NO_REASON_GIVEN),
    (LogbookEntry(case_id="case-1", person_id="P", text="x" * 9_000, happened_ms=1),
     RejectReason.LIMIT),
    (LogbookEntry(case_id="case-1", person_id="P", text="x", happened_ms=START_MS + 1),
     RejectReason.IN_THE_FUTURE),
    (CheckIn(case_id="case-1", person_id="W", well=True), RejectReason.BAD_CASE),
    (Activate(case_id="case-1", device_id="other", by="a"), RejectReason.BAD_CASE),
    (ActivationStep(device_id="button", by="a", step=ChecklistStep.INSTRUCTED),
     RejectReason.NOT_PROPOSED),
    (ActivationStep(device_id="button", by="a", step=ChecklistStep.TEST_PRESSED),
     RejectReason.BAD_COMMAND),
    (TellCause(incident_id="i", by="a", cause=Cause.BREACH), RejectReason.UNKNOWN_INCIDENT),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_reason(story, said, why):
    story.take(said)
    assert rejected(story) == [why]
    assert records(story) == []


# --- review, scaling down -----------------------------------------------------------------------


def test_a_review_is_due_every_ten_weeks_and_stays_a_task_until_it_is_done(story):
    story.forward(70 * DAY_S - 1)
    story.forward(1)
    tasks(story, "review-due", "alert")
    (due,) = records(story, CaseChange.REVIEW_DUE)
    assert due.facts["incidents_ever"] == 0
    story.take(Review(case_id="case-1", by="zvh", outcome=ReviewOutcome.KEEP, note="blijft zo"))
    assert records(story, CaseChange.REVIEWED)[0].due_ms == story.now_ms + 70 * DAY_S * 1000
    story.forward(60)
    tasks(story, "returned", "withdrawn")
    story.forward(70 * DAY_S - 60)
    tasks(story, "review-due", "alert")


def test_half_a_year_without_an_incident_proposes_to_scale_down_with_the_figures(story):
    story.forward(30 * DAY_S)
    incident = story.event("panic", "button")
    story.unexpected.clear()
    story.dispose_all()
    story.unexpected.clear()
    del incident
    start_ms = story.now_ms
    while not records(story, CaseChange.SCALE_DOWN_PROPOSED):
        story.forward(DAY_S)
        told = [notice.reason for _, notice in story.unexpected]
        story.unexpected.clear()
        assert set(told) <= {"review-due", "scale-down-proposed", "returned", "reviewed"}
        if "review-due" in told:
            story.take(Review(case_id="case-1", by="z", outcome=ReviewOutcome.KEEP, note="ok"))
            story.unexpected.clear()
    assert 182 <= (story.now_ms - start_ms) / (DAY_S * 1000) <= 183
    (proposed,) = records(story, CaseChange.SCALE_DOWN_PROPOSED)
    assert proposed.facts["days_since_an_incident"] == 182
    assert proposed.facts["incidents_ever"] == 1


def test_a_case_of_great_concern_is_never_proposed_for_scaling_down(story):
    story.take(Screen(case_id="case-1", by="ar-1", concern=Concern.HIGH, screened_ms=START_MS))
    story.take(SetCheckIn(case_id="case-1", by="a", every_h=0))
    for _ in range(200):
        story.forward(DAY_S)
        story.unexpected.clear()
    assert records(story, CaseChange.SCALE_DOWN_PROPOSED) == []


# --- the protected person -----------------------------------------------------------------------


def test_her_own_words_are_on_the_timeline_as_she_wrote_them(story):
    words = "Hij stond weer bij de school. 🚲 Ik heb een foto."
    story.take(LogbookEntry(case_id="case-1", person_id="P", text=words, file_name="foto.jpg",
                            happened_ms=START_MS - 5_000, file_sha256="ab" * 32))  # fmt: skip
    (entry,) = [one for one in story.outputs if isinstance(one, LogbookRecord)]
    assert (entry.text, entry.happened_ms, entry.at_ms) == (words, START_MS - 5_000, START_MS)
    assert entry.file_sha256 == "ab" * 32


def test_a_check_in_that_is_not_answered_is_a_task_of_her_contact(story):
    story.take(SetCheckIn(case_id="case-1", by="opvang", every_h=24))
    story.forward(24 * HOUR_S)
    tasks(story, "check-in-due")
    story.forward(2 * HOUR_S)
    tasks(story, "check-in-missed", "alert")
    story.take(CheckIn(case_id="case-1", person_id="P", well=True))
    story.forward(60)
    tasks(story, "returned", "withdrawn")
    story.forward(22 * HOUR_S)
    story.take(CheckIn(case_id="case-1", person_id="P", well=True))
    story.forward(23 * HOUR_S)
    story.take(CheckIn(case_id="case-1", person_id="P", well=False, text="bel mij"))
    tasks(story, "asks-to-be-called")


@pytest.mark.parametrize(("policy", "told"), [("tell", True), ("silent", False)])
def test_the_cause_is_explained_afterwards_by_the_policy_of_the_case(policy, told):
    with Story() as story:
        story.case(policy=policy)
        story.take(verdict("confirmed"))
        story.unexpected.clear()
        incident_id = next(iter(story.incidents()))
        story.dispose_all()
        story.unexpected.clear()
        story.take(TellCause(incident_id=incident_id, by="operator", cause=Cause.TURNED_AWAY))
        if told:
            heard(story, "turned-away", "protected-device:button proximity explanation")
            assert records(story, CaseChange.CAUSE_TOLD)[0].cause is Cause.TURNED_AWAY
        else:
            assert rejected(story) == [RejectReason.SILENT_POLICY]


def test_who_pressed_hears_what_happened_with_her_alarm_whatever_the_policy():
    with Story() as story:
        story.case(policy="silent")
        story.event("panic", "button")
        story.unexpected.clear()
        incident_id = next(iter(story.incidents()))
        story.take(TellCause(incident_id=incident_id, by="operator", cause=Cause.ARRESTED))
        heard(story, "arrested", "protected-device:button panic explanation")
        story.dispose_all()
        story.unexpected.clear()


def test_every_cause_fits_a_device_in_both_languages_with_the_mark_of_an_exercise():
    for cause, (language, mark) in product(Cause, (("nl", "OEFENING. "), ("en", "EXERCISE. "))):
        assert len((mark + getattr(CAUSES[cause], language)).encode()) <= 64, (cause, language)


# --- activation of a button ---------------------------------------------------------------------

PLAN = plan(
    "aware",
    {"audience": "police", "targets": ["meldkamer"], "deadline_s": 30},
    self_test={"audience": "police", "targets": ["meldkamer"]},
)


@pytest.fixture
def aware():
    with Story() as told:
        told.take(DefinePlan(plan=PLAN))
        told.case(wearer=None, devices={"button": "P"}, plan_id="aware",
                  owners={"protected": "opvang-de-vries"})  # fmt: skip
        yield told


def test_a_button_is_live_only_when_it_was_pressed_and_somebody_received_it(aware):
    aware.take(Activate(case_id="case-1", device_id="button", by="ovd"))
    heard(aware, "activation-begun", "opvang-de-vries legal task")
    for step in (ChecklistStep.HANDED_OVER, ChecklistStep.INSTRUCTED):
        aware.take(ActivationStep(device_id="button", by="agent", step=step))
    aware.forward(300)
    aware.event("self-test", "button")
    aware.expect("meldkamer panic test")
    assert records(aware, CaseChange.ACTIVATED) == []
    aware.receipt("meldkamer panic test", "acknowledged")
    steps = [one.step for one in records(aware, CaseChange.ACTIVATION_STEP)]
    assert steps == list(ChecklistStep)
    assert records(aware, CaseChange.ACTIVATED)[0].facts == {"seconds": 300}
    assert list(aware.incidents()) == []
    aware.forward(DAY_S)


def test_a_press_in_the_middle_of_an_activation_is_a_press(aware):
    aware.take(Activate(case_id="case-1", device_id="button", by="ovd"))
    heard(aware, "activation-begun", "opvang-de-vries legal task")
    aware.event("self-test", "button")
    aware.expect("meldkamer panic test")
    aware.forward(1)
    aware.event("panic", "button")
    aware.expect("meldkamer panic alert")
    aware.dispose_all()
    aware.unexpected.clear()
    aware.take(ActivationStep(device_id="button", by="agent", step=ChecklistStep.HANDED_OVER))


def test_an_activation_that_takes_too_long_is_a_task_until_the_button_is_live(aware):
    aware.take(Activate(case_id="case-1", device_id="button", by="ovd"))
    heard(aware, "activation-begun", "opvang-de-vries legal task")
    aware.forward(1_800)
    heard(aware, "activation-late", "opvang-de-vries legal alert")
    for step in (ChecklistStep.HANDED_OVER, ChecklistStep.INSTRUCTED):
        aware.take(ActivationStep(device_id="button", by="agent", step=step))
    aware.event("self-test", "button")
    aware.expect("meldkamer panic test")
    aware.receipt("meldkamer panic test", "delivered")
    assert records(aware, CaseChange.ACTIVATED)
    aware.unexpected.clear()  # the task is over
