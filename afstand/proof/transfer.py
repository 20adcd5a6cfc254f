"""A whole case from one agency to another, and proof that nothing was lost on the way.

The records are those of the Offender Tracking Record Transfer Service (OTRTS 1.0): subjects,
devices, conditions, zones, locations, alerts, violations. They are written as JSON, each reading
beside the bytes that it is a reading of, and the document has a hash over all of it. An import
writes an archive partition of its own, chained like any other, exports it again and compares: only
a document that comes back byte for byte is taken (domain F07: history lost at a change of vendor).
"""

import shutil
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from afstand.commands import (
    CommandError,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    decode_command,
    encode_command,
)
from afstand.erasure.subjects import Subjects
from afstand.limits import TRANSFER_BYTES_MAX
from afstand.proof.frames import frame_line
from afstand.proof.past import Columns, Definitions, ProofError, read_definitions
from afstand.watch.envelope import EnvelopeError, decode_envelope, encode_envelope
from alerting.book.types import AlarmRecord, BreachRecord, DefineCase
from ingest.archive.chain import StreamName, genesis, link
from ingest.archive.files import read_file, write_file
from ingest.archive.folder import ArchiveFolder
from ingest.archive.keys import Keys
from ingest.archive.names import ArchiveError, day_of
from ingest.archive.parts import HEADER_PARTS, frame_of, handle_of, split
from ingest.archive.sealing import seal
from ingest.columns import OUTPUTS, EntryColumns, Item
from ingest.devices import check_partition
from ingest.entries import EntryError, EntryKind, FrameBatch
from ingest.store import BEGINNING, EntryId

TRANSFER_FORMAT: Final = "afstand.transfer/1"
_DEFINES: Final = (DefinePerson, DefineDevice, DefineZone, DefineOrder, DefineCase)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a stream, with what of it belongs to the case, in hexadecimal."""

    id: str
    kind: str
    raw: str


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document. `journal` and `outbox` are what counts, all else are readings of them."""

    format: Literal["afstand.transfer/1"] = TRANSFER_FORMAT
    specification: str = "OTRTS 1.0, records as JSON"
    case: dict[str, Any]
    subjects: list[dict[str, Any]]
    devices: list[dict[str, Any]]
    conditions: list[dict[str, Any]]
    zones: list[dict[str, Any]]
    locations: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    violations: list[dict[str, Any]]
    journal: list[Entry]
    outbox: list[Entry]
    sha256: str = ""


class ArchivedPast:
    """The streams of a partition that is in an archive alone."""

    def __init__(self, root: Path, partition: str) -> None:
        self._root = root
        self._partition = partition

    async def columns(
        self, stream: StreamName, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[EntryColumns]:
        """Return the entries of a stream as columns."""
        for file in ArchiveFolder(self._root, self._partition, stream).files(after):
            for rows in read_file(file):
                part = rows.columns.after(after).until(until)
                if len(part):
                    yield part


# --- export ---------------------------------------------------------------------------------------


async def export_case(past: Columns, case_id: str) -> bytes:
    """Return the document of a case. Raises ProofError and what `past` raises."""
    definitions = await read_definitions(past, case_id)
    if definitions is None:
        raise ProofError(f"no case {case_id!r}")
    outbox, readings = await _outbox(past, definitions)
    journal, locations = await _journal(past, definitions)
    document = Document(
        **_readings(definitions),
        locations=locations,
        alerts=[one for one in readings if one["type"] == "alarm-record"],
        violations=[one for one in readings if one["type"] == "breach-record"],
        journal=journal,
        outbox=outbox,
    )
    return encode(document)


def encode(document: Document) -> bytes:
    """Return the bytes of a document: always the same, the hash over all the rest in it."""
    plain = msgspec.json.encode(msgspec.structs.replace(document, sha256=""), order="deterministic")
    whole = msgspec.structs.replace(document, sha256=sha256(plain).hexdigest())
    return msgspec.json.format(msgspec.json.encode(whole, order="deterministic"), indent=1)


async def _outbox(
    past: Columns, definitions: Definitions
) -> tuple[list[Entry], list[dict[str, Any]]]:
    entries: list[Entry] = []
    readings: list[dict[str, Any]] = []
    async for part in past.columns(StreamName.OUTBOX):
        for index in range(len(part)):
            try:
                envelope = decode_envelope(part.blob(index))
            except EnvelopeError as error:
                raise ProofError(f"outbox entry {part.id(index)}: {error}") from None
            own = [output for output in envelope.outputs if definitions.scope.owns(output)]
            if own:
                blob = encode_envelope(envelope.received_ms, own)
                entries.append(Entry(str(part.id(index)), OUTPUTS, blob.hex()))
                readings += [
                    msgspec.to_builtins(one)
                    for one in own
                    if isinstance(one, AlarmRecord | BreachRecord)
                ]
    return entries, readings


async def _journal(
    past: Columns, definitions: Definitions
) -> tuple[list[Entry], list[dict[str, Any]]]:
    defined = {one.at: encode_command(one.command) for one in definitions.commands}
    entries: list[Entry] = []
    locations: list[dict[str, Any]] = []
    async for part in past.columns(StreamName.JOURNAL):
        for index in range(len(part)):
            item = part.item(index)
            blob: bytes | None = None
            if item.kind == EntryKind.COMMAND:
                blob = defined.get(item.id) or _said(definitions, item.blob)
            elif item.kind == EntryKind.FRAMES:
                blob = _frames(definitions, item, locations)
            if blob is not None:
                entries.append(Entry(str(item.id), item.kind, blob.hex()))
    return entries, locations


def _said(definitions: Definitions, blob: bytes) -> bytes | None:
    """A command about the case that defines nothing: what people did."""
    try:
        command = decode_command(blob)
    except CommandError:
        return None
    own = not isinstance(command, _DEFINES) and definitions.scope.owns_command(command)
    return encode_command(command) if own else None


def _frames(definitions: Definitions, item: Item, locations: list[dict[str, Any]]) -> bytes | None:
    """The frames of the case in an entry, as an entry of their own."""
    try:
        batch = FrameBatch.read(item.blob)
    except EntryError:
        return None
    own = [one for one in batch.records() if one.handle in definitions.handles]
    if not own:
        return None
    blob = FrameBatch.build(own, behind=batch.behind)
    for part in split(item.kind, blob)[HEADER_PARTS["frames"] :]:
        device = definitions.handles[handle_of(part)]
        line = frame_line(device, part, frame_of(part)).said
        locations.append({"entry": str(item.id), **{k: line[k] for k in _LOCATION}})
    return blob


_LOCATION: Final = ("device", "person", "lane", "flags", "received_ms", "fixes", "events", "tag")


def _readings(definitions: Definitions) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"subjects": [], "devices": [], "conditions": [], "zones": []}
    for at, command in definitions.commands:
        match command:
            case DefinePerson():
                place, said = "subjects", msgspec.to_builtins(command)
            case DefineDevice():
                place, said = "devices", msgspec.to_builtins(command)
            case DefineOrder():
                place, said = "conditions", msgspec.to_builtins(command.order)
            case DefineZone():
                place, said = "zones", msgspec.to_builtins(command.zone)
                source = None if command.compiled is None else command.compiled.source
                said["geometry"] = msgspec.json.decode(source) if source else said["geometry"]
            case _:
                continue
        found[place].append({"entry": str(at), **said})
    return {"case": msgspec.to_builtins(definitions.scope.case), **found}


