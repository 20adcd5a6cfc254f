"""What other zones and radii would have given: the same journal with other orders in it.

For the look-back session that follows an escalation. A file says what is to be different:

    {"format": "afstand.what-if/1",
     "orders": [{"id": "ban-1", "radius_m": 2000, "warning_m": 4000}],
     "zones": [{"id": "z", "circle": {"lat_e7": 519200000, "lon_e7": 44800000, "radius_m": 500}}]}

Of an order only what differs is said, a zone is said whole, as in a cases document. They count from
the first instant of the period on, in the state that was true then.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from afstand.cases import CasesError, ZoneEntry, check_cases
from afstand.commands import (
    CommandError,
    DefineOrder,
    DefineZone,
    decode_command,
    encode_command,
)
from afstand.limits import CASES_BYTES_MAX
from afstand.proof.past import Definitions, ProofError
from afstand.proof.scope import Scope
from afstand.watch.fold import Watch
from alerting.book.types import AlarmRecord, Change, Output, Rejected
from geofence.orders import Order
from ingest.entries import Entry, EntryKind
from ingest.store import EntryId

Substitute = DefineZone | DefineOrder
_TOLD: Final = (Change.RAISED, Change.RAISED_AGAIN, Change.CONFIRMED, Change.RETURNED)


class Happened(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of one alarm of the case."""

    at_ms: int
    change: str
    alarm_class: str
    reason: str
    order_id: str | None = None
    person_id: str | None = None
    alarm_id: str = ""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms that other orders would have given, beside those that were.

    Both begin from the same state at the first instant of the period. What people did then stands
    in the journal and is left as it was, so what they would have done otherwise is not in it.
    """

    replaced: tuple[str, ...]
    rejected: tuple[str, ...]
    alarms: tuple[Happened, ...]


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["afstand.what-if/1"]
    orders: tuple[dict[str, Any], ...] = ()
    zones: tuple[ZoneEntry, ...] = ()


def happened(outputs: Sequence[Output]) -> Iterator[Happened]:
    """The changes of alarms that a look-back is about."""
    for output in outputs:
        if isinstance(output, AlarmRecord) and output.change in _TOLD:
            yield Happened(
                output.at_ms,
                output.change.value,
                output.alarm_class.value,
                output.reason,
                output.order_id,
                output.person_id,
                output.alarm_id,
            )


def read_substitutes(path: Path, definitions: Definitions) -> list[Substitute]:
    """Read a what-if file against the newest orders and zones of the case. Raises ProofError."""
    try:
        if path.stat().st_size > CASES_BYTES_MAX:
            raise ProofError(f"{path}: more than {CASES_BYTES_MAX} bytes")
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except OSError as error:
        raise ProofError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProofError(f"{path}: {error}") from None
    orders: dict[str, Order] = {}
    zones: dict[str, int] = {}
    for _, command in definitions.commands:
        if isinstance(command, DefineOrder):
            orders[command.order.id] = command.order
        elif isinstance(command, DefineZone):
            zones[command.zone.id] = command.zone.version
    found: list[Substitute] = []
    for entry in document.zones:
        version = max(entry.version, zones.get(entry.id, 0) + 1)
        found.append(_zone(path, msgspec.structs.replace(entry, version=version)))
    found += [DefineOrder(order=_order(path, said, orders)) for said in document.orders]
    if not found:
        raise ProofError(f"{path}: neither orders nor zones to try")
    return found


def _zone(path: Path, entry: ZoneEntry) -> DefineZone:
    said = {name: getattr(entry, name) for name in entry.__struct_fields__}
    if not bytes(entry.geometry):
        del said["geometry"]
    document = msgspec.json.encode({"format": "afstand.cases/1", "zones": [said]})
    try:
        (zone,) = check_cases(document, str(path), path.parent).zones
    except CasesError as error:
        raise ProofError(str(error)) from None
    return zone


def _order(path: Path, said: dict[str, Any], known: dict[str, Order]) -> Order:
    before = known.get(str(said.get("id", "")))
    whole = {} if before is None else msgspec.to_builtins(before)
    version = before.version + 1 if before is not None else said.get("version", 1)
    try:
        return msgspec.convert({**whole, **said, "version": version}, Order)
    except msgspec.ValidationError as error:
        raise ProofError(f"{path}: order {said.get('id')!r}: {error}") from None


class Tried:
    """A second watch that goes through the same entries with other orders."""

    def __init__(
        self,
        watch: Watch,
        partition: str,
        after: EntryId,
        definitions: Definitions,
        others: Sequence[Substitute],
    ) -> None:
        self._watch = Watch.load(partition, watch.dump())
        self._scope = Scope(definitions.scope.case)
        self._scope.devices = dict(definitions.scope.devices)
        self._others = {_name(one): one for one in others}
        self._alarms: list[Happened] = []
        self._rejected: dict[str, None] = {}
        for one in self._others.values():
            self._take(Entry(after, EntryKind.COMMAND, encode_command(one)))

    def take(self, entry: Entry) -> None:
        """Fold one entry of the journal, with the other definition where it defines one of them."""
        if entry.kind is EntryKind.COMMAND:
            try:
                other = self._others.get(_name(decode_command(entry.blob)))
            except CommandError:
                other = None
            if other is not None:
                entry = entry._replace(blob=encode_command(other))
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        outputs = self._watch.step(entry).outputs
        self._alarms += happened([one for one in outputs if self._scope.owns(one)])
        for output in outputs:
            if isinstance(output, Rejected) and f"{output.what} {output.ref}" in self._others:
                self._rejected[f"{output.what} {output.ref}: {output.detail}"] = None

    def result(self) -> WhatIf:
        """What came of it."""
        return WhatIf(
            replaced=tuple(self._others),
            rejected=tuple(self._rejected),
            alarms=tuple(self._alarms),
        )


def _name(command: object) -> str:
    match command:
        case DefineOrder():
            return f"order {command.order.id}"
        case DefineZone():
            return f"zone {command.zone.id}"
        case _:
            return ""
