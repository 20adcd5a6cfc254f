"""The console's side of the store: follows journals and outboxes, journals commands, logs look-ups.

It joins no consumer group and nobody waits for it: a console that is dead or slow holds up neither
trimming nor alarms. It goes on from a dump of its own; without one it reads from the beginning.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from afstand import __version__
from afstand.commands import encode_command
from afstand.console_feed import command_of, frames_input, journal_inputs, outbox_input
from afstand.consultations import CONSULTATIONS_KEY, write_consultation
from afstand.limits import (
    CONSOLE_CATCH_UP_YIELD_ENTRIES,
    CONSOLE_CONSULTATIONS_READ_MAX,
    CONSOLE_DUMP_EVERY_S,
    CONSOLE_HEALTH_EVERY_S,
    CONSOLE_JOURNAL_REST_S,
    CONSOLE_LAG_MS_MAX,
    CONSOLE_NO_FRAMES_MS_MAX,
    CONSOLE_NOTIFIER_IDLE_MS_MAX,
    WATCH_READ_ENTRIES_MAX,
    WATCH_REPLICAS_MAX,
    WATCH_RETRY_S_MAX,
)
from afstand.outbox_source import GROUP
from afstand.watch.beat import read_beats
from afstand.watch.snapshots import Snapshot, SnapshotError, Snapshots
from console.hub import Hub
from console.model.model import Model, ModelError
from console.model.rows import START, Place
from console.ports import (
    Consultation,
    FixesAt,
    KeptConsultation,
    PartHealth,
    SentCommand,
    UnavailableError,
)
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import EntryId, Store, StoreUnavailableError, command, outbox_key

log = structlog.get_logger()
BLOCK_MS: Final = 250
_DUMPS: Final = "console"


class StoreLink:
    """A `console.ports.Link` over the store. `key` is that of the pseudonyms of the Logboek."""

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key
        self._journal = Journal(store)
        self._ahead_ms = 0
        self._sent: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def now_ms(self) -> int:
        """This machine's clock, set by the store's."""
        return time.time_ns() // 1_000_000 + self._ahead_ms

    async def set_clock(self) -> None:
        """Ask the store for its time. Raises StoreUnavailableError."""
        seconds, micros = await command(self._store, "TIME")
        theirs_ms = int(seconds) * 1000 + int(micros) // 1000
        self._ahead_ms = theirs_ms - time.time_ns() // 1_000_000

    async def send(self, partition: str, sent: SentCommand) -> Place:
        """Journal a command."""
        blob = encode_command(command_of(sent))
        try:
            entry_id = await self._journal.append(partition, EntryKind.COMMAND, blob)
        except StoreUnavailableError as error:
            raise UnavailableError(str(error)) from None
        self._sent[partition].set()
        return Place(*entry_id)

    async def rest(self, partition: str, within_s: float) -> None:
        """Let entries of a journal gather; what this console sent itself is waited for by nobody.

        Alarms do not come this way: they are in the outbox, which is read as it grows.
        """
        sent = self._sent[partition]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await sent.wait()
        sent.clear()

    async def log_consultation(self, said: Consultation) -> None:
        """Write both logs, confirmed by the store. Raises UnavailableError."""
        try:
            await write_consultation(self._store, self._key, said)
        except StoreUnavailableError as error:
            raise UnavailableError(str(error)) from None

    async def consultations(
        self, *, person: str, by: str, before: str, count: int
    ) -> Sequence[KeptConsultation]:
        """Newest first. Looks through a bounded number of entries a call."""
        end = f"({before}" if before else "+"
        found: list[KeptConsultation] = []
        left = CONSOLE_CONSULTATIONS_READ_MAX
        while left > 0 and len(found) < count:
            part = await self._command("XREVRANGE", CONSULTATIONS_KEY, end, "-", "COUNT", 500)
            for raw_id, fields in part:
                end, left = f"({raw_id.decode()}", left - 1
                said = msgspec.json.decode(fields[b"b"], type=Consultation)
                if (not person or person in said.persons) and by in ("", said.by):
                    found.append(KeptConsultation(key=raw_id.decode(), said=said))
                    if len(found) == count:
                        break
            if len(part) < 500:
                break
        return found

    async def past_fixes(
        self, partition: str, handles: Sequence[int], from_ms: int, to_ms: int
    ) -> AsyncIterator[FixesAt]:
        """Read the journal of that time again, only the frames of these devices."""
        wanted = set(handles)
        after = EntryId(max(0, from_ms) - 1, 2**63) if from_ms > 0 else EntryId(0, 0)
        while True:
            try:
                entries = await self._journal.read(partition, after, WATCH_READ_ENTRIES_MAX)
            except StoreUnavailableError as error:
                raise UnavailableError(str(error)) from None
            for entry in entries:
                after = entry.id
                if entry.id.ms >= to_ms:
                    return
                if entry.kind is not EntryKind.FRAMES:
                    continue
                said = frames_input(partition, entry, wanted)
                if said is not None and said.fixes is not None:
                    yield FixesAt(entry.id.ms, said.fixes)
            if len(entries) < WATCH_READ_ENTRIES_MAX:
                return
            await asyncio.sleep(0)

    async def _command(self, *args: Any) -> Any:
        try:
            return await command(self._store, *args)
        except StoreUnavailableError as error:
            raise UnavailableError(str(error)) from None


class Follower:
    """Feeds a hub from journals and outboxes for as long as it runs."""

    def __init__(self, store: Store, hub: Hub, link: StoreLink, folder: Path) -> None:
        self._store = store
        self._hub = hub
        self._link = link
        self._journal, self._outbox = Journal(store), Outbox(store)
        self._dumps = Snapshots(folder, _DUMPS)
        self._behind: dict[str, str] = dict.fromkeys(
            [f"{kind} {p}" for p in hub.partitions for kind in ("journal", "outbox")], "not read"
        )
        self._store_error = ""
        self._frames_at_ms = 0

    @property
    def not_ready(self) -> str:
        """Why the console does not know the present yet; "" when it does."""
        return "; ".join(f"{what}: {why}" for what, why in self._behind.items() if why)

    async def run(self) -> None:
        """Follow everything until cancelled, and keep a dump on the way out."""
        try:
            async with asyncio.TaskGroup() as group:
                for partition in self._hub.partitions:
                    group.create_task(self._keep(partition, "journal"))
                    group.create_task(self._keep(partition, "outbox"))
                group.create_task(self._watch_health())
                group.create_task(self._keep_dumps())
        finally:
            self._write_dump()

    async def _keep(self, partition: str, kind: str) -> None:
        follow = self._follow_journal if kind == "journal" else self._follow_outbox
        pause_s = 0.05
        while True:
            try:
                await follow(partition, f"{kind} {partition}")
            except StoreUnavailableError as error:
                if not self._store_error:
                    log.warning("store unavailable", partition=partition, error=str(error))
                self._store_error = str(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, WATCH_RETRY_S_MAX)

    async def _follow_journal(self, partition: str, name: str) -> None:
        model = self._hub.model
        while True:
            after = EntryId(*model.journal_at.get(partition, START))
            entries = await self._journal.read(partition, after, WATCH_READ_ENTRIES_MAX, BLOCK_MS)
            self._read(name, len(entries))
            for start in range(0, len(entries), CONSOLE_CATCH_UP_YIELD_ENTRIES):
                part = entries[start : start + CONSOLE_CATCH_UP_YIELD_ENTRIES]
                self._hub.feed(journal_inputs(partition, part))
                frames = [entry.id.ms for entry in part if entry.kind is EntryKind.FRAMES]
                self._frames_at_ms = max([self._frames_at_ms, *frames])
                model.skip(partition, Place(*part[-1].id))
                await asyncio.sleep(0)
            if len(entries) < WATCH_READ_ENTRIES_MAX:
                await self._link.rest(partition, CONSOLE_JOURNAL_REST_S)

    async def _follow_outbox(self, partition: str, name: str) -> None:
        model = self._hub.model
        while True:
            after = EntryId(*model.outbox_at.get(partition, START))
            entries = await self._outbox.read(partition, after, WATCH_READ_ENTRIES_MAX, BLOCK_MS)
            self._read(name, len(entries))
            for start in range(0, len(entries), CONSOLE_CATCH_UP_YIELD_ENTRIES):
                part = entries[start : start + CONSOLE_CATCH_UP_YIELD_ENTRIES]
                self._hub.feed([outbox_input(partition, entry) for entry in part])
                await asyncio.sleep(0)

    def _read(self, name: str, entries: int) -> None:
        self._store_error = ""
        self._behind[name] = "catching up" if entries >= WATCH_READ_ENTRIES_MAX else ""
        if not self.not_ready:
            self._hub.caught_up = True

    # --- health -------------------------------------------------------------------------------

    async def _watch_health(self) -> None:
        while True:
            now_ms = self._link.now_ms()
            parts: dict[str, PartHealth] = {}
            try:
                await self._link.set_clock()
                now_ms = self._link.now_ms()
                for partition in self._hub.partitions:
                    parts[f"watch {partition}"] = await self._watch_of(partition, now_ms)
                    parts[f"notify {partition}"] = await self._notifier_of(partition, now_ms)
                parts["intake"] = self._intake(now_ms)
            except StoreUnavailableError as error:
                self._store_error = str(error)
            code = "unavailable" if self._store_error else ""
            parts["store"] = PartHealth(
                part="store", code=code, since_ms=now_ms, detail=self._store_error[:200]
            )
            self._hub.set_health(parts)
            await asyncio.sleep(CONSOLE_HEALTH_EVERY_S)

    async def _watch_of(self, partition: str, now_ms: int) -> PartHealth:
        """Whether any replica lives and keeps up with the journal."""
        part = f"watch {partition}"
        beats = await read_beats(self._store, partition, WATCH_REPLICAS_MAX)
        if not beats:
            return PartHealth(part=part, code="silent", since_ms=now_ms)
        last = await self._journal.last_id(partition)
        at = max(beat.entry_id for beat in beats)
        lag_ms = last.ms - at.ms
        if lag_ms > CONSOLE_LAG_MS_MAX:
            why = next((beat.not_ready for beat in beats if beat.not_ready), "")
            return PartHealth(
                part=part, code="behind", since_ms=now_ms, detail=f"{lag_ms // 1000} s {why}"
            )
        return PartHealth(part=part, since_ms=now_ms)

    async def _notifier_of(self, partition: str, now_ms: int) -> PartHealth:
        """Whether any notifier asks for what there is to deliver."""
        part = f"notify {partition}"
        try:
            raw = await command(self._store, "XINFO", "CONSUMERS", outbox_key(partition), GROUP)
        except StoreUnavailableError as error:
            # No outbox or no group yet: nothing was ever delivered here.
            if "NOGROUP" in str(error) or "no such key" in str(error):
                return PartHealth(part=part, code="silent", since_ms=now_ms)
            raise
        idle = [_int_of(consumer, b"idle") for consumer in raw]
        if not idle or min(idle) > CONSOLE_NOTIFIER_IDLE_MS_MAX:
            return PartHealth(part=part, code="silent", since_ms=now_ms)
        return PartHealth(part=part, since_ms=now_ms)

    def _intake(self, now_ms: int) -> PartHealth:
        """Whether anything arrives from devices, where there are any."""
        devices = any(device.enabled for device in self._hub.model.world.devices.values())
        quiet = now_ms - self._frames_at_ms > CONSOLE_NO_FRAMES_MS_MAX
        code = "silent" if devices and quiet and self._hub.caught_up else ""
        return PartHealth(part="intake", code=code, since_ms=now_ms)

    # --- dumps --------------------------------------------------------------------------------

    async def _keep_dumps(self) -> None:
        while True:
            await asyncio.sleep(CONSOLE_DUMP_EVERY_S)
            if self._hub.caught_up:
                await asyncio.to_thread(self._dumps.write, self._snapshot())

    def _snapshot(self) -> Snapshot:
        model = self._hub.model
        at = max([*model.journal_at.values(), START])
        return Snapshot(EntryId(*at), __version__, model.dump())

    def _write_dump(self) -> None:
        if not self._hub.model.journal_at:
            return
        try:
            self._dumps.write(self._snapshot())
        except OSError as error:
            log.error("dump not written", error=str(error))


def _int_of(pairs: Any, name: bytes) -> int:
    found = pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
    return int(found[name])


def restored(folder: Path) -> Model:
    """The newest dump that can be read, else an empty model."""
    dumps = Snapshots(folder, _DUMPS)
    for path in dumps.candidates():
        try:
            return Model.load_dump(dumps.read(path).state)
        except (SnapshotError, ModelError) as error:
            log.warning("dump passed over", reason=str(error))
    return Model()