# --- import ---------------------------------------------------------------------------------------


def read_document(raw: bytes) -> Document:
    """Read a document and check its hash. Raises ProofError."""
    if len(raw) > TRANSFER_BYTES_MAX:
        raise ProofError(f"a document of more than {TRANSFER_BYTES_MAX} bytes")
    try:
        document = msgspec.json.decode(raw, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProofError(f"no document of a transfer: {error}") from None
    if encode(document) != raw:
        raise ProofError("the document is not what was exported: its hash or its form differs")
    return document


async def import_case(raw: bytes, root: Path, partition: str) -> str:
    """Write a document into a new partition of an archive; return the id of its case.

    The partition is exported again and compared with the document, and removed again when it
    differs. Raises ProofError, OSError.
    """
    document = read_document(raw)
    base = root / f"partition={check_partition(partition)}"
    if base.exists():
        raise ProofError(f"the archive has a partition {partition} already")
    try:
        await _take(document, raw, root, partition)
    except (ArchiveError, ValueError, OSError) as error:
        shutil.rmtree(base, ignore_errors=True)
        Keys(root, partition).remove()
        if isinstance(error, ProofError | OSError):
            raise
        raise ProofError(str(error)) from None
    return str(document.case.get("case_id", ""))


async def _take(document: Document, raw: bytes, root: Path, partition: str) -> None:
    subjects = Subjects()
    _write(root, partition, StreamName.JOURNAL, document.journal, subjects)
    _write(root, partition, StreamName.OUTBOX, document.outbox, subjects)
    case_id = str(document.case.get("case_id", ""))
    if await export_case(ArchivedPast(root, partition), case_id) != raw:
        raise ProofError("the document does not come back as it is: nothing was taken")


def _write(
    root: Path, partition: str, stream: StreamName, entries: Sequence[Entry], subjects: Subjects
) -> None:
    items = [Item(EntryId.parse(one.id), one.kind, bytes.fromhex(one.raw)) for one in entries]
    if [item.id for item in items] != sorted({item.id for item in items}):
        raise ProofError(f"the {stream} of the document is not in order")
    kinds = {OUTPUTS} if stream is StreamName.OUTBOX else {"command", "frames"}
    if not {item.kind for item in items} <= kinds:
        raise ProofError(f"the {stream} of the document has entries of another kind")
    folder = ArchiveFolder(root, partition, stream)
    previous = genesis(partition, stream)
    days: dict[str, list[Item]] = {}
    for item in items:
        days.setdefault(day_of(item.id), []).append(item)
    for day in days.values():
        links = link(previous, day)
        place = folder.folder_of(day[0].id), partition, stream
        keys = Keys(root, partition)
        with keys.locked():
            sealed = seal(day, [one.salt for one in links], subjects, keys)
            write_file(*place, previous, day, links, sealed)
        previous = links[-1].hash
