"""Plan files: what is taken, and every way to be refused, with plan, step, field and reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand import limits
from alerting.book.plans import BUILT_IN_PLANS, PlanError, parse_plan, plan_problems
from alerting.book.types import AlarmClass

STEP = {"audience": "monitoring-centre", "targets": ["room"]}
POLICE = {"audience": "police", "targets": ["meldkamer"], "classes": ["panic"]}


def plan(*steps, **rest):
    return json.dumps(
        {"format": "afstand.plan/1", "id": "plan-1", "steps": list(steps), **rest}
    ).encode()


def problems(data):
    with pytest.raises(PlanError) as caught:
        parse_plan(data)
    return [(p.step, p.field, str(p.reason)) for p in caught.value.problems]


def test_a_plan_with_everything_is_taken():
    taken = parse_plan(
        plan(
            {
                **POLICE,
                "on": "open",
                "after_s": 5,
                "deadline_s": 60,
                "needs": "acknowledged",
                "fallback": ["meldkamer-sms"],
            },
            {**STEP, "on": "missed", "of": 0, "even_if_acknowledged": True, "classes": ["panic"]},
            {"audience": "wearer", "targets": ["wearer-device"], "classes": ["approach"],
             "needs": "delivered"},
            {**STEP, "on": "confirmed"},
            STEP,
            title="Contact ban, high risk",
            acknowledgement_expires_s=600,
            self_test={"audience": "monitoring-centre", "targets": ["room"]},
        )
    )  # fmt: skip
    assert taken.steps[0].fallback == ("meldkamer-sms",)
    named_only = [AlarmClass.PATTERN, AlarmClass.LEGAL, AlarmClass.SYSTEM]
    assert [c for c in AlarmClass if not taken.steps[4].serves(c)] == named_only


@pytest.mark.parametrize("built_in", BUILT_IN_PLANS, ids=lambda p: p.id)
def test_the_built_in_plans_pass_their_own_checks(built_in):
    assert plan_problems(built_in) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (-1, "file", "malformed")),
        (b"\xff\xfe", (-1, "file", "malformed")),
        (b"[" * 100_000, (-1, "file", "too-large")),
        (b"[" * 60_000, (-1, "file", "malformed")),
        (b"{}", (-1, "format", "malformed")),
        (plan(STEP, format="afstand.plan/2"), (-1, "format", "malformed")),
        (plan({**STEP, "colour": "red"}), (0, "colour", "malformed")),
        (plan(STEP, {**STEP, "after_s": "5"}), (1, "after_s", "malformed")),
        (plan({**STEP, "audience": "press"}), (0, "audience", "malformed")),
        (plan(STEP, id="no good"), (-1, "id", "bad-id")),
        (plan(STEP, id="x" * 65), (-1, "id", "bad-id")),
        (plan(), (-1, "steps", "too-many")),
        (plan(*[STEP] * 33), (-1, "steps", "too-many")),
        (plan({**STEP, "targets": ["no good"]}), (0, "targets[0]", "bad-id")),
        (plan({**STEP, "targets": ["a", "a"]}), (0, "targets", "twice")),
        (plan({**STEP, "targets": [f"t{n}" for n in range(17)]}), (0, "targets", "too-many")),
        (plan({**STEP, "fallback": ["b", "\n"]}), (0, "fallback[1]", "bad-id")),
        (plan({**STEP, "classes": ["panic", "panic"]}), (0, "classes", "twice")),
        (plan({**STEP, "after_s": -1}), (0, "after_s", "out-of-range")),
        (plan({**STEP, "deadline_s": 4}), (0, "deadline_s", "out-of-range")),
        (plan({**STEP, "deadline_s": 86_401}), (0, "deadline_s", "out-of-range")),
        (
            plan(STEP, acknowledgement_expires_s=59),
            (-1, "acknowledgement_expires_s", "out-of-range"),
        ),
        (plan({**STEP, "on": "missed"}), (0, "of", "refers-to-no-earlier-step")),
        (plan(STEP, {**STEP, "on": "missed", "of": 1}), (1, "of", "refers-to-no-earlier-step")),
        (plan(STEP, {**STEP, "on": "missed", "of": -1}), (1, "of", "refers-to-no-earlier-step")),
        (plan(STEP, {**STEP, "of": 0}), (1, "of", "only-steps-on-missed-have-it")),
        (
            plan(STEP, {"audience": "police", "targets": ["protected-device"]}),
            (1, "targets[0]", "target-belongs-to-another-audience"),
        ),
        (
            plan(STEP, {"audience": "police", "targets": ["a"], "fallback": ["wearer-device"]}),
            (1, "fallback[0]", "target-belongs-to-another-audience"),
        ),
        (
            plan(STEP, self_test={"audience": "police", "targets": ["protected-device"]}),
            (-1, "self_test.targets[0]", "target-belongs-to-another-audience"),
        ),
        (
            plan(STEP, {"audience": "wearer", "targets": ["w"], "classes": ["proximity"]}),
            (1, "classes", "wearer-may-not-know-this-class"),
        ),
        (
            plan({**STEP, "on": "confirmed", "classes": ["legal"]}),
            (-1, "steps", "class-has-no-step-on-open"),
        ),
        (
            plan({**POLICE, "needs": "delivered"}),
            (-1, "steps", "critical-class-needs-no-acknowledgement"),
        ),
        (
            plan({**POLICE, "after_s": 31}),
            (-1, "steps", "critical-class-needs-no-acknowledgement"),
        ),
        (
            plan({**POLICE, "audience": "probation"}),
            (-1, "steps", "critical-class-needs-no-acknowledgement"),
        ),
        (plan(POLICE, id="default"), (-1, "steps", "built-in-plan-must-serve-its-classes")),
        (plan(STEP, id="system"), (-1, "steps", "built-in-plan-must-serve-its-classes")),
    ],
)
def test_what_is_wrong_is_named(data, expected):
    assert expected in problems(data)


def test_all_problems_of_a_plan_are_named_at_once():
    found = problems(plan({**STEP, "after_s": -1, "deadline_s": 1, "targets": ["no good"]}))
    assert len(found) == 3


def test_a_problem_reads_as_one_line():
    with pytest.raises(PlanError, match=r"plan plan-1: step 0, deadline_s: out-of-range: 4, 5 to"):
        parse_plan(plan({**STEP, "deadline_s": 4}))


def test_the_step_of_a_schema_error_is_named():
    with pytest.raises(PlanError, match=r"plan plan-1: .*after_s: malformed: Expected `int`"):
        parse_plan(plan(STEP, {**STEP, "after_s": "5"}))


def test_a_stand_in_waits_for_the_nearest_step_that_needs_an_answer():
    told = parse_plan(
        plan(
            STEP,
            {"audience": "police", "targets": ["p"], "needs": "delivered"},
            {**STEP, "on": "missed"},
            {**STEP, "on": "missed", "of": 1},
        )
    )
    assert [told.stands_in_for(2), told.stands_in_for(3)] == [0, 1]


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_a_plan_error(data):
    with pytest.raises(PlanError):
        parse_plan(data)


NAMES = st.sampled_from(["format", "id", "steps", "audience", "targets", "of"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
)


@pytest.mark.slow
@given(JSON)
def test_no_json_does_anything_but_a_plan_error(value):
    """Nothing drawn here can be a plan: the format would have to be drawn letter by letter."""
    with pytest.raises(PlanError) as caught:
        parse_plan(json.dumps(value).encode())
    assert caught.value.problems


def test_the_bounds_are_those_of_the_limits_module():
    assert len(plan(*[STEP] * limits.BOOK_PLAN_STEPS_MAX)) < limits.BOOK_PLAN_BYTES_MAX
    parse_plan(plan(*[STEP] * limits.BOOK_PLAN_STEPS_MAX))
