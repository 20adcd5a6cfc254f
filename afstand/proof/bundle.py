"""`afstand bundle`: everything about a case in a period, in a folder that anybody can check.

Frames as the devices sent them, with their tags; what was decided and who was told; the orders and
zones; both hash chains from the first entry of the period to the last, in which only what belongs
to the case, and what the reader may see, is shown; a map, a timeline, a report for people. The
manifest names every file by its hash and is signed. `verify_bundle.py` checks all of it without
this program.
"""

import asyncio
import shutil
import sys
from collections.abc import Collection, Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from afstand import __version__
from afstand.commands import DefineZone, decode_command
from afstand.explain.sentences import Language
from afstand.proof.chained import Chained, chained, shown
from afstand.proof.frames import Track, frame_line
from afstand.proof.past import Definitions, ProofError
from afstand.proof.replay import Replay
from afstand.proof.report import Report, write_report
from afstand.proof.scope import Scope
from afstand.proof.signing import public_hex
from afstand.proof.timeline import Line, lines_of
from afstand.watch.envelope import EnvelopeError, decode_envelope
from alerting.book.classes_data import BOOK_VERSION
from alerting.book.roles import Right
from alerting.book.titles import TITLES_VERSION
from alerting.book.types import AlarmRecord, Output
from alerting.book.views import seen
from geofence.kernels.build import KERNEL_VERSION
from geofence.parameters import RULES_VERSION
from ingest.archive.chain import CHAIN_VERSION, StreamName
from ingest.archive.parts import HEADER_PARTS, frame_of, handle_of, split
from ingest.store import EntryId, Store

BUNDLE_FORMAT: Final = "afstand.bundle/1"
SHOWS: Final = {
    StreamName.OUTBOX: ("records.jsonl",),
    StreamName.JOURNAL: ("frames.jsonl", "commands.jsonl"),
}
"""The files that show parts of a stream."""


class View(NamedTuple):
    """Whom a bundle is for: their rights, and whether they are the wearer's side."""

    name: str
    rights: Collection[Right]
    wearer_side: bool = False


class Wanted(NamedTuple):
    """What is asked for, by whom and why."""

    partition: str
    since: EntryId
    until: EntryId
    view: View
    by: str
    reason: str
    made_ms: int
    language: Language
    zone: ZoneInfo


