"""What a rule got right and wrong, by the truth of the simulated world."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from benchmarks.rules import CLEAR, CONFIRMED, Change
from simulators.suite import Breach, Run

GRACE_MS: Final = 90_000
"""An alarm may come so long after the end of a short breach: fixes are a minute apart."""
EARLY_MS: Final = 30_000
"""A breach told so shortly before it is true is no false alarm: it was about to be."""
SHORT_MS: Final = 20_000
"""A breach shorter than this cannot be asked of reports a minute apart (a corner cut)."""


class Span(NamedTuple):
    """A time in which a rule held a state, and all that it remarked in it."""

    from_ms: int
    to_ms: float
    fix_ms: int
    labels: tuple[str, ...]


class Outcome(NamedTuple):
    """One true breach that the devices could show, and what a rule made of it."""

    run: Run
    breach: Breach
    delay_s: float | None
    """From the crossing, or from when the device was heard again; None: missed."""
    warning_s: float | None
    """Told before the two met (within 30 m); None: they did not, or nothing was told before."""
    to_radius_s: float | None
    """Told before the crossing itself."""
    labels: tuple[str, ...]


class Score(NamedTuple):
    """What a rule made of one run."""

    run: Run
    outcomes: list[Outcome]
    false_alarms: list[Change]


def score(runs: Sequence[Run], changes: Iterable[Change]) -> list[Score]:
    """Compare the changes of a rule with the truth of the runs."""
    by_key: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in changes:
        by_key[change.key].append(change)
    return [_score_run(run, by_key) for run in runs]


def _score_run(run: Run, by_key: dict[tuple[str, str], list[Change]]) -> Score:
    outcomes = []
    false_alarms = []
    for order in run.orders:
        for other in order.get("protected_ids") or ("",):
            key = (order["id"], other)
            told = by_key.get(key, [])
            breaches = [
                b for b in run.breaches if b.order_id == key[0] and other in ("", b.other_id)
            ]
            outcomes += [
                _outcome(run, b, told)
                for b in breaches
                if b.by_devices and b.to_ms - b.from_ms >= SHORT_MS
            ]
            false_alarms += [c for c in _onsets(told) if not _true(c, breaches)]
    return Score(run, outcomes, false_alarms)


def _true(change: Change, breaches: Sequence[Breach]) -> bool:
    return any(b.from_ms - EARLY_MS <= change.fix_ms <= b.to_ms + GRACE_MS for b in breaches)


def _onsets(told: Sequence[Change]) -> list[Change]:
    """Return the changes at which a breach was told: to confirmed, or of the past."""
    found = []
    confirmed = False
    for change in told:
        if change.historic:
            found.append(change)
            continue
        if change.state == CONFIRMED and not confirmed:
            found.append(change)
        confirmed = change.state == CONFIRMED
    return found


def _spans(told: Sequence[Change], *states: str) -> list[Span]:
    spans: list[Span] = []
    since: Change | None = None
    labels: dict[str, None] = {}
    for change in told:
        if change.historic:
            continue
        if change.state in states:
            since = since or change
            labels |= dict.fromkeys(change.labels)
        elif since is not None:
            spans.append(Span(since.at_ms, change.at_ms, since.fix_ms, tuple(labels)))
            since, labels = None, {}
    if since is not None:
        spans.append(Span(since.at_ms, float("inf"), since.fix_ms, tuple(labels)))
    return spans


def _outcome(run: Run, breach: Breach, told: Sequence[Change]) -> Outcome:
    heard_ms = breach.from_ms
    for device in run.devices:
        if device.person_id in (breach.wearer_id, breach.other_id):
            for outage in device.outages:
                if outage.from_ms <= heard_ms < outage.to_ms:
                    heard_ms = outage.to_ms
    delay_s = None
    labels: tuple[str, ...] = ()
    for span in _spans(told, CONFIRMED):
        if span.to_ms > breach.from_ms and span.from_ms <= max(breach.to_ms, heard_ms) + GRACE_MS:
            delay_s = max(0.0, (span.from_ms - heard_ms) / 1000.0)
            labels = span.labels
            break
    for change in told:
        past = breach.from_ms - EARLY_MS <= change.fix_ms <= breach.to_ms + GRACE_MS
        if change.historic and past:
            late_s = max(0.0, (change.at_ms - heard_ms) / 1000.0)
            delay_s = late_s if delay_s is None else min(delay_s, late_s)
    warning_s = to_radius_s = None
    states = {c.state for c in told} - {CLEAR}
    for span in _spans(told, *states):
        if breach.touch_ms is not None and span.from_ms <= breach.touch_ms < span.to_ms:
            warning_s = (breach.touch_ms - span.from_ms) / 1000.0
        if span.from_ms <= breach.from_ms < span.to_ms:
            to_radius_s = (breach.from_ms - span.from_ms) / 1000.0
    return Outcome(run, breach, delay_s, warning_s, to_radius_s, labels)
