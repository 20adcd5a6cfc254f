"""A whole service under load, for the benchmarks that measure it from outside.

One intake, two watch replicas, one notifier, each a process; embedded store and broker; a receiver
that plays the police; load from a process of its own. Latency is from the moment a press is written
to the broker's socket until the receiver has the signed message.
"""

import asyncio
import contextlib
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import psutil

from afstand.cases import check_cases, dump_json, import_cases
from afstand.embedded import Endpoint, mosquitto_path
from afstand.roles import open_store
from afstand.site import Site, TargetSpec, new_secret, open_site, warm_up_apart
from afstand.tail import Tail, wall_ms
from firmware_contracts import EventCode
from firmware_contracts.table import HEADER_DTYPE
from ingest.entries import Entry, FrameBatch, LaneCode
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import Store
from simulators.geo import LocalPlane
from simulators.load import LoadRecord, LoadTarget, run_load
from simulators.load_plan import LoadDevice, LoadPlan, plan_backlog, plan_load
from simulators.receivers import Kind, Mode, Receiver
from simulators.seeds import device_key

SEED: Final = 20261121
CENTRE: Final = (51.92, 4.48)
WEARERS: Final = 5_000
ZONES: Final = 50
START_AFTER_S: Final = 1.0
ENCODED_PER_S: Final = 30_000.0  # frames by the publisher, about; it takes the time it needs
SPREAD_M: Final = 8_000.0
LATE_MS: Final = 60_000  # a fix that is older than this when it arrives is not a live one
ARRIVE_S_MAX: Final = 20.0
READY_S_MAX: Final = 300.0  # thousands of devices are imported first, on a machine that others use
POLICE: Final = "meldkamer"
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "bench",
    "steps": [
        {
            "audience": "police",
            "targets": [POLICE],
            "classes": ["panic", "proximity", "tamper", "area-breach"],
            "deadline_s": 600,
        }
    ],
    "acknowledgement_expires_s": 3600,
}
ROOMS: Final = {POLICE: ("police", Mode.GOOD)}
_SENT_AT: Final = int(HEADER_DTYPE.fields["device_time_ms"][1]) if HEADER_DTYPE.fields else 0

Floats = npt.NDArray[np.float64]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: live fixes evenly, presses and cut straps in between, and a backlog."""

    rate_per_s: float
    seconds: float
    run: int = 0
    """Every run has buttons and straps of its own, and a boot number of its own."""
    presses_per_s: float = 10.0
    cuts_per_s: float = 0.0
    connections: int = 32
    backlog_frames_each: int = 0
    """Frames that every wearer kept; they come while the rest does."""
    backlog_fixes: int = 32
    """Fixes in a frame of the backlog."""
    backlog_spread_s: float = 1.0
    drain_s: float = 60.0
    """How long after the last message the publisher waits for the broker."""

    @property
    def presses(self) -> int:
        """How many buttons are pressed, once each."""
        return int(self.presses_per_s * self.seconds)

    @property
    def cuts(self) -> int:
        """How many straps are cut."""
        return int(self.cuts_per_s * self.seconds)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the publisher says: messages and the moments of those that must arrive."""

    fixes: int
    acked: int
    reached_per_s: float
    backlog: int
    told_ms: dict[str, float]
    """Of every button pressed and strap cut: when it was written to the socket."""
    cpu_s: float


@dataclass(slots=True)
class Run:
    """What one load gave. `latencies_ms` by device."""

    load: Load
    sent: Sent
    journalled: int
    latencies_ms: dict[str, float]
    cpu_us: dict[str, float]
    """Processor time of each process per fix that was journalled meanwhile."""
    age_ms: Floats
    """How old live fixes were when they were durable."""
    behind_entries: int
    """Journal entries that were taken while the intake was behind."""
    coalesced: int
    """Fixes in these with a newer one of their device in the same entry, which decided."""
    drained_s: float
    """After the last message was due, until everything was durable."""

    @property
    def wanted(self) -> int:
        """Frames that must be in the journal."""
        return self.sent.fixes + self.sent.backlog + len(self.sent.told_ms)

    @property
    def pressed_ms(self) -> Floats:
        """Latencies of the presses alone."""
        return self._of("aware")

    @property
    def cut_ms(self) -> Floats:
        """Latencies of the cut straps alone."""
        return self._of("strap")

    def _of(self, prefix: str) -> Floats:
        found = [value for name, value in self.latencies_ms.items() if name.startswith(prefix)]
        return np.array(found, np.float64)

    @property
    def missed(self) -> int:
        """Presses and cut straps that the police never heard of."""
        return len(self.sent.told_ms) - len(self.latencies_ms)

    @property
    def service_us(self) -> float:
        """Intake and one watch replica (the mean of them), per fix."""
        watches = [value for name, value in self.cpu_us.items() if name.startswith("watch")]
        return self.cpu_us.get("intake", 0.0) + sum(watches) / max(1, len(watches))

    @property
    def broker_us(self) -> float:
        """The broker, per fix."""
        return self.cpu_us.get("broker", 0.0)

    @property
    def ratio(self) -> float:
        """Processor time of intake and watch against the broker's."""
        return self.service_us / self.broker_us if self.broker_us else float("nan")


