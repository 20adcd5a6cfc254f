"""What the book knows of a case that was erased, taken out of it for good.

The rows are those that would move with the persons (`moving.py`), but of persons who live on in
another case only what this one case said. Nothing of a case goes while an incident of it is open.
"""

from collections.abc import Iterable

from alerting.book.moving import Members, take_out
from alerting.book.state import State


def in_the_way(state: State, case_id: str, person_ids: Iterable[str]) -> str:
    """Why a case cannot be forgotten now; empty when it can."""
    for person_id in sorted(person_ids):
        opened = state.open_by_person.get(person_id)
        if opened:
            return f"incident {opened[0]} of {person_id} is open"
    for incident_id, incident in sorted(state.incidents.rows.items()):
        if incident.case_id == case_id and not incident.closed:
            return f"incident {incident_id} is open"
    return ""


def forget(state: State, case_id: str, person_ids: Iterable[str], order_ids: Iterable[str]) -> None:
    """Drop the case, and everything about persons and orders that go with it.

    Nothing may be in its way. The caller keeps the log.
    """
    persons, orders = frozenset(person_ids), frozenset(order_ids)
    devices = (key for key, person in state.device_persons.rows.items() if person in persons)
    case = state.cases.get(case_id)
    take_out(state, Members(persons, frozenset(devices), orders), {case_id})
    if case is None:
        return
    for person_id in (case.wearer_id, *case.protected_ids):
        left = tuple(one for one in state.person_cases.get(person_id or "") or () if one != case_id)
        if person_id is not None and left:
            state.person_cases.put(person_id, left)
        elif person_id is not None:
            state.person_cases.drop(person_id)
    own = state.wearer_orders.get(case.wearer_id or "")
    if case.wearer_id is not None and own:
        state.wearer_orders.put(case.wearer_id, tuple(one for one in own if one not in orders))
