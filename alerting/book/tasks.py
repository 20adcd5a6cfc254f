"""What somebody owes for a case: records, tasks that stay until done, and word to its owners."""

from afstand.limits import BOOK_TEXT_CHARS_MAX
from alerting.book import cases, conditions
from alerting.book.case_words import CaseChange, CaseRecord
from alerting.book.context import Context
from alerting.book.inputs import DefineCase
from alerting.book.outputs import RejectReason
from alerting.book.plain import plain_notice
from alerting.book.state import Facts
from alerting.book.words import AlarmClass, Audience, Purpose, Role


def case_of(cx: Context, what: str, case_id: str, by: str, *texts: str) -> DefineCase | None:
    """The case that a command names; None, and a rejection, when it cannot be done."""
    case = cx.state.cases.get(case_id)
    if case is None:
        cx.reject(RejectReason.BAD_CASE, what, case_id, "no such case")
    elif not by:
        cx.reject(RejectReason.NO_REASON_GIVEN, what, case_id, "by")
    elif any(len(text) > BOOK_TEXT_CHARS_MAX for text in texts):
        cx.reject(RejectReason.LIMIT, what, case_id, f"more than {BOOK_TEXT_CHARS_MAX} characters")
    else:
        return case
    return None


def record(cx: Context, case_id: str, change: CaseChange, **said: object) -> None:
    """Write one change of a case."""
    cx.emit(CaseRecord(case_id=case_id, change=change, at_ms=cx.now_ms, **said))  # type: ignore[arg-type]


def matter(case_id: str, what: str) -> str:
    """The name of something that is owed for a case."""
    return f"case/{case_id}/{what}"


def _facts(case: DefineCase, reason: str, detail: str) -> Facts:
    return Facts(
        reason=reason,
        role=Role.WEARER if case.wearer_id else Role.PROTECTED,
        person_id=case.wearer_id or case.protected_ids[0],
        wearer_id=case.wearer_id,
        protected_id=case.protected_ids[0] if len(case.protected_ids) == 1 else None,
        plan_id=case.plan_id or "",
        detail=detail,
        matter=matter(case.case_id, reason),
    )


def task(cx: Context, case: DefineCase, reason: str, detail: str, mark: str = "") -> None:
    """A task of the owner that stays until it is done."""
    facts = _facts(case, reason, detail)
    key = matter(case.case_id, reason + mark)
    conditions.begin(cx, key, AlarmClass.LEGAL, facts, lasting=True)


def tell_owners(
    cx: Context, case: DefineCase, reason: str, detail: str, due_ms: int | None = None
) -> None:
    """Tell the owners of the case, once."""
    facts = _facts(case, reason, detail)
    for target in cases.owner_targets(cx.state, facts.wearer_id, facts.protected_id):
        plain_notice(
            cx,
            "c",
            AlarmClass.LEGAL,
            facts,
            facts.plan_id,
            target,
            Audience.CASE_OWNER,
            Purpose.TASK,
            deadline_ms=due_ms,
        )