class _Chain(msgspec.Struct, frozen=True):
    previous: str
    head: str
    first: str
    last: str
    entries: int
    proof: str
    shows: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed. Hashes are SHA-256 in hexadecimal; the salted ones are of the chain."""

    format: str = BUNDLE_FORMAT
    case_id: str
    partition: str
    since: str
    until: str
    view: str
    made_ms: int
    made_by: str
    reason: str
    versions: dict[str, str]
    replay: dict[str, Any]
    chains: dict[str, _Chain]
    files: dict[str, str]
    public_key: str


async def make_bundle(
    store: Store,
    archive: Path,
    folder: Path,
    definitions: Definitions,
    replay: Replay,
    key: Ed25519PrivateKey,
    wanted: Wanted,
) -> Manifest:
    """Write a bundle into a new folder. Raises ProofError, OSError and what the archive raises."""
    work = _Work(folder, definitions, wanted)
    chains = {}
    for stream in (StreamName.OUTBOX, StreamName.JOURNAL):
        after = wanted.since.before()
        entries = chained(store, archive, wanted.partition, stream, after, wanted.until)
        chains[stream.value] = await work.stream(stream, entries)
    return await asyncio.to_thread(_finish, work, folder, replay, key, chains)


def _finish(
    work: "_Work",
    folder: Path,
    replay: Replay,
    key: Ed25519PrivateKey,
    chains: dict[str, _Chain],
) -> Manifest:
    """Write what people read, then name every file by its hash, and sign."""
    wanted = work.wanted
    work.definitions()
    lines = lines_of(work.records, wanted.language, wanted.zone)
    work.write("timeline.json", msgspec.json.format(msgspec.json.encode(lines)))
    replay = work.seen_of(replay)
    work.write("replay.json", msgspec.json.format(msgspec.json.encode(replay)))
    write_report(folder, work.report(lines, replay))
    shutil.copyfile(_checker(), folder / "verify_bundle.py")
    manifest = Manifest(
        case_id=replay.case_id,
        partition=wanted.partition,
        since=str(wanted.since),
        until=str(wanted.until),
        view=wanted.view.name,
        made_ms=wanted.made_ms,
        made_by=wanted.by,
        reason=wanted.reason,
        versions=_versions(),
        replay={
            "same": replay.same,
            "entries_compared": replay.compared,
            "entries_differing": replay.differing,
            "began_with": replay.origin,
        },
        chains=chains,
        files={
            path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
        public_key=public_hex(key),
    )
    raw = msgspec.json.format(msgspec.json.encode(manifest))
    work.write("manifest.json", raw)
    work.write("manifest.sig", key.sign(raw))
    return manifest


def _checker() -> Path:
    """Where the independent script is: in the source tree, or beside this file when installed."""
    beside = Path(__file__).parent / "verify_bundle.py"
    return beside if beside.exists() else Path(__file__).parents[2] / "deploy/verify_bundle.py"


def _versions() -> dict[str, str]:
    return {
        "afstand": __version__,
        "rules": str(RULES_VERSION),
        "kernels": str(KERNEL_VERSION),
        "alarm_book": BOOK_VERSION,
        "titles": TITLES_VERSION,
        "chain": str(CHAIN_VERSION),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "numba": version("numba"),
        "tzdata": version("tzdata"),
    }


class _Work:
    """A bundle that is being made."""

    def __init__(self, folder: Path, definitions: Definitions, wanted: Wanted) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._known = definitions
        self.wanted = wanted
        self._rights = wanted.view.rights
        self._scope = Scope(definitions.scope.case)
        self._scope.devices = dict(definitions.scope.devices)
        self._scope.orders = dict(definitions.scope.orders)
        self._scope.zones = dict(definitions.scope.zones)
        self._hidden = definitions.scope.protected_ids() if wanted.view.wearer_side else None
        self.records: list[tuple[EntryId, Output]] = []
        self.tracks: dict[str, Track] = {}

    def write(self, name: str, raw: bytes) -> None:
        (self._folder / name).write_bytes(raw)

    # --- the two streams ------------------------------------------------------------------------

    async def stream(self, stream: StreamName, entries: Any) -> _Chain:
        """Write the proof of a stream and what is shown of it."""
        proof = f"chain-{stream}.jsonl"
        shows = SHOWS[stream]
        first: Chained | None = None
        last: Chained | None = None
        count = 0
        with (self._folder / proof).open("wb") as out, _Files(self._folder, shows) as files:
            async for one in entries:
                first = first or one
                last = one
                count += 1
                places = dict(self._places(stream, one))
                line = shown(one, {place for place, (_, told) in places.items() if told})
                out.write(msgspec.json.encode({**line.line, "hash": one.link.hash.hex()}) + b"\n")
                for place, (name, told) in places.items():
                    if told is not None:
                        said = {"entry": str(one.item.id), "place": place, **told}
                        files.write(name, said)
        if first is None or last is None:
            raise ProofError(f"the {stream} has no entry in this period")
        return _Chain(
            previous=first.previous.hex(),
            head=last.link.hash.hex(),
            first=str(first.item.id),
            last=str(last.item.id),
            entries=count,
            proof=proof,
            shows=shows,
        )

    def _places(
        self, stream: StreamName, one: Chained
    ) -> Iterator[tuple[int, tuple[str, dict[str, Any] | None]]]:
        """The parts of an entry that are the case's and may be seen, and what is told of each."""
        item = one.item
        if stream is StreamName.OUTBOX:
            yield from self._outputs(one)
        elif item.kind == "frames":
            parts = split(item.kind, item.blob)
            for place in range(HEADER_PARTS["frames"], len(parts)):
                told = self._frame(parts[place])
                if told is not None:
                    yield place, ("frames.jsonl", told)
        elif item.kind == "command":
            told = self._command(item.blob)
            if told is not None:
                yield 0, ("commands.jsonl", told)

    def _frame(self, part: bytes) -> dict[str, Any] | None:
        device = self._known.handles.get(handle_of(part))
        if device is None:
            return None
        protected = device.person_id in self._known.scope.case.protected_ids
        if (Right.PROTECTED_POSITION if protected else Right.WEARER_POSITION) not in self._rights:
            return None
        line = frame_line(device, part, frame_of(part))
        track = self.tracks.setdefault(
            device.device_id, Track(device.device_id, device.person_id or "", protected=protected)
        )
        track.points += line.points
        return line.said

    def _outputs(self, one: Chained) -> Iterator[tuple[int, tuple[str, dict[str, Any] | None]]]:
        parts = split(one.item.kind, one.item.blob)
        try:
            outputs = decode_envelope(one.item.blob).outputs
        except EnvelopeError as error:
            raise ProofError(f"outbox entry {one.item.id}: {error}") from None
        for place, output in enumerate(outputs, HEADER_PARTS["outputs"]):
            if not self._scope.owns(output):
                continue
            cut = seen(output, self._rights, self._hidden)
            if cut is None:
                continue
            self.records.append((one.item.id, cut))
            # A record that was cut cannot be shown as it was chained: it is in the timeline alone.
            if cut is output:
                yield (
                    place,
                    ("records.jsonl", {"said": _plain(msgspec.msgpack.decode(parts[place]))}),
                )

    def _command(self, blob: bytes) -> dict[str, Any] | None:
        if Right.FREE_TEXT not in self._rights:
            return None  # what people wrote, and who belongs to whom
        command = decode_command(blob)
        if not self._scope.owns_command(command):
            return None
        return {"said": _plain(msgspec.msgpack.decode(blob))}

    # --- what else is in it ---------------------------------------------------------------------

    def definitions(self) -> None:
        """Write orders, zones and case as they were defined, up to the end of the period."""
        found = []
        for at, command in self._known.commands:
            if isinstance(command, DefineZone):
                source = None if command.compiled is None else command.compiled.source
                zone = msgspec.to_builtins(command.zone)
                said = {"type": "zone", **zone, "geometry": _json(source) or zone["geometry"]}
            else:
                said = msgspec.to_builtins(command)
            found.append({"entry": str(at), **said})
        if Right.CASES not in self._rights:
            kept = ("zone", "define-order")
            found = [one for one in found if one.get("type") in kept]
        raw = msgspec.json.encode([one for one in found if self._may_know(one)])
        self.write("definitions.json", msgspec.json.format(raw))

    def _may_know(self, said: dict[str, Any]) -> bool:
        if Right.ORDERS not in self._rights and said.get("type") in ("zone", "define-order"):
            return False
        if self._hidden is None:
            return True
        raw = msgspec.json.encode(said)
        return not any(one.encode() in raw for one in self._hidden)

    def seen_of(self, replay: Replay) -> Replay:
        """The replay with the alarms that the reader may know of."""
        known = {one.alarm_id for _, one in self.records if isinstance(one, AlarmRecord)}
        alarms = tuple(one for one in replay.alarms if one.alarm_id in known)
        return msgspec.structs.replace(replay, alarms=alarms)

    def report(self, lines: list[Line], replay: Replay) -> Report:
        """What the map and the report are drawn from."""
        zones = [
            (command.zone, None if command.compiled is None else _json(command.compiled.source))
            for _, command in self._known.commands
            if isinstance(command, DefineZone) and Right.ORDERS in self._rights
        ]
        return Report(
            case_id=self._scope.case.case_id,
            since_ms=self.wanted.since.ms,
            until_ms=self.wanted.until.ms,
            view=self.wanted.view.name,
            by=self.wanted.by,
            reason=self.wanted.reason,
            made_ms=self.wanted.made_ms,
            language=self.wanted.language,
            zone=self.wanted.zone,
            zones=zones,
            tracks=list(self.tracks.values()),
            records=[output for _, output in self.records],
            lines=lines,
            replay=replay,
            versions=_versions(),
        )


class _Files:
    """Files of JSON lines, open while a stream goes by."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._files: dict[str, IO[bytes]] = {name: (folder / name).open("wb") for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def write(self, name: str, said: dict[str, Any]) -> None:
        self._files[name].write(msgspec.json.encode(said) + b"\n")


def _plain(value: Any) -> Any:
    """A value of MessagePack as JSON has it: bytes in hexadecimal."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case _:
            return value


def _json(source: bytes | None) -> Any:
    return msgspec.json.decode(source) if source else None
