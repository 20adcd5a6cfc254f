"""Erasing what is due: the keys of a case destroyed, a signed proof, the watches told.

Nothing is erased that a legal hold keeps, that another case needs, or that still stands somewhere
in clear: in the live streams, which the archiver empties, or in a file from before sealing. The
order is proof, keys, journal; whoever dies in between is gone on from by the next run.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from afstand.commands import CaseErased, encode_command
from afstand.consultations import CONSULTATIONS_KEY, LDV_KEY
from afstand.erasure.cases import Kept, Room, read_room
from afstand.erasure.proof import Proof, Proofs
from afstand.erasure.retention import (
    CONSULTATIONS,
    POSITIONS,
    QUARANTINE,
    RECORDS,
    Retention,
)
from afstand.erasure.subjects import Subjects
from afstand.limits import ARCHIVE_READ_ENTRIES_MAX, REWRITE_WAIT_S
from afstand.watch.envelope import decode_envelope
from alerting.book.types import IncidentRecord, IncidentState, Rejected
from ingest.archive.chain import StreamName
from ingest.archive.files import read_file
from ingest.archive.folder import ArchiveFolder
from ingest.archive.history import History, read_stream
from ingest.archive.keys import Key, Keys
from ingest.archive.parts import split
from ingest.columns import Item
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.store import (
    BEGINNING,
    QUARANTINE_KEY,
    EntryId,
    Store,
    StoreUnavailableError,
    command,
)

CATEGORIES: Final = (POSITIONS, RECORDS)
TRIMMED: Final = {
    CONSULTATIONS: (CONSULTATIONS_KEY, LDV_KEY),
    QUARANTINE: (QUARANTINE_KEY,),
}


class Due(NamedTuple):
    """A case in one category, and what stands against erasing it; empty: nothing."""

    case: Kept
    category: str
    since_ms: int | None
    keys: list[Key]
    against: str


class Order(NamedTuple):
    """By whose order, and why."""

    by: str
    authority: str
    reason: str


class Eraser:
    """The erasure of one partition."""

    def __init__(
        self,
        store: Store,
        root: Path,
        partition: str,
        retention: Retention,
        others: Sequence[str] = (),
    ) -> None:
        """`others`: the other partitions, in which cases of this one may have been, or be."""
        self._others = [History(store, root, one) for one in others if one != partition]
        self._store = store
        self._root = root
        self.partition = partition
        self._retention = retention
        self._history = History(store, root, partition)
        self.keys = Keys(root, partition)
        self.proofs = Proofs(root, partition)

    async def room(self) -> Room:
        """Return the cases. Raises what `History` raises."""
        return await read_room(self._history, self._others)

    def due(self, room: Room, now_ms: int, early: tuple[str, str] | None = None) -> list[Due]:
        """Return what is due; `early`: a case and a category that are to go before their term."""
        found = []
        keys = self.keys.all()
        for case in room.cases.values():
            for category in CATEGORIES:
                if case.gone(category):
                    continue
                asked = early == (case.case_id, category)
                ended = case.ended_ms
                term_ms = self._retention.of(category).term_ms
                since = None if ended is None else ended + term_ms
                if not asked and (early is not None or since is None or since > now_ms):
                    continue
                against = ""
                if case.holds:
                    hold = case.holds[-1]
                    against = f"legal hold of {hold.authority}: {hold.reason}"
                elif ended is None or ended > now_ms:
                    against = "the case has not ended"
                elif category == RECORDS and not case.gone(POSITIONS):
                    against = "its positions go first"
                gone = room.keys_of(case, category, keys)
                found.append(Due(case, category, since, gone, against))
        return found

    async def in_clear(self, persons: Sequence[str], category: str) -> str:
        """Return where something about persons stands in clear, empty for nowhere."""
        wanted = set(persons)
        subjects = Subjects()

        def about(item: Item) -> bool:
            subjects.learn(item)
            said = subjects.subjects(item, split(item.kind, item.blob))
            return any(
                one is not None and one.category == category and wanted & set(one.persons)
                for one in said
            )

        for stream in StreamName:
            for file in list(ArchiveFolder(self._root, self.partition, stream).files()):
                for rows in read_file(file):
                    for index in range(len(rows)):
                        if about(rows.item(index)) and index not in rows.opened:
                            return f"{file.path.name} was not sealed"
        for stream in StreamName:
            after = BEGINNING
            while page := await read_stream(
                self._store, self.partition, stream, after, ARCHIVE_READ_ENTRIES_MAX
            ):
                if any(about(item) for item in page):
                    return f"the {stream} still has entries of it: the archiver moves them first"
                after = page[-1].id
        return ""

    async def still_open(self, case: Kept, gone: set[str]) -> str:
        """Return an incident of a case, or of persons who go, that is open; empty for none."""
        found: dict[str, None] = {}
        async for entries in self._history.outbox():
            for entry in entries:
                for output in decode_envelope(entry.blob).outputs:
                    if not isinstance(output, IncidentRecord):
                        continue
                    tied = {output.wearer_id, output.protected_id}
                    of_it = output.case_id == case.case_id or bool(gone & tied)
                    if output.state is IncidentState.OPEN and of_it:
                        found[output.incident_id] = None
                    else:
                        found.pop(output.incident_id, None)
        return next(iter(found), "")

    async def erase(
        self, room: Room, due: Due, order: Order, key: Ed25519PrivateKey, now_ms: int
    ) -> Proof:
        """Erase one. Raises ValueError when something stands against it, OSError, KeysError."""
        if due.against:
            raise ValueError(due.against)
        case, category = due.case, due.category
        persons = room.persons_gone(case, category)
        zones = room.zones_of(case) if category == RECORDS else ()
        orders = room.orders_gone(case) if category == RECORDS else ()
        if category == RECORDS and (incident_id := await self.still_open(case, set(persons))):
            raise ValueError(f"incident {incident_id} is still open: close it first")
        concerned = [one for key in due.keys for one in key.persons]
        if concerned and (where := await self.in_clear(concerned, category)):
            raise ValueError(where)
        proof = Proof(
            at_ms=now_ms,
            partition=self.partition,
            case_id=case.case_id,
            category=category,
            retention=self._retention.version,
            ended_ms=case.ended_ms,
            persons=persons,
            zones=zones,
            orders=orders,
            by=order.by,
            authority=order.authority,
            reason=order.reason,
            keys=tuple(one.digest for one in due.keys),
        )
        proof = self.proofs.append(proof, key)
        await self.finish(proof)
        return proof

    async def finish(self, proof: Proof) -> None:
        """Destroy the keys of a proof that are there yet, and tell the journal."""
        with self.keys.locked():
            left = [one.number for one in self.keys.all()
                    if one.digest in proof.keys and not one.destroyed]  # fmt: skip
            if left:
                self.keys.destroy(left)
        said = CaseErased(
            case_id=proof.case_id,
            category=proof.category,
            persons=proof.persons,
            zones=proof.zones,
            orders=proof.orders,
            forget_case=proof.category == RECORDS,
            by=proof.by,
            authority=proof.authority,
            keys=proof.keys,
            proof=proof.digest,
        )
        blob = encode_command(said)
        await Journal(self._store).append(self.partition, EntryKind.COMMAND, blob)

    def unfinished(self, room: Room) -> list[Proof]:
        """Return proofs whose erasure the journal does not have: somebody died in between."""
        return [
            one
            for one in self.proofs.all()
            if one.case_id not in room.cases or not room.cases[one.case_id].gone(one.category)
        ]

    async def refused(self, room: Room) -> list[tuple[Proof, str]]:
        """Return the proofs that the watches were told of in vain, and why.

        An incident of the case opened after the eraser had looked. Its keys are gone all the same;
        the watches have the case yet, and are told again once nothing is open.
        """
        told = {case.erased[RECORDS]: case for case in room.cases.values() if case.gone(RECORDS)}
        if not told:
            return []
        why: dict[str, str] = {}
        before = EntryId(min(told).ms - 1, 0)
        async for entries in self._history.outbox(before, max(told)):
            for entry in entries:
                if entry.id not in told:
                    continue
                for one in decode_envelope(entry.blob).outputs:
                    if isinstance(one, Rejected) and one.what == "erasure":
                        why[told[entry.id].case_id] = one.detail
        last = {one.case_id: one for one in self.proofs.all() if one.category == RECORDS}
        return [(last[case_id], said) for case_id, said in why.items() if case_id in last]

    async def trim(self, now_ms: int) -> dict[str, int]:
        """Trim the streams whose entries have a term of their own; return how many went."""
        found = {}
        for category, streams in TRIMMED.items():
            until = EntryId(max(0, now_ms - self._retention.of(category).term_ms), 0)
            for stream in streams:
                found[stream] = int(
                    await command(self._store, "XTRIM", stream, "MINID", str(until))
                )
        return found

    async def rewrite(self) -> str:
        """Let the store write its file anew, without what was trimmed; say how that went."""
        try:
            await command(self._store, "BGREWRITEAOF")
            end_s = time.monotonic() + REWRITE_WAIT_S
            while time.monotonic() < end_s:
                said = await command(self._store, "INFO", "persistence")
                if not (said.get("aof_rewrite_in_progress") or said.get("aof_rewrite_scheduled")):
                    return "the store's file was written anew"
                await asyncio.sleep(0.1)
        except StoreUnavailableError as error:
            return f"the store's file was not written anew: {error}"
        return "the store is writing its file anew"