def percentile(values: Floats, which: float) -> float:
    """NaN without a sample."""
    return float(np.percentile(values, which)) if len(values) else float("nan")


def wearers(count: int = WEARERS) -> list[LoadDevice]:
    """Those who report."""
    places = np.random.default_rng(SEED).uniform(-SPREAD_M, SPREAD_M, (count, 2))
    return [_device(f"em-{n:06d}", *map(float, places[n])) for n in range(count)]


def told(load: Load) -> tuple[list[LoadDevice], list[LoadDevice]]:
    """The buttons and the straps of a run."""
    buttons = [_device(f"aware-{load.run}-{n:05d}") for n in range(load.presses)]
    straps = [_device(f"strap-{load.run}-{n:05d}") for n in range(load.cuts)]
    return buttons, straps


def _device(name: str, x_m: float = 0.0, y_m: float = 0.0) -> LoadDevice:
    return LoadDevice(name, device_key(SEED, name), x_m, y_m)


def cases_document(
    loads: list[Load],
    *,
    count: int = WEARERS,
    zones: int = ZONES,
    plan: Mapping[str, Any] = PLAN,
) -> bytes:
    """Every wearer has an area ban; the zones lie among the wearers, so some are near or inside."""
    plane = LocalPlane(*CENTRE)
    rng = np.random.default_rng(SEED + 1)
    at_ms = wall_ms() - 86_400_000
    made = []
    for n in range(zones):
        lat, lon = plane.degrees(*map(float, rng.uniform(-SPREAD_M, SPREAD_M, 2)))
        circle = {"lat_e7": round(lat * 1e7), "lon_e7": round(lon * 1e7), "radius_m": 200}
        made.append({"id": f"zone-{n}", "circle": circle})
    buttons = [one for load in loads for one in told(load)[0]]
    straps = [one for load in loads for one in told(load)[1]]
    worn = wearers(count) + straps
    both = [(one, "wearer") for one in worn] + [(one, "protected") for one in buttons]
    document: dict[str, Any] = {
        "format": "afstand.cases/1",
        "persons": [{"id": one.device_id, "role": role} for one, role in both],
        "devices": [
            {
                "id": one.device_id,
                "person": one.device_id,
                "role": role,
                "contract": "em1",
                "key": one.key.hex(),
            }
            for one, role in both
        ],
        "zones": made,
        "orders": [
            {
                "id": f"ban-{one.device_id}",
                "kind": "area-ban",
                "wearer_id": one.device_id,
                "zone_ids": [f"zone-{n % zones}"],
                "buffer_m": 100,
                "valid_from_ms": at_ms,
                "signed_at_ms": at_ms,
                "served_at_ms": at_ms,
                "plan_id": "bench",
            }
            for n, one in enumerate(worn)
        ],
        "plans": [plan],
        "cases": [
            {"id": f"case-{one.device_id}", "protected": [one.device_id], "plan": "bench"}
            for one in buttons
        ]
        + [
            {"id": f"case-{one.device_id}", "wearer": one.device_id, "plan": "bench"}
            for one in straps
        ],
    }
    return dump_json(document)


# --- load ---------------------------------------------------------------------------------------


def publish(load: Load, count: int, port: int, out: str) -> None:
    """Send a load, in a process of its own: begins when all is encoded, and says when that is."""
    frames = load.rate_per_s * load.seconds + load.backlog_frames_each * count
    need_ms = 1_000 * (START_AFTER_S + frames / ENCODED_PER_S)
    while True:
        # Device times are the planned instants, so the start is chosen first.
        start_ms = wall_ms() + int(need_ms)
        plans, buttons, straps = _encoded(load, count, start_ms)
        if wall_ms() < start_ms:
            break
        need_ms *= 2
    Path(f"{out}.start").write_text(str(start_ms))
    _send(load, plans, buttons, straps, port, out)


