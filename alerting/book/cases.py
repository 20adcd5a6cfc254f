"""Who belongs to whom: cases tie a wearer, protected persons and their devices together."""

from afstand.limits import (
    BOOK_CASE_DEVICES_MAX,
    BOOK_CASE_PERSONS_MAX,
    BOOK_CASES_MAX,
    BOOK_CASES_PER_PERSON_MAX,
    BOOK_NAME_CHARS_MAX,
)
from alerting.book.context import Context
from alerting.book.inputs import CaseDevice, DefineCase, VictimPolicy
from alerting.book.outputs import Defined, RejectReason
from alerting.book.plans import ID_PATTERN
from alerting.book.state import Facts, State
from alerting.book.words import Role

_POLICY_ORDER = (VictimPolicy.SILENT, VictimPolicy.ASK_OPERATOR, VictimPolicy.TELL)
"""The most careful first."""


def define_case(cx: Context, case: DefineCase) -> None:
    """Take a case, or replace its earlier version. A case that is wrong changes nothing."""
    fault = _fault(cx.state, case)
    if fault is not None:
        reason, detail = fault
        cx.reject(reason, "define-case", case.case_id, detail)
        return
    state = cx.state
    old = state.cases.get(case.case_id)
    if old is not None:
        _unlink(state, old)
    state.cases.put(case.case_id, case)
    for person_id in _persons(case):
        state.person_cases.put(
            person_id, (*(state.person_cases.get(person_id) or ()), case.case_id)
        )
    for device in case.devices:
        state.device_persons.put(device.device_id, device.person_id)
    cx.emit(Defined(what="case", ref=case.case_id, at_ms=cx.now_ms))


def _persons(case: DefineCase) -> tuple[str, ...]:
    return (*((case.wearer_id,) if case.wearer_id else ()), *case.protected_ids)


def _unlink(state: State, case: DefineCase) -> None:
    for person_id in _persons(case):
        left = tuple(c for c in state.person_cases.get(person_id) or () if c != case.case_id)
        if left:
            state.person_cases.put(person_id, left)
        else:
            state.person_cases.drop(person_id)
    for device in case.devices:
        if not _in_another_case(state, device, case.case_id):
            state.device_persons.drop(device.device_id)


def _in_another_case(state: State, device: CaseDevice, case_id: str) -> bool:
    return any(
        other.case_id != case_id and device in other.devices
        for other in cases_of(state, device.person_id)
    )


def _fault(state: State, case: DefineCase) -> tuple[RejectReason, str] | None:
    """Why a case is refused, or None."""
    persons = _persons(case)
    ids = (case.case_id, *persons, *(d.device_id for d in case.devices))
    bad = [i for i in (*ids, case.plan_id or "x") if not ID_PATTERN.match(i)]
    if bad:
        return RejectReason.BAD_ID, bad[0][:64]
    if any(not ID_PATTERN.match(owner.target) for owner in case.owners):
        return RejectReason.BAD_ID, "target of an owner"
    if len({owner.side for owner in case.owners}) != len(case.owners):
        return RejectReason.BAD_CASE, "two owners for one side"
    if any(len(text) > BOOK_NAME_CHARS_MAX for text in _names(case)):
        return RejectReason.LIMIT, f"a name of more than {BOOK_NAME_CHARS_MAX} characters"
    if not persons:
        return RejectReason.NO_PERSON, "a case names a wearer or a protected person"
    if len(set(persons)) != len(persons):
        return RejectReason.BAD_CASE, "a person stands in it twice"
    return _over_a_limit(state, case, persons) or _wrong_owner(state, case, persons)


def _names(case: DefineCase) -> tuple[str, ...]:
    return (case.contact, *(owner.name for owner in case.owners))


