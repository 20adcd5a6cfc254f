"""From the log of a test to a verdict per sentence, with what shows it."""

from collections.abc import Callable
from typing import Final

import msgspec

from firmware_contracts.conformance.case import Case, Finding, Findings, Result
from firmware_contracts.conformance.judge_delivery import DELIVERY
from firmware_contracts.conformance.judge_frames import FRAMES
from firmware_contracts.conformance.log import Did, Heard, Item, Patience, Told
from firmware_contracts.sentences import all_sentences

# What a device on a broker can be seen to keep or break. The others are the server's, or a reader's
# whose reading nobody sees.
JUDGED: Final = (
    "FC-001", "FC-003", "FC-004", "FC-005", "FC-006", "FC-007", "FC-008", "FC-009",
    "FC-010", "FC-011", "FC-020", "FC-021", "FC-024", "FC-030", "FC-031", "FC-032", "FC-033",
    "FC-035", "FC-040", "FC-041", "FC-042", "FC-043", "FC-050", "FC-052", "FC-060", "FC-062",
    "FC-064", "FC-065", "FC-070", "FC-071", "FC-080", "FC-081", "FC-082", "FC-083", "FC-085",
)  # fmt: skip


class Evidence(msgspec.Struct, frozen=True):
    """What shows a verdict: when, what it was and, of a message, its bytes."""

    at_ms: int
    what: str
    topic: str = ""
    payload: str = ""
    why: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """One sentence and what became of it. `evidence`: the first that shows it."""

    sentence: str
    keeper: str
    text: str
    result: Result
    evidence: Evidence | None
    failures: int = 0


def judge(items: list[Item], device_id: str, key: bytes, patience: Patience) -> list[Verdict]:
    """Judge a log: a verdict per sentence of `JUDGED`, in the order of the specification."""
    case = Case(items, device_id, key, patience)
    found: dict[str, list[Finding]] = {}
    # Of a device whose every tag is wrong nothing else can be said.
    proven = bool(case.first) or not case.frames
    rules: tuple[Callable[[Case], Findings], ...] = (*FRAMES, *(DELIVERY if proven else ()))
    for rule in rules:
        for finding in rule(case):
            found.setdefault(finding.sentence, []).append(finding)
    return [
        _verdict(one.id, one.keeper, one.text, found.get(one.id, []))
        for one in all_sentences()
        if one.id in JUDGED
    ]


def _verdict(sentence: str, keeper: str, text: str, findings: list[Finding]) -> Verdict:
    against = [finding for finding in findings if not finding.ok]
    if not findings:
        return Verdict(sentence, keeper, text, Result.NOT_SEEN, None)
    chosen = against[0] if against else findings[0]
    result = Result.PASS if chosen.ok else Result.FAIL
    return Verdict(sentence, keeper, text, result, _evidence(chosen), len(against))


def _evidence(finding: Finding) -> Evidence:
    shown = finding.shown_by
    if isinstance(shown, Heard):
        return Evidence(shown.at_ms, "heard", shown.topic, shown.payload.hex(), finding.why)
    if isinstance(shown, Told):
        what = f"told: {shown.purpose.value}"
        return Evidence(shown.at_ms, what, shown.lane.value, shown.payload.hex(), finding.why)
    if isinstance(shown, Did):
        return Evidence(shown.at_ms, f"done: {shown.what.value}", why=finding.why)
    return Evidence(0, "the whole test", why=finding.why)