def _encoded(
    load: Load, count: int, start_ms: int
) -> tuple[dict[str, LoadPlan], list[LoadDevice], list[LoadDevice]]:
    plane = LocalPlane(*CENTRE)
    worn = wearers(count)
    buttons, straps = told(load)
    live: dict[str, Any] = {
        "start_ms": start_ms, "duration_s": load.seconds, "boot": load.run + 1, "seed": SEED,
    }  # fmt: skip
    plans = {"fixes": plan_load(worn, plane, rate_per_s=load.rate_per_s, **live)}
    if buttons:
        plans["aware"] = plan_load(
            buttons, plane, rate_per_s=0.0, panic_per_s=load.presses_per_s, **live
        )
    if straps:
        plans["strap"] = plan_load(
            straps,
            plane,
            rate_per_s=0.0,
            panic_per_s=load.cuts_per_s,
            code=EventCode.STRAP_CUT,
            **live,
        )
    if load.backlog_frames_each:
        plans["backlog"] = plan_backlog(
            worn,
            plane,
            frames_each=load.backlog_frames_each,
            fixes_per_frame=load.backlog_fixes,
            spread_s=load.backlog_spread_s,
            start_ms=start_ms,
            boot=load.run + 1_000,
            seed=SEED,
        )
    return plans, buttons, straps


def _send(
    load: Load,
    plans: dict[str, LoadPlan],
    buttons: list[LoadDevice],
    straps: list[LoadDevice],
    port: int,
    out: str,
) -> None:
    async def one(name: str, plan: LoadPlan) -> LoadRecord:
        connections = load.connections if name in {"fixes", "backlog"} else 2
        target = LoadTarget("127.0.0.1", port, connections=connections, client_prefix=name)
        return await run_load(plan, target, drain_s=load.drain_s)

    async def all_of_them() -> dict[str, LoadRecord]:
        records = await asyncio.gather(*(one(name, plan) for name, plan in plans.items()))
        return dict(zip(plans, records, strict=True))

    before_s = time.process_time()
    records = asyncio.run(all_of_them())
    told_ms: dict[str, float] = {}
    for name, devices in (("aware", buttons), ("strap", straps)):
        if name in records:
            record, plan = records[name], plans[name]
            to_unix = record.started_unix_ns - record.started_ns
            told_ms |= {
                devices[int(plan.device[n])].device_id: (int(record.sent_ns[n]) + to_unix) / 1e6
                for n in range(len(plan))
                if record.sent_ns[n]
            }
    fixes, backlog = records["fixes"], records.get("backlog")
    sent = Sent(
        fixes=fixes.sent,
        acked=fixes.acked,
        reached_per_s=fixes.rate_per_s,
        backlog=backlog.sent if backlog is not None else 0,
        told_ms=told_ms,
        cpu_s=time.process_time() - before_s,
    )
    Path(out).write_bytes(msgspec.json.encode(sent))


class Ages(Tail):
    """Follows journal and outbox as `Tail`, at the cost of a few array operations an entry."""

    def __init__(self, store: Store, partition: str) -> None:
        super().__init__(store, partition)
        self.ages: list[npt.NDArray[np.int64]] = []
        self.behind_entries = self.coalesced = 0
        self._wanted = 0
        self._there = asyncio.Event()

    async def until(self, frames: int) -> None:
        """Wait until so many frames were seen."""
        self._wanted = frames
        self._there.clear()
        if self.frames < frames:
            await self._there.wait()

    def _frames(self, entry: Entry) -> None:
        batch = FrameBatch.read(entry.blob)
        self.frames += len(batch)
        if batch.behind:
            handles = batch.handles[batch.lanes == LaneCode.FIX]
            self.behind_entries += 1
            self.coalesced += len(handles) - len(np.unique(handles))
        fixes = batch.offsets[batch.lanes == LaneCode.FIX].astype(np.int64)
        raw = np.frombuffer(batch.payload, np.uint8)
        sent_ms = raw[fixes[:, None] + np.arange(_SENT_AT, _SENT_AT + 8)].copy().view("<i8")[:, 0]
        ages = entry.id.ms - sent_ms
        self.ages.append(ages[ages < LATE_MS])
        if self.frames >= self._wanted:
            self._there.set()


