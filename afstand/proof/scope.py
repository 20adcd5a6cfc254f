"""What belongs to one case: which frames, which records.

A wearer may stand in several cases. What is about the wearer alone (a cut strap) belongs to each
of them; what is about another protected person belongs to hers alone.
"""

from typing import NamedTuple

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
)
from alerting.book.types import (
    AlarmRecord,
    BreachRecord,
    CaseRecord,
    CommandRecord,
    DefineCase,
    Defined,
    DefinePlan,
    DeviceCommand,
    FloodRecord,
    IncidentRecord,
    LogbookRecord,
    Notice,
    Observation,
    Output,
    Rejected,
    VerdictRecord,
)


class Scope:
    """Follows the records of a case as they are given, oldest first."""

    def __init__(self, case: DefineCase) -> None:
        self.case = case
        self.persons: tuple[str, ...] = tuple(
            one for one in (case.wearer_id, *case.protected_ids) if one is not None
        )
        self.devices: dict[str, str] = {one.device_id: one.person_id for one in case.devices}
        self.incidents: dict[str, None] = {}
        self.orders: dict[str, None] = {}
        self.zones: dict[str, None] = {}
        self.plans: dict[str, None] = dict.fromkeys([case.plan_id] if case.plan_id else [])

    def owns_device(self, device: DefineDevice | None) -> bool:
        """Whether a device belongs to a person of the case."""
        return device is not None and (
            device.device_id in self.devices or device.person_id in self.persons
        )

    def protected_ids(self) -> frozenset[str]:
        """The protected persons of the case and their devices: what the wearer may not learn."""
        persons = self.case.protected_ids
        devices = (device for device, person in self.devices.items() if person in persons)
        return frozenset((*persons, *devices))

    def owns(self, output: Output) -> bool:
        """Whether a record belongs to the case."""
        match output:
            case IncidentRecord():
                return self._owns_incident(output)
            case VerdictRecord():
                return self._about(output.verdict.wearer_id, output.verdict.protected_id)
            case BreachRecord() | Observation():
                return self._about(output.wearer_id, output.protected_id)
            case Notice() if output.incident_id not in self.incidents:
                return self._about(output.wearer_id, output.protected_id)  # told without an alarm
            case AlarmRecord() | Notice():
                return output.incident_id in self.incidents
            case DeviceCommand() | CommandRecord():
                return output.device_id in self.devices
            case CaseRecord() | LogbookRecord():
                return output.case_id == self.case.case_id
            case Defined() | Rejected() | FloodRecord():
                ref = getattr(output, "ref", None)  # a flood is of the room, not of a case
                return ref == self.case.case_id or ref in self.incidents

    def _owns_incident(self, output: IncidentRecord) -> bool:
        if output.case_id is not None and output.protected_id is not None:
            own = output.case_id == self.case.case_id
        else:
            own = self._about(output.wearer_id, output.protected_id)
        if own:
            self.incidents[output.incident_id] = None
        return own

    def _about(self, wearer_id: str | None, protected_id: str | None) -> bool:
        if protected_id is not None:
            return protected_id in self.case.protected_ids and (
                wearer_id is None or wearer_id == self.case.wearer_id
            )
        return wearer_id is not None and wearer_id == self.case.wearer_id

    def owns_command(self, command: JournalCommand) -> bool:
        """Whether a definition belongs to the case; notes the orders and zones it leads to."""
        match command:
            case DefinePerson():
                return command.person_id in self.persons
            case DefineDevice():
                return self.owns_device(command)
            case DefineOrder():
                order = command.order
                own = order.wearer_id == self.case.wearer_id and (
                    not order.protected_ids
                    or any(one in self.persons for one in order.protected_ids)
                )
                if own:
                    self.orders[order.id] = None
                    self.zones.update(dict.fromkeys(order.zone_ids))
                    self.plans.update(dict.fromkeys([order.plan_id] if order.plan_id else []))
                return own
            case DefineZone():
                return command.zone.id in self.zones
            case DefineCase():
                return command.case_id == self.case.case_id
            case DefinePlan():
                return False
            case _:
                incident = getattr(command, "incident_id", "") or getattr(command, "alarm_id", "")
                return str(incident or "").partition(".")[0] in self.incidents or (
                    getattr(command, "case_id", None) == self.case.case_id
                )


class Part(NamedTuple):
    """Where something stands: an entry of a stream, and the place of its part there."""

    entry: str
    place: int
