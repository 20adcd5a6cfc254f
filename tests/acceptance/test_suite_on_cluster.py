"""The scenario suite through two brokers, two intakes and a cluster: the alarms of one process.

Real processes: three primaries with replicas, four partitions, two mosquittos with an intake at
each, two watches. Every person of the suite has a device with a connection of its own, which keeps
each frame until it is acknowledged and sends it again. In the middle the primary that holds most
journals is killed with frames that its replica does not have, and comes back later.

The suite lasts for hours and days, so the service lives by a clock of the test's (`timed_role`),
which stands still until all that was sent is in a journal. Frames of one case are sent in the order
of their device times, each device's when those before are in the journal: across entries the order
of delivery may change decisions (ADR 0010), and one process gets them in one entry. So nothing is
left that may differ but what `decided` leaves out: every verdict, incident, alarm, notice and
command is the same to the last field.

`AFSTAND_SUITE=all ./run test tests/acceptance/test_suite_on_cluster.py` plays every family; without
it some runs of each.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from afstand.cases import import_cases
from afstand.roles import open_store
from afstand.site import TargetSpec, new_secret
from afstand.watch.beat import read_beats
from afstand.watch.envelope import decode_envelope
from alerting.book.types import AlarmClass
from ingest.entries import Entry, EntryKind, entry_fields
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.registry import KeyBox, Registry
from ingest.store import BEGINNING, EntryId, Store, journal_key, pipeline
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.fleet import Coverage, Fleet
from tests.acceptance.partitioned import (
    FrameKey,
    entries_of,
    frames_in,
    let_go,
    merged,
    sites,
    until,
)
from tests.acceptance.suite_play import (
    OneProcess,
    Sender,
    Sent,
    Turn,
    cases_of,
    chosen,
    classes_told,
    decided,
    folded,
    turns_of,
)
from tests.acceptance.timed_role import CLOCK_VARIABLE, SharedClock, TimedSite, by
from tests.cluster_servers import ClusterServers, ask
from tests.servers import MosquittoServer, wait_until

PARTITIONS = ("p0", "p1", "p2", "p3")
WATCHES = ("watch-0", "watch-1")
AWAY_TURNS = 6
LOOK_S = 0.003


class Journals:
    """What stands in the journals, read on as they grow."""

    def __init__(self, store: Store, names: dict[int, str]) -> None:
        self._store = store
        self._names = names
        self._after = dict.fromkeys(PARTITIONS, BEGINNING)
        self.first: dict[FrameKey, EntryId] = {}

    async def hold(self, frames: Iterable[Sent]) -> None:
        """Wait until these frames are there."""
        missing = {one.key for one in frames}

        async def there() -> bool:
            for _ in range(50):
                await self._read_on()
                missing.difference_update(self.first)
                if not missing:
                    return True
                await asyncio.sleep(LOOK_S)
            return False

        await until(there, "what was sent is in the journals")

    async def _read_on(self) -> None:
        after = [self._after[name] for name in PARTITIONS]
        pages = await asyncio.gather(
            *(Journal(self._store).read(*at, 500) for at in zip(PARTITIONS, after, strict=True))
        )
        for name, page in zip(PARTITIONS, pages, strict=True):
            if page:
                self._after[name] = page[-1].id
            for _, entry_id, frame in frames_in({name: page}, self._names):
                self.first.setdefault(frame, entry_id)

    def forget_from(self, at_ms: int) -> None:
        """Read once more what was written from an instant on: some of it may be lost."""
        self._after = {
            name: min(after, EntryId(at_ms, 0).before()) for name, after in self._after.items()
        }
        self.first = {frame: one for frame, one in self.first.items() if one.ms < at_ms}


async def tick(store: Store, at_ms: int) -> None:
    """The first entry of an instant is a tick in every partition: all see the same instants."""

    def fill(pipe: Any) -> None:
        for name in PARTITIONS:
            fields = entry_fields(EntryKind.TICK, b"")
            pipe.execute_command("XADD", journal_key(name), f"{at_ms}-*", *fields)

    async def written() -> bool:
        answers = await pipeline(store, fill)
        return not any(isinstance(answer, Exception) for answer in answers)

    await until(written, "the time is told")


def fleets_at(brokers: Sequence[MosquittoServer], names: Sequence[str]) -> list[Fleet]:
    """Every other device is at the other broker."""
    return [
        Fleet(
            {name: Sender(name) for name in names[number::2]},  # type: ignore[misc]
            (),
            Broker("127.0.0.1", broker.port),
            RealClock(),
        )
        for number, broker in enumerate(brokers)
    ]


class Victim:
    """The primary with most journals. `devices` are those whose frames these hold."""

    def __init__(self, cluster: ClusterServers, where: dict[str, str]) -> None:
        nodes: dict[int, set[str]] = {}
        for name in PARTITIONS:
            nodes.setdefault(cluster.primary_of(journal_key(name)).port, set()).add(name)
        port, journals = max(nodes.items(), key=lambda item: len(item[1]))
        at = {node.port: node for node in cluster.nodes}
        self.node = at[port]
        self.devices = {device for device, partition in where.items() if partition in journals}
        self._replica = at[self._offsets()[0]]

    def _offsets(self) -> tuple[int, int, int]:
        """The port of its replica, and how far itself and the replica are."""
        said = ask(self.node, "INFO", "replication").decode().splitlines()
        found = dict(line.split(":", 1) for line in said if ":" in line)
        replica = dict(one.split("=") for one in found["slave0"].split(","))
        return int(replica["port"]), int(found["master_repl_offset"]), int(replica["offset"])

    def cut_off(self) -> None:
        """Let the replica have all that there is, and nothing of what comes."""
        _, now, _ = self._offsets()
        wait_until(lambda: self._offsets()[2] >= now, "the replica has it")
        self._replica.pause()
        ask(self.node, "CLIENT", "KILL", "TYPE", "replica")

    def die(self) -> None:
        """Die as by kill -9; the replica finds nobody."""
        self.node.kill()
        self._replica.resume()


class Playing:
    """The turns, as they are sent, killed under and told to the one process."""

    def __init__(
        self, store: Store, clock: SharedClock, fleets: list[Fleet], names: dict[int, str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleets = fleets
        self._fleet_of = {name: fleet for fleet in fleets for name in fleet.carriers}
        self.journals = Journals(store, names)
        self.one = OneProcess()

    async def _begin(self, at_ms: int) -> None:
        await tick(self._store, at_ms)
        self._clock.advance(at_ms)

    def _send(self, frames: Iterable[Sent]) -> None:
        for one in frames:
            self._fleet_of[one.device_id].happen(one.device_id, one)  # type: ignore[arg-type]

    async def turn(self, turn: Turn) -> None:
        """Send what arrives at an instant, and wait until it is in the journals."""
        await self._begin(turn.at_ms)
        for wave in turn.waves():
            self._send(wave)
            await self.journals.hold(wave)
        assert {self.journals.first[one.key].ms for one in turn.frames} <= {turn.at_ms}
        self.one.take(turn.at_ms, turn.frames)

    async def turn_under_a_kill(self, turn: Turn, victim: Victim) -> None:
        """The same, and a primary dies when the frames stand in its journals and nowhere else.

        Its replica, which was cut off from it, takes over without them. Half of the devices lose
        their connection too. Time goes on by a millisecond meanwhile: no id is given twice.
        """
        before_ms, after_ms = turn.at_ms, turn.at_ms + 1
        lost = [one for one in turn.frames if one.device_id in victim.devices]
        await self._begin(before_ms)
        await asyncio.to_thread(victim.cut_off)
        self._send(turn.frames)
        await self.journals.hold(turn.frames)
        assert {self.journals.first[one.key].ms for one in turn.frames} == {before_ms}
        assert not {one.key for one in lost} & let_go(self._fleets)
        self._cover(on=False)
        await asyncio.to_thread(victim.die)
        self._clock.advance(after_ms)
        self._cover(on=True)
        self.journals.forget_from(before_ms)
        await self.journals.hold(turn.frames)
        assert {self.journals.first[one.key].ms for one in lost} == {after_ms}
        await self._begin(after_ms)
        self.one.take(before_ms, [one for one in turn.frames if one not in lost])
        self.one.take(after_ms, lost)

    def _cover(self, *, on: bool) -> None:
        fleet = self._fleets[0]
        for name in fleet.carriers:
            fleet.happen(name, Coverage(covered=on))


def turn_for_a_kill(turns: Sequence[Turn], devices: set[str]) -> int:
    """In the middle third, the one with most frames of these devices, no two of one case."""

    def bite(number: int) -> int:
        frames = turns[number].frames
        if len({one.case for one in frames}) < len(frames):
            return 0
        return sum(one.device_id in devices for one in frames)

    found = max(range(len(turns) // 3, 2 * len(turns) // 3), key=bite)
    assert bite(found)
    return found


async def outboxes(store: Store) -> dict[str, list[tuple[EntryId, bytes]]]:
    found: dict[str, list[tuple[EntryId, bytes]]] = {}
    for name in PARTITIONS:
        found[name], after = [], BEGINNING
        while entries := await Outbox(store).read(name, after, 500):
            after = entries[-1].id
            found[name] += [(entry.id, entry.blob) for entry in entries]
    return found


async def all_folded(store: Store, entries: dict[str, list[Entry]]) -> None:
    """Wait until both watches have folded these journals."""

    async def done() -> bool:
        beats = {name: await read_beats(store, name, len(WATCHES)) for name in PARTITIONS}
        return all(
            len(of_one) == len(WATCHES)
            and all(beat.entry_id >= entries[name][-1].id for beat in of_one)
            for name, of_one in beats.items()
        )

    await until(done, "both watches have folded everything")


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(1200)
async def test_the_suite_on_a_cluster_gives_the_alarms_of_one_process(tmp_path):
    runs = chosen()
    assert len({run.start_ms for run in runs}) == 1
    turns = turns_of(runs)
    sent = {one.key for turn in turns for one in turn.frames}
    clock = SharedClock(tmp_path / "clock")
    clock.advance(runs[0].start_ms)
    target = TargetSpec(
        name="meldkamer", kind="cap", url="http://127.0.0.1:9/", secret=new_secret(),
        audiences=("police",), extra={"sender": "test@afstand.example"},
    )  # fmt: skip
    environ = {
        CLOCK_VARIABLE: str(tmp_path / "clock"),
        "AFSTAND_STORE__CLUSTER": "true",
        "AFSTAND_STORE__COPIES": "1",
        "AFSTAND_WATCH__SNAPSHOT_ENTRIES": "1000",
    }
    with (
        ClusterServers(tmp_path / "cluster") as cluster,
        MosquittoServer(tmp_path / "broker-1") as one,
        MosquittoServer(tmp_path / "broker-2") as two,
    ):
        first, second = sites(
            tmp_path, cluster.url, [one, two], target, PARTITIONS, environ, TimedSite
        )
        fleets: list[Fleet] = []
        driving: list[asyncio.Task[None]] = []
        try:
            async with open_store(first.config) as store:
                registry = Registry(store, KeyBox(first.master_key))
                with by(clock):
                    await import_cases(cases_of(runs), registry, Journal(store), PARTITIONS)
                where = {device.device_id: device.partition for device in registry}
                names = {device.handle: device.device_id for device in registry}
                assert set(where.values()) == set(PARTITIONS)
                first.start(("intake", *WATCHES))
                second.start(("intake",))
                fleets = fleets_at([one, two], sorted(where))
                driving += [asyncio.create_task(fleet.run()) for fleet in fleets]
                await asyncio.gather(
                    first.ready(("intake", *WATCHES)), second.ready(("intake",)),
                    *(fleet.connected() for fleet in fleets),
                )  # fmt: skip
                playing = Playing(store, clock, fleets, names)
                await playing.one.define(cases_of(runs), clock.now_ms())

                victim = Victim(cluster, where)
                killing = turn_for_a_kill(turns, victim.devices)
                for number, turn in enumerate(turns):
                    if number == killing:
                        await playing.turn_under_a_kill(turn, victim)
                    else:
                        await playing.turn(turn)
                    if number == killing + AWAY_TURNS:
                        await asyncio.to_thread(victim.node.start)

                async def nothing_kept() -> bool:
                    return let_go(fleets) == sent

                await until(nothing_kept, "every device holds an acknowledgement of every frame")
                entries = await entries_of(store, PARTITIONS)
                there = [(frame, name) for name, _, frame in frames_in(entries, names)]
                assert set(there) == {(key, where[key[0]]) for key in sent}
                await all_folded(store, entries)
                outbox = await outboxes(store)
                for name, part in entries.items():
                    assert outbox[name] == folded(name, part).blobs
                whole = folded("all", merged(entries))
                assert whole.notes["duplicate"] == len(there) - len(sent)
                blobs = [blob for part in outbox.values() for _, blob in part]
                found = decided(one for blob in blobs for one in decode_envelope(blob).outputs)
                assert found == decided(whole.outputs)
                one_process = folded("one", playing.one.entries).outputs
                assert found == decided(one_process)
        finally:
            for fleet in fleets:
                fleet.stop()
            await asyncio.gather(*driving, return_exceptions=True)
            await asyncio.gather(first.stop(), second.stop())
    told = {AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH, AlarmClass.TAMPER}
    assert told <= classes_told(one_process)
