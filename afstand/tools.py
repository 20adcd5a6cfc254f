"""What the command line does besides the roles: imports, and what operators do about incidents."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import msgspec

from afstand.cases import Cases, CasesError, CasesProblem, import_cases
from afstand.commands import JournalCommand, encode_command
from afstand.config import Config, ConfigError
from afstand.conform import Broker, ConformError
from afstand.consultations import ConsultationError, log_consultation
from afstand.explain.account import account_of
from afstand.explain.reading import ExplainError, Gathered, gather, read_name
from afstand.explain.telling import tell
from afstand.limits import COMMAND_ANSWER_S_MAX, WATCH_READ_ENTRIES_MAX
from afstand.roles import open_store
from afstand.watch.envelope import EnvelopeError, decode_envelope
from alerting.book.closing import PROPOSAL_MS
from alerting.book.types import (
    Acknowledge,
    Countersign,
    Dispose,
    Disposition,
    IncidentChange,
    IncidentRecord,
    IncidentState,
    Output,
    Rejected,
)
from console.ports import Consultation
from geofence.schedule import time_zone
from ingest.archive.history import History
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.registry import KeyBox, Registry, RegistryError
from ingest.store import EntryId, Store, StoreUnavailableError


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


async def device_access(config: Config, device_id: str) -> tuple[Broker, bytes]:
    """The broker of a configuration and the key of a device in its registry."""
    broker = config.broker
    tls = aiomqtt.TLSParameters(
        ca_certs=broker.ca_file or None,
        certfile=broker.cert_file or None,
        keyfile=broker.key_file or None,
    )
    async with open_store(config) as store:
        registry = Registry(store, KeyBox(config.master_key()))
        await registry.load_all()
        record = registry.find(device_id)
    if record is None or not record.key:
        raise ConformError(f"the registry has no device {device_id!r} with a key")
    return Broker(
        broker.host,
        broker.port,
        broker.version,
        broker.username or None,
        config.optional_secret("broker.password", broker.password) or None,
        tls if broker.tls else None,
    ), record.key


async def open_incidents(config: Config, store: Store, partition: str) -> dict[str, IncidentRecord]:
    """The newest record of every open incident, as the outbox tells it, archived or not."""
    found: dict[str, IncidentRecord] = {}
    async for entries in History(store, Path(config.archive.dir), partition).outbox():
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
            for incident in (await open_incidents(config, store, partition)).values():
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
            past = History(store, Path(config.archive.dir), name.partition)
            gathered = await gather(past, name)
            if options.positions:
                await _log_look(config, store, options, gathered)
    except (
        *(ExplainError, EnvelopeError),
        *(ConsultationError, ConfigError, StoreUnavailableError),
    ) as error:
        print(error, file=sys.stderr)
        return 1
    account = account_of(gathered, language, positions=options.positions)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(account)).decode())
    else:
        print("\n".join(tell(account, language, zone)))
    return 0


async def _log_look(
    config: Config, store: Store, options: argparse.Namespace, gathered: Gathered
) -> None:
    """Who is refused the log is refused the positions. Raises ConsultationError.

    What is about nobody has no position to show, and nobody to log a look at.
    """
    pairs = [(one.wearer_id, one.protected_id) for one in gathered.incidents]
    pairs += [(one.verdict.wearer_id, one.verdict.protected_id) for one in gathered.verdicts]
    persons = {person for pair in pairs for person in pair if person}
    if not persons:
        return
    said = Consultation(
        at_ms=time.time_ns() // 1_000_000,
        by=options.by,
        role="explain",
        what="positions",
        persons=tuple(sorted(persons)),
        reason=options.reason,
    )
    await log_consultation(store, config.pseudonym_key(), said)


async def incident_command(config: Config, options: argparse.Namespace) -> int:
    """Journal an operator's command, and say what the watch made of it."""
    command: JournalCommand
    if options.what == "acknowledge":
        command = Acknowledge(incident_id=options.incident, by=options.by)
    elif options.what == "countersign":
        command = Countersign(incident_id=options.incident, by=options.by)
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
            if options.incident in await open_incidents(config, store, partition):
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
        if isinstance(output, IncidentRecord) and output.change is IncidentChange.CLOSING_PROPOSED:
            minutes = PROPOSAL_MS // 60_000
            print(f"proposed; a second person must countersign within {minutes} minutes")
            return 0
    print("done")
    return 0
