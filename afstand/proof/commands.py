"""Command lines of the evidence: `replay`, `bundle`, `evidence-key`."""

import argparse
import asyncio
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from afstand.config import Config
from afstand.consultations import (
    ConsultationError,
    consultations,
    log_consultation,
    processings,
)
from afstand.proof.bundle import View, Wanted, make_bundle
from afstand.proof.past import Definitions, ProofError, read_definitions, start_before
from afstand.proof.replay import Replay, replay
from afstand.proof.signing import make_key, read_key
from afstand.proof.transfer import export_case, import_case
from afstand.proof.tried import Happened, read_substitutes
from afstand.roles import open_store
from alerting.book.roles import COURT, RIGHTS, WEARER_SIDE, Role
from console.ports import Consultation
from geofence.schedule import time_zone
from ingest.archive.history import History
from ingest.archive.names import ArchiveError, GapError
from ingest.journal import Journal
from ingest.store import BEGINNING, EntryId, Store, StoreUnavailableError

_REFUSED = (ProofError, ConsultationError, ArchiveError, GapError, StoreUnavailableError)
VIEWS = {
    "court": View("court", COURT),
    "wearer-side": View("wearer-side", WEARER_SIDE, wearer_side=True),
    **{role.value: View(role.value, RIGHTS[role]) for role in Role},
}


class Found(msgspec.Struct, frozen=True):
    """A case and where it is."""

    partition: str
    history: History
    definitions: Definitions


async def find_case(
    config: Config,
    store: Store,
    case_id: str,
    until: EntryId | None = None,
    partition: str | None = None,
) -> Found:
    """Return the partition that a case is in at an instant, or the one that is asked for.

    A case that moved was in several: the one it came to last, and a word about the others on
    stderr, each of which has its own part of the past. Raises ProofError.
    """
    found: list[Found] = []
    for name in config.partitions if partition is None else (partition,):
        history = History(store, Path(config.archive.dir), name)
        definitions = await read_definitions(history, case_id, until)
        if definitions is not None:
            found.append(Found(name, history, definitions))
    if not found:
        raise ProofError(f"no partition knows a case {case_id!r} at that time")
    found.sort(key=lambda one: one.definitions.came)
    for before in found[:-1]:
        print(
            f"case {case_id} came to {found[-1].partition} by entry {found[-1].definitions.came}; "
            f"what was before is in {before.partition}: --partition {before.partition}",
            file=sys.stderr,
        )
    return found[-1]


async def replay_case(config: Config, options: argparse.Namespace) -> int:
    """Compute a period of a case again; 0 only when it is bit for bit what it was."""
    try:
        async with open_store(config) as store:
            found = await find_case(config, store, options.case, options.until, options.partition)
            result = await _replayed(config, found, options)
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        _print_replay(result)
    return 0 if result.same else 1


async def _replayed(config: Config, found: Found, options: argparse.Namespace) -> Replay:
    since = options.since or BEGINNING
    start = start_before(
        Path(config.watch.data_dir),
        found.partition,
        since,
        from_beginning=options.from_beginning,
    )
    what_if = getattr(options, "what_if", None)
    other = None if what_if is None else read_substitutes(what_if, found.definitions)
    return await replay(
        found.history, start, found.definitions, found.partition, since, options.until, other
    )


def _print_replay(result: Replay) -> None:
    print(
        f"case {result.case_id}, partition {result.partition}: {result.folded} journal entries "
        f"folded again from {result.origin}"
    )
    print(
        f"{result.compared} entries with outputs compared, {result.of_case} of the case with "
        f"{result.records} records, {len(result.alarms)} changes of alarms"
    )
    for one in result.differences:
        print(f"  {one.entry}: {one.what}", file=sys.stderr)
    if result.what_if is None:
        for alarm in result.alarms:
            print(_alarm_line(alarm))
    else:
        tried = result.what_if
        for said in tried.rejected:
            print(f"not taken: {said}", file=sys.stderr)
        print(f"as it was ({len(result.alarms)}):")
        print("\n".join(map(_alarm_line, result.alarms)) or "  nothing")
        print(f"with other {', '.join(tried.replaced)} ({len(tried.alarms)}):")
        print("\n".join(map(_alarm_line, tried.alarms)) or "  nothing")
    print(
        "reproduced bit for bit"
        if result.same
        else f"NOT reproduced: {result.differing} entries differ"
    )


