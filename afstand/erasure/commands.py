"""Command lines of the retention: `afstand erasure due | run | hold | lift | proof`."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from afstand.commands import HoldCase, LiftHold, encode_command
from afstand.config import Config
from afstand.erasure.erase import Due, Eraser, Order
from afstand.erasure.retention import RetentionError, read_retention
from afstand.proof.past import ProofError
from afstand.proof.signing import read_key
from afstand.roles import open_store
from ingest.archive.keys import KeysError
from ingest.archive.names import ArchiveError, GapError
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.store import Store, StoreUnavailableError

_REFUSED = (
    *(ProofError, RetentionError, KeysError, ArchiveError, GapError, StoreUnavailableError),
    OSError,
)


async def run_erasure(config: Config, options: argparse.Namespace) -> int:
    """Show what is due, and with `--apply` erase it. 1 when something could not be."""
    early = None if options.case is None else (options.case, options.category)
    apply = options.apply
    if apply and not (options.by and options.authority and options.reason):
        print("--apply asks for --by, --authority and --reason", file=sys.stderr)
        return 1
    order = Order(options.by, options.authority, options.reason)
    try:
        secret = config.secret("evidence.signing_key", config.evidence.signing_key) if apply else ""
        async with open_store(config) as store:
            return max([0] + [
                await _partition(eraser, early, order if apply else None, secret)
                for eraser in _erasers(config, store)
            ])  # fmt: skip
    except _REFUSED as error:
        print(error, file=sys.stderr)
        return 1


def _erasers(config: Config, store: Store) -> list[Eraser]:
    path = config.archive.retention
    retention = read_retention(Path(path) if path else None)
    root = Path(config.archive.dir)
    names = config.partitions
    return [Eraser(store, root, partition, retention, names) for partition in names]


async def _partition(
    eraser: Eraser, early: tuple[str, str] | None, order: Order | None, secret: str
) -> int:
    now_ms = time.time_ns() // 1_000_000
    room = await eraser.room()
    for proof in eraser.unfinished(room) if order else ():
        await eraser.finish(proof)
        print(f"finished: case {proof.case_id}, {proof.category}")
    room = await eraser.room()
    refused = 0
    for proof, why in await eraser.refused(room):
        said = f"case {proof.case_id}, {proof.category}: the watches have not forgotten it: {why}"
        case = room.cases[proof.case_id]
        if order is None or case.holds or await eraser.still_open(case, set(proof.persons)):
            print(said, file=sys.stderr)
            refused = 1
            continue
        await eraser.finish(proof)
        print(f"{said}; they were told again")
    for due in eraser.due(room, now_ms, early):
        if order is None:
            print(f"{_line(due)}{': ' + due.against if due.against else ''}")
            continue
        try:
            proof = await eraser.erase(room, due, order, read_key(secret), now_ms)
        except ValueError as error:
            print(f"{_line(due)}: not erased: {error}", file=sys.stderr)
            refused = 1
        else:
            print(f"{_line(due)}: erased, proof {proof.digest}")
            room = await eraser.room()
    if order is not None:
        for stream, count in (await eraser.trim(now_ms)).items():
            print(f"{stream}: {count} entries beyond their term")
        print(await eraser.rewrite())
    else:
        print("nothing was changed; --apply erases")
    return refused


def _line(due: Due) -> str:
    since = "by order" if due.since_ms is None else f"due since {_day(due.since_ms)}"
    return f"case {due.case.case_id}, {due.category}, {len(due.keys)} keys, {since}"


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


async def set_hold(config: Config, options: argparse.Namespace) -> int:
    """Put the hold of a case, or its end, into the journal."""
    try:
        async with open_store(config) as store:
            for eraser in _erasers(config, store):
                case = (await eraser.room()).cases.get(options.case)
                if case is None:
                    continue
                if options.lift and not case.holds:
                    print(f"case {options.case} has no legal hold", file=sys.stderr)
                    return 1
                if case.erased:
                    gone = ", ".join(sorted(case.erased))
                    print(f"of case {options.case} is gone: {gone}", file=sys.stderr)
                made = LiftHold if options.lift else HoldCase
                said = made(
                    case_id=options.case,
                    by=options.by,
                    authority=options.authority,
                    reason=options.reason,
                )
                blob = encode_command(said)
                entry = await Journal(store).append(eraser.partition, EntryKind.COMMAND, blob)
                print(f"{'lifted' if options.lift else 'held'}, journal entry {entry}")
                return 0
    except _REFUSED as error:
        print(error, file=sys.stderr)
        return 1
    print(f"no partition knows a case {options.case!r}", file=sys.stderr)
    return 1


async def show_proofs(config: Config, options: argparse.Namespace) -> int:
    """Print the proofs, of one case where named, and check them. 1 when one is not good."""
    code = 0
    try:
        async with open_store(config) as store:
            for eraser in _erasers(config, store):
                for proof in eraser.proofs.all():
                    if options.case in (None, proof.case_id):
                        print(msgspec.json.format(msgspec.json.encode(proof)).decode())
                for said in eraser.proofs.check(eraser.keys.all(), options.public_key):
                    print(said, file=sys.stderr)
                    code = 1
    except (*_REFUSED, msgspec.MsgspecError) as error:
        print(error, file=sys.stderr)
        return 1
    return code