def _over_a_limit(
    state: State, case: DefineCase, persons: tuple[str, ...]
) -> tuple[RejectReason, str] | None:
    if len(persons) > BOOK_CASE_PERSONS_MAX or len(case.devices) > BOOK_CASE_DEVICES_MAX:
        return RejectReason.LIMIT, f"{len(persons)} persons, {len(case.devices)} devices"
    if case.case_id not in state.cases and len(state.cases) >= BOOK_CASES_MAX:
        return RejectReason.LIMIT, f"{BOOK_CASES_MAX} cases"
    for person_id in persons:
        known_in = state.person_cases.get(person_id) or ()
        if case.case_id not in known_in and len(known_in) >= BOOK_CASES_PER_PERSON_MAX:
            return RejectReason.LIMIT, f"{person_id} is in {len(known_in)} cases"
    return None


def _wrong_owner(
    state: State, case: DefineCase, persons: tuple[str, ...]
) -> tuple[RejectReason, str] | None:
    owners: dict[str, str] = {}
    for device in case.devices:
        device_id, person_id = device.device_id, device.person_id
        if person_id not in persons:
            detail = f"device {device_id} belongs to {person_id}, who is not in the case"
            return RejectReason.BAD_CASE, detail
        owner = state.device_persons.get(device_id)
        taken = owner is not None and _in_another_case(
            state, CaseDevice(device_id=device_id, person_id=owner), case.case_id
        )
        if (taken and owner != person_id) or owners.setdefault(device_id, person_id) != person_id:
            return RejectReason.BAD_CASE, f"device {device_id} has two owners"
    return None


def cases_of(state: State, person_id: str | None) -> tuple[DefineCase, ...]:
    """Every case that names the person, in the order they were defined."""
    if person_id is None:
        return ()
    return tuple(state.cases[c] for c in state.person_cases.get(person_id) or ())


def role_of(state: State, person_id: str | None) -> Role:
    """What the person is in the cases that name them."""
    for case in cases_of(state, person_id):
        return Role.WEARER if case.wearer_id == person_id else Role.PROTECTED
    return Role.UNKNOWN


def counterparts(state: State, person_id: str | None) -> tuple[str, ...]:
    """The other side of every case of the person.

    Protected persons of a wearer, wearers of a protected person.
    """
    found: list[str] = []
    for case in cases_of(state, person_id):
        if case.wearer_id == person_id:
            others = case.protected_ids
        else:
            others = (case.wearer_id,) if case.wearer_id else ()
        found.extend(other for other in others if other not in found)
    return tuple(found)


def devices_of(state: State, person_id: str | None) -> tuple[str, ...]:
    """Every device of the person, in the order of their cases."""
    found: list[str] = []
    for case in cases_of(state, person_id):
        for device in case.devices:
            if device.person_id == person_id and device.device_id not in found:
                found.append(device.device_id)
    return tuple(found)


def protected_of(state: State, facts: Facts) -> tuple[str, ...]:
    """The protected persons an alarm is about: the named one, or everybody tied to its wearer."""
    if facts.protected_id is not None:
        return (facts.protected_id,)
    return counterparts(state, facts.wearer_id)


def wearers_of(state: State, facts: Facts) -> tuple[str, ...]:
    """The wearers an alarm is about: the named one, or everybody tied to its protected person."""
    if facts.wearer_id is not None:
        return (facts.wearer_id,)
    return counterparts(state, facts.protected_id)


def victim_policy(state: State, person_id: str | None) -> VictimPolicy:
    """What the protected person may be told; of several cases the most careful policy holds."""
    policies = [case.victim_policy for case in cases_of(state, person_id)]
    for policy in _POLICY_ORDER:
        if policy in policies:
            return policy
    return VictimPolicy.TELL


def owner_targets(state: State, wearer_id: str | None, protected_id: str | None) -> tuple[str, ...]:
    """Where the owners of the case of these persons are reached, the wearer's side first."""
    case = case_for(state, wearer_id, protected_id)
    if case is None:
        return ()
    first = sorted(case.owners, key=lambda owner: owner.side is not Role.WEARER)
    return tuple(dict.fromkeys(owner.target for owner in first))


def case_for(state: State, wearer_id: str | None, protected_id: str | None) -> DefineCase | None:
    """The case of a pair, or the first case of the one person known."""
    for case in cases_of(state, protected_id if protected_id is not None else wearer_id):
        if wearer_id is None or case.wearer_id == wearer_id:
            return case
    return None
