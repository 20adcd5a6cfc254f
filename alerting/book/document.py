"""The readable alarm book: docs/alarm-book.md, made from the data that the program runs on.

`python -m alerting.book.document > docs/alarm-book.md` writes it anew; a test fails while it is not
current.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from alerting.book import alarms, closing, decisions, floods, indicators, legal, patterns, rules
from alerting.book.audience import GUARDED
from alerting.book.classes import ClassRule
from alerting.book.classes_data import BOOK_VERSION, ROWS
from alerting.book.plans import BUILT_IN_PLANS, Plan, Step
from alerting.book.rules import BREACH_CLASS, ENDS, POSSIBLE_IS_BREACH_1024, RAISES
from alerting.book.titles import DEFAULT_DECIDE_WITHIN_H, TITLES, TITLES_VERSION, Title
from alerting.book.words import Audience


def _span(seconds: int) -> str:
    """Seconds as people say them."""
    if not seconds:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


INTRODUCTION = """\
# The alarm book

Version {version}. Generated from `alerting/book/classes_data.py`, `rules.py`, `plans.py`,
`patterns.py`, `titles.py` and `audience.py` by `python -m alerting.book.document`; do not edit by
hand.

An operator sees at most twelve classes of alarm; everything finer is a field of the alarm. Each
class has a consequence, an action and a time to respond, or it would not be a class (ISA-18.2). A
class that **latches** stays open until a person disposes of it, whatever the devices say
afterwards, and can be neither shelved, nor suppressed, nor put out of service.
"""

CLOSING = f"""\
What latches is closed by two people: one proposes with a disposition and a note of the evidence, a
second countersigns within {closing.PROPOSAL_MS // 60_000} min. News of the incident makes a
proposal void; proposing takes the incident in hand."""

SETTLING = f"""\
*Settles*: a returned alarm closes by itself after this time; one that comes again within
{_span(alarms.AGAIN_WITHIN_MS // 1000)} of the end of the last stays open twice as long, up to
{_span(alarms.SETTLE_MS_MAX // 1000)}. *Pages again*: when a plan has ended
and nobody has answered. *Looked at again*: a condition that lasts so long after a person closed its
alarm raises a new one. An open SYSTEM alarm is told again at most every
{floods.SAY_AGAIN_MS // 60_000} min; but another device that is set aside is news each time."""

POSSIBLE = """\
A *possible* breach of a ban (one fix) is a breach at once, marked unconfirmed, from this
probability on; below it, it is an approach until the burst has confirmed or cleared it. A passage
between two fixes always is a breach. Orders that cannot be enforced are observed only."""

DEFERRED = f"""\
Silence, jamming, shielding and a flat battery are *deferred*: the automatic first actions come at
once (positions are asked for, the device says "charge me"), and operators are paged when it still
holds after the time above; what ends before that is recorded only. Other alarms about the same
persons are never held back by it. Silence waits for as long as it cannot hide a meeting or an
entry: from the last positions, at {rules.REACH_MM_PER_S // 1000} m/s, less their age, and

- in risk class 1 at most {_span(rules.DEFER_SILENCE_MS_MAX[1] // 1000)}, else at most
  {_span(rules.DEFER_SILENCE_MS_MAX[2] // 1000)}
- of a pair at least {_span(rules.DEFER_PAIR_MS_MIN[2] // 1000)}, of a wearer who was more than
  {rules.NEAR_PLACE_MM // 1000} m from every forbidden zone, or has a location order only, at least
  {_span(rules.DEFER_PLACE_MS_MIN[2] // 1000)}; in risk class 1 there is no least"""

PRESSES = """\
A press counts also from a device that nobody knows or that did not prove who it is; it is marked. A
fall of a wearer is recorded only. A test press is never an alarm. `silence` of somebody who belongs
to a pair is `pair-blind`. All other events are recorded."""

LAST_RESORT = """\
`default` serves every alarm whose plan is not known or has no step for its class. It is also the
last resort: as soon as nobody is left in a plan who could still take the alarm in hand, its steps
are added (what is only to be delivered goes on beside them), and when they have ended too the alarm
pages again from the start, for as long as nobody answers. Probation takes in hand what is not
critical."""

LOAD = f"""\
Kept by the book and told as metrics (`afstand_book`):

- alarms that began to page operators in the last {_span(indicators.WINDOW_MS // 1000)}: one per
  alarm and round of its plan; no tasks, no SYSTEM, no drills
- flood: begins above {indicators.FLOOD_BEGINS_ABOVE} for each operator, ends below
  {indicators.FLOOD_ENDS_BELOW}, and is a SYSTEM alarm meanwhile. How many operators are at work is
  told by a command; {indicators.OPERATORS_DEFAULT} until then. Each partition counts its own; over
  the whole room the console and the rule AfstandAlarmFlood count
- standing alarms, and stale ones of {_span(indicators.STALE_MS // 1000)} and more
- chattering: {indicators.CHATTER_COUNT} times within {_span(indicators.CHATTER_MS // 1000)}
- the split by priority
- how fast alarms were answered, against EN 50518: {indicators.ANSWER_S[True][0]} and
  {indicators.ANSWER_S[True][1]} s for what must be answered within {indicators.URGENT_RESPOND_S} s,
  {indicators.ANSWER_S[False][0]} and {indicators.ANSWER_S[False][1]} s for the rest"""

PATTERN = f"""\
Version {patterns.PATTERNS_VERSION}. Counted per order (and pair) or per person. When enough came
together, a PATTERN alarm with the times goes to the owners of the case, and counting starts anew.
What a person closes as false, technical, permitted or a test is taken out of the count. Silence in
a mass loss is nobody's pattern. The risk class is the stricter of order and case, 2 where none is.
"""

DECISION = f"""\
Each confirmed breach of an order in force is counted and owes a decision of the authority, within
the time of its title ({DEFAULT_DECIDE_WITHIN_H} h where the title is not known). Breaches of one
order without a decision share the earliest deadline. The owners of the case hear at once and
halfway (`task`); after the deadline it is a LEGAL task until somebody decides. A breach that begins
again within {_span(decisions.EPISODE_MS // 1000)} of its end is the same; one that a person closes
as none is taken out of the count."""

LEGAL = f"""\
Version {TITLES_VERSION}. Defaults for the warnings to owners of cases; no legal advice, and nothing
here makes an order enforceable or not. An order's `title` begins with the name of a row
(`509hh Sv gedragsaanwijzing`). A LEGAL alarm is a task, one per order, for the owners of the case:
an order that ends within {legal.EXPIRY_STAGES_DAYS[0]}, {legal.EXPIRY_STAGES_DAYS[1]} or
{legal.EXPIRY_STAGES_DAYS[2]} days or has ended, was not signed or not served, is suspended by an
appeal, lasts longer or was renewed more often than its title allows, or contradicts another order
about the same zone. Outside of its validity a breach is observed and never escalated."""

PRIVACY = """\
Fields of a notice by audience. The wearer's side is told of its own areas, places and battery only,
never of a contact ban and never of anything a protected person's device said. A protected person
sees her own distance and no other person's."""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = tuple(head)
    yield f"| {' | '.join(names)} |"
    yield f"| {' | '.join('---' for _ in names)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _class_section(rule: ClassRule) -> Iterator[str]:
    yield f"### {rule.title.en} / {rule.title.nl} (`{rule.alarm_class}`)"
    yield ""
    yield f"- Consequence: {rule.consequence.en} / {rule.consequence.nl}"
    yield f"- Action: {rule.action.en} / {rule.action.nl}"
    actions = ", ".join(rule.first_actions) or "none"
    yield f"- Automatic first actions: {actions}"
    yield f"- The wearer's side may be told: {'yes' if rule.wearer_may_know else 'no'}"
    yield ""


_TITLE_HEAD: Final = (
    "title",
    "name",
    "authority",
    "longest term",
    "renewals",
    "appeal suspends",
    "serve within",
    "decide within",
)


def _title_row(title: Title) -> tuple[str, ...]:
    term = f"{title.term_days} days" if title.term_days else f"{title.term_months} months"
    if not (title.term_days or title.term_months):
        term = "-"
    if title.total_days:
        term += f", {title.total_days} days in all"
    return (
        f"`{title.id}`",
        f"{title.name.nl} / {title.name.en}",
        title.authority.nl,
        term,
        "-" if title.renewals_max is None else str(title.renewals_max),
        "unless declared immediately enforceable" if title.appeal_suspends else "no",
        f"{title.serve_within_h} h",
        f"{title.decide_within_h} h",
    )


def _step_row(number: int, step: Step) -> tuple[str, ...]:
    classes = ", ".join(step.classes) or "all of the operators"
    targets = ", ".join(step.targets) or "nobody"
    when = step.on.value if step.of is None else f"{step.on} (of step {step.of})"
    return (
        str(number),
        when,
        _span(step.after_s),
        f"{targets} ({step.audience})",
        classes,
        step.needs.value,
        _span(step.deadline_s),
    )


def _plan_section(plan: Plan) -> Iterator[str]:
    yield f"### `{plan.id}`: {plan.title}"
    yield ""
    yield from _table(
        ("step", "on", "after", "told", "classes", "needs", "within"),
        (_step_row(number, step) for number, step in enumerate(plan.steps)),
    )


def render() -> str:
    """The whole document."""
    lines = [INTRODUCTION.format(version=BOOK_VERSION), "## Classes", ""]
    lines += _table(
        (
            "class",
            "priority",
            "latches",
            "respond",
            "settles",
            "pages again",
            "looked at again",
            "shelved at most",
        ),
        (
            (
                f"`{rule.alarm_class}`",
                rule.priority.value,
                "yes" if rule.latched else "no",
                _span(rule.respond_s),
                _span(rule.settle_s),
                _span(rule.re_alarm_s),
                _span(rule.recheck_s),
                _span(rule.shelve_max_s),
            )
            for rule in ROWS
        ),
    )
    lines += [SETTLING, "", CLOSING, ""]
    for rule in ROWS:
        lines += _class_section(rule)
    lines += ["## From a verdict to a class", ""]
    lines += _table(
        ("order", "warning", "possible", "confirmed"),
        (
            (
                f"`{kind}`",
                "-" if breach == "order-breach" else "`approach`",
                "-" if breach == "order-breach" else f"`{breach}` or `approach`, see below",
                f"`{breach}`",
            )
            for kind, breach in BREACH_CLASS.items()
        ),
    )
    lines += [POSSIBLE, ""]
    lines += _table(
        ("risk class", "probability"),
        ((str(risk), f"{least / 1024:.3f}") for risk, least in POSSIBLE_IS_BREACH_1024.items()),
    )
    lines += [
        "Silence beyond the budget is `pair-blind` for a contact ban, `location-doubt` otherwise.",
        "",
        "## From an event to a class",
        "",
    ]
    enders = {source: kind for kind, sources in ENDS.items() for source in reversed(sources)}
    lines += _table(
        ("event", "class", "deferred", "over when"),
        (
            (
                f"`{kind}`",
                f"`{rule.alarm_class}`",
                _span(rule.defer_ms // 1000),
                _over(enders.get(rule.source), rule.expires_ms),
            )
            for kind, rule in RAISES.items()
        ),
    )
    lines += [PRESSES, "", DEFERRED, "", "## Who may see what", "", PRIVACY, ""]
    lines += _table(
        ("field", *(audience.value for audience in Audience)),
        (
            (f"`{field}`", *("yes" if audience in may else "-" for audience in Audience))
            for field, may in GUARDED.items()
        ),
    )
    lines += ["## Load of the operators", "", LOAD, ""]
    lines += ["## Patterns", "", PATTERN]
    lines += _table(
        ("pattern", "name", "risk class 1", "2", "3", "within", "counted apart after"),
        (
            (
                f"`{rule.kind}`",
                f"{rule.title.nl} / {rule.title.en}",
                *(str(count) for count in rule.counts),
                f"{rule.window_days} days",
                _span(rule.gap_s),
            )
            for rule in patterns.ROWS
        ),
    )
    lines += ["## Breaches and decisions", "", DECISION, ""]
    lines += ["## Legal titles", "", LEGAL, ""]
    lines += _table(
        _TITLE_HEAD,
        (_title_row(title) for title in TITLES),
    )
    lines += ["## Plans that always exist", "", LAST_RESORT, ""]
    for plan in BUILT_IN_PLANS:
        lines += _plan_section(plan)
    return "\n".join(lines).rstrip() + "\n"


def _over(ender: str | None, expires_ms: int | None) -> str:
    if ender is not None:
        return f"`{ender}`"
    if expires_ms is not None:
        return f"not said again for {_span(expires_ms // 1000)}"
    return "a person disposes of it"


if __name__ == "__main__":
    sys.stdout.write(render())
