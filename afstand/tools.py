"""What the command line does besides the roles: imports, and what operators do about incidents."""

import argparse
import sys
from datetime import UTC, datetime

import msgspec

from afstand.cases import Cases, CasesError, CasesProblem, import_cases
from afstand.commands import JournalCommand, encode_command
from afstand.config import Config
from afstand.explain.account import account_of
from afstand.explain.reading import ExplainError, gather, read_name
from afstand.explain.telling import tell
from afstand.limits import COMMAND_ANSWER_S_MAX, WATCH_READ_ENTRIES_MAX
from afstand.roles import open_store
from afstand.watch.envelope import EnvelopeError, decode_envelope
from alerting.book.types import (
    Acknowledge,
    Dispose,
    Disposition,
    IncidentRecord,
    IncidentState,
    Output,
    Rejected,
)
from geofence.schedule import time_zone
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.registry import KeyBox, Registry, RegistryError
from ingest.store import BEGINNING, EntryId, Store


async def import_orders(config: Config, cases: Cases) -> int:
    """Put a checked cases document into registry and journal."""
    async with open_store(config) as store:
        registry = Registry(store, KeyBox(config.master_key()))
        await registry.load_all()
        try:
            done = await import_cases(cases, registry, Journal(store), config.partitions)
        except RegistryError as error:
            raise CasesError([CasesProblem("registry", "devices", str(error))]) from None
    print(
        f"imported {done.persons} persons, {done.devices} devices, {done.zones} zones, "
        f"{done.orders} orders, {done.plans} plans, {done.cases} cases "
        f"into partitions {', '.join(done.partitions) or 'none'}"
    )
    return 0


async def open_incidents(store: Store, partition: str) -> dict[str, IncidentRecord]:
    """The newest record of every open incident, as the outbox tells it."""
    outbox = Outbox(store)
    found: dict[str, IncidentRecord] = {}
    after = BEGINNING
    while entries := await outbox.read(partition, after, WATCH_READ_ENTRIES_MAX):
        after = entries[-1].id
        for entry in entries:
            for output in decode_envelope(entry.blob).outputs:
                if not isinstance(output, IncidentRecord):
                    continue
                if output.state is IncidentState.OPEN:
                    found[output.incident_id] = output
                else:
                    found.pop(output.incident_id, None)
    return found


async def list_incidents(config: Config) -> int:
    """Print the open incidents of all partitions, most urgent first."""
    async with open_store(config) as store:
        for partition in config.partitions:
            for incident in (await open_incidents(store, partition)).values():
                opened = datetime.fromtimestamp(incident.opened_at_ms / 1000, UTC)
                classes = ", ".join(incident.alarm_classes)
                print(
                    f"{incident.incident_id}  {incident.priority:8}  {opened:%Y-%m-%d %H:%M:%S}Z"
                    f"  {incident.subject}  {classes}"
                )
    return 0


async def explain(config: Config, options: argparse.Namespace) -> int:
    """Print why an alarm was given, from the records of the outbox."""
    try:
        zone = time_zone(options.timezone)
    except (ValueError, OSError):
        print(f"--timezone {options.timezone!r} is not in the time zone data", file=sys.stderr)
        return 2
    language = options.language or config.notify.language
    try:
        name = read_name(options.id, config.partitions)
        async with open_store(config) as store:
            gathered = await gather(Outbox(store), name)
    except (ExplainError, EnvelopeError) as error:
        print(error, file=sys.stderr)
        return 1
    account = account_of(gathered, language, positions=options.positions)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(account)).decode())
    else:
        print("\n".join(tell(account, language, zone)))
    return 0


async def incident_command(config: Config, options: argparse.Namespace) -> int:
    """Journal an operator's command, and say what the watch made of it."""
    command: JournalCommand
    if options.what == "acknowledge":
        command = Acknowledge(incident_id=options.incident, by=options.by)
    else:
        try:
            disposition = Disposition(options.disposition)
        except ValueError:
            print(f"--disposition must be one of {', '.join(Disposition)}", file=sys.stderr)
            return 2
        command = Dispose(
            incident_id=options.incident,
            by=options.by,
            disposition=disposition,
            note=options.note,
            despite_active=options.despite_active,
        )
    async with open_store(config) as store:
        for partition in config.partitions:
            if options.incident in await open_incidents(store, partition):
                outputs = await command_and_answer(store, partition, command)
                return _print_answer(outputs)
    print(f"no open incident {options.incident}", file=sys.stderr)
    return 1


async def command_and_answer(
    store: Store, partition: str, command: JournalCommand
) -> list[Output] | None:
    """Journal a command and wait for what the watch makes of it; None when no watch answers."""
    outbox = Outbox(store)
    entry_id = await Journal(store).append(partition, EntryKind.COMMAND, encode_command(command))
    before = EntryId(entry_id.ms - 1, 2**63)
    turns = int(COMMAND_ANSWER_S_MAX / 0.25)
    for _ in range(turns):
        for entry in await outbox.read(partition, before, WATCH_READ_ENTRIES_MAX, 250):
            if entry.id == entry_id:
                return decode_envelope(entry.blob).outputs
            before = entry.id
    return None


def _print_answer(outputs: list[Output] | None) -> int:
    if outputs is None:
        print("no watch answered: the command is in the journal", file=sys.stderr)
        return 1
    for output in outputs:
        if isinstance(output, Rejected):
            print(f"refused: {output.reason}: {output.detail}", file=sys.stderr)
            return 1
    print("done")
    return 0