class Processor:
    """Processor time of processes between two moments, in microseconds."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        found = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            found[name] = 1e6 * (times.user + times.system)
        return found

    def used_us(self) -> dict[str, float]:
        """Since this object was made."""
        return {name: value - self._before[name] for name, value in self._now().items()}


def processes_of(site: Site) -> dict[str, psutil.Process]:
    """All processes of the service, the store and the broker."""
    found = {role: psutil.Process(child.pid) for role, child in site.children.items() if child.pid}
    for child in psutil.Process().children():
        name = child.name()
        if "mosquitto" in name or "nats" in name:
            found["broker"] = child
        elif "valkey" in name or "redis" in name:
            found["store"] = child
    return found


# --- the service --------------------------------------------------------------------------------


class Serving:
    """A service that is ready, and everything that is needed to load it."""

    def __init__(
        self,
        site: Site,
        at_store: Endpoint,
        at_broker: Endpoint,
        receivers: dict[str, Receiver],
        tail: Ages,
    ) -> None:
        self.site = site
        self.servers = f"{at_store.name}, {at_broker.name}"
        self.count = WEARERS
        self._port = at_broker.port
        self.receivers = receivers
        self._tail = tail

    async def run(self, load: Load) -> Run:
        """Load, wait for the end of it, and gather what came."""
        tail = self._tail
        first = tail.frames
        tail.ages.clear()
        tail.behind_entries = tail.coalesced = 0
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "sent.json"
            publisher = multiprocessing.get_context("spawn").Process(
                target=publish, args=(load, self.count, self._port, str(file))
            )
            publisher.start()
            start_ms = await _start_of(publisher, Path(f"{file}.start"))
            await asyncio.sleep(max(0.0, start_ms / 1000 - time.time()) + 0.5)
            processor = Processor(processes_of(self.site))
            counted_from = tail.frames
            await asyncio.sleep(load.seconds - 1.0)
            cpu_us = processor.used_us()
            counted = max(1, tail.frames - counted_from)
            sent = await _ended(publisher, file)
        found = Run(
            load=load,
            sent=sent,
            journalled=0,
            latencies_ms={},
            cpu_us={name: value / counted for name, value in cpu_us.items()},
            age_ms=np.zeros(0),
            behind_entries=0,
            coalesced=0,
            drained_s=0.0,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(load.drain_s):
                await tail.until(first + found.wanted)
        found.journalled = tail.frames - first
        found.behind_entries, found.coalesced = tail.behind_entries, tail.coalesced
        found.drained_s = max(0.0, time.time() - start_ms / 1000 - load.seconds)
        found.age_ms = np.concatenate([np.zeros(0), *tail.ages]).astype(np.float64)
        found.latencies_ms = await self._latencies(sent.told_ms)
        return found

    async def _latencies(self, told_ms: dict[str, float]) -> dict[str, float]:
        """Wait for the messages about presses and straps; gives publish -> receiver in ms."""
        deadline = time.monotonic() + ARRIVE_S_MAX
        while True:
            found: dict[str, float] = {}
            for arrival in list(self.receivers[POLICE].arrivals):
                seen = self._tail.notices.get(arrival.id)
                device = seen.notice.device_id if seen is not None else None
                if device in told_ms and device not in found:
                    found[device] = arrival.arrived_ms - told_ms[device]
            if len(found) == len(told_ms) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)


async def _start_of(publisher: BaseProcess, file: Path) -> int:
    """Wait until the publisher has encoded everything and said when it starts."""
    while publisher.is_alive():
        text = await asyncio.to_thread(lambda: file.read_text() if file.exists() else "")
        if text:
            return int(text)
        await asyncio.sleep(0.05)
    raise SystemExit("the load could not be encoded")


async def _ended(publisher: BaseProcess, file: Path) -> Sent:
    await asyncio.to_thread(publisher.join)
    if not await asyncio.to_thread(file.exists):
        raise SystemExit("the load could not be published")
    raw = await asyncio.to_thread(file.read_bytes)
    return msgspec.json.decode(raw, type=Sent)


@contextlib.asynccontextmanager
async def serving(
    loads: list[Load],
    *,
    rooms: Mapping[str, tuple[str, Mode]] = ROOMS,
    plan: Mapping[str, Any] = PLAN,
) -> AsyncIterator[Serving]:
    """Start the service and register everybody whom the loads need.

    `rooms` are the receivers: for whom each is, and how it behaves; the police among them.
    """
    receivers: dict[str, Receiver] = {}
    targets = []
    for name, (audience, mode) in rooms.items():
        secret = new_secret()
        receiver = Receiver(name, Kind.CAP, [secret], mode=mode, acknowledge_in_answer=True)
        receivers[name] = receiver
        targets.append(
            TargetSpec(
                name=name,
                kind="cap",
                url=await receiver.start(),
                secret=secret,
                audiences=(audience,),
                extra={"sender": "bench@afstand.example"},
            )
        )
    cases = check_cases(cases_document(loads, plan=plan), "bench")
    with tempfile.TemporaryDirectory(prefix="afstand-bench-") as folder:
        try:
            async with (
                open_site(Path(folder), targets) as (site, at_store, at_broker),
                open_store(site.config) as store,
            ):
                registry = Registry(store, KeyBox(site.master_key))
                await import_cases(cases, registry, Journal(store), site.config.partitions)
                await warm_up_apart()
                site.start()
                await site.ready(within_s=READY_S_MAX)
                tail = Ages(store, site.config.partitions[0])
                following = asyncio.create_task(tail.run())
                try:
                    yield Serving(site, at_store, at_broker, receivers, tail)
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
        finally:
            for receiver in receivers.values():
                await receiver.stop()


def broker_version() -> str:
    """What the machine's mosquitto says of itself."""
    path = mosquitto_path()
    if path is None:
        return "nats (wheel)"
    said = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else "mosquitto"