def _alarm_line(alarm: Happened) -> str:
    at = datetime.fromtimestamp(alarm.at_ms / 1000, UTC)
    return (
        f"  {at:%Y-%m-%d %H:%M:%S}Z  {alarm.alarm_class:14} {alarm.change:13} {alarm.reason}"
        f"  {alarm.order_id or alarm.person_id or ''}"
    )


async def bundle_case(config: Config, options: argparse.Namespace) -> int:
    """Write a signed bundle of a case into a new folder."""
    out: Path = options.out
    if await asyncio.to_thread(out.exists):
        print(f"{out} is there already", file=sys.stderr)
        return 1
    try:
        key = read_key(config.secret("evidence.signing_key", config.evidence.signing_key))
        async with open_store(config) as store:
            found = await find_case(config, store, options.case, options.until, options.partition)
            made_ms = time.time_ns() // 1_000_000
            # Without a period: from what first defined the case to the newest entry.
            options.since = options.since or found.definitions.commands[0].at
            options.until = options.until or await Journal(store).last_id(found.partition)
            wanted = Wanted(
                partition=found.partition,
                since=options.since,
                until=options.until,
                view=VIEWS[options.view],
                by=options.by,
                reason=options.reason,
                made_ms=made_ms,
                language=options.language or config.notify.language,
                zone=time_zone("Europe/Amsterdam"),
            )
            # Whoever is refused the log is refused the data.
            await log_consultation(
                store,
                config.pseudonym_key(),
                Consultation(
                    at_ms=made_ms,
                    by=options.by,
                    role=options.view,
                    what="bundle",
                    persons=found.definitions.scope.persons,
                    reason=options.reason,
                ),
            )
            result = await _replayed(config, found, options)
            archive = Path(config.archive.dir)
            manifest = await make_bundle(
                store, archive, out, found.definitions, result, key, wanted
            )
    except (*_REFUSED, OSError) as error:
        shutil.rmtree(out, ignore_errors=True)
        print(error, file=sys.stderr)
        return 1
    print(f"{out}: {len(manifest.files)} files, signed with key {manifest.public_key}")
    if not result.same:
        print(f"NOT reproduced: {result.differing} entries differ", file=sys.stderr)
    return 0 if result.same else 1


async def export_case_file(config: Config, options: argparse.Namespace) -> int:
    """Write the document of a case into a new file."""
    try:
        async with open_store(config) as store:
            found = await find_case(config, store, options.case)
            said = Consultation(
                at_ms=time.time_ns() // 1_000_000,
                by=options.by,
                role="court",
                what="transfer",
                persons=found.definitions.scope.persons,
                reason=options.reason,
            )
            await log_consultation(store, config.pseudonym_key(), said)
            raw = await export_case(found.history, options.case)
        with options.out.open("xb") as file:
            file.write(raw)
    except (*_REFUSED, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out}: {len(raw)} bytes")
    return 0


async def import_case_file(config: Config, options: argparse.Namespace) -> int:
    """Take a document into a partition of the archive, if it comes back byte for byte."""
    try:
        raw = await asyncio.to_thread(options.file.read_bytes)
        root = Path(config.archive.dir)
        case_id = await import_case(raw, root, options.partition)
    except (ProofError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"case {case_id}: taken, and came back byte for byte")
    return 0


def write_key(path: Path) -> int:
    """Make a signing key; print the public one."""
    try:
        print(make_key(path))
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def list_consultations(config: Config, options: argparse.Namespace) -> int:
    """Print who looked at whose data; or the lines of the Logboek about one person, as JSON."""
    if options.logboek and not options.person:
        print("--logboek needs --person", file=sys.stderr)
        return 2
    async with open_store(config) as store:
        if options.logboek:
            key = config.pseudonym_key()
            async for line in processings(store, key, options.person):
                print(msgspec.json.encode(line).decode())
            return 0
        async for said in consultations(store, person=options.person, by=options.by):
            at = datetime.fromtimestamp(said.at_ms / 1000, UTC)
            why = said.incident_id or said.reason
            print(
                f"{at:%Y-%m-%d %H:%M:%S}Z  {said.by} ({said.role})  {said.what}  "
                f"{', '.join(said.persons)}  {why}"
            )
    return 0
