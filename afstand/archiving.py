"""The role `archiver`: moves what is old out of the store, in a process of its own.

One archiver at a time writes an archive: a lock on its folder keeps a second one out.
"""

import asyncio
import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from afstand.config import Config
from afstand.erasure.subjects import Subjects
from afstand.limits import ARCHIVE_PAUSE_S, WATCH_RETRY_S_MAX
from afstand.outbox_source import GROUP
from afstand.roles import observed, open_store
from afstand.watch.replica import reader_name
from ingest.archive.archiver import Cycle, Expected, PartitionArchiver
from ingest.archive.mover import Ages
from ingest.archive.names import ArchiveError
from ingest.entries import EntryVersionError
from ingest.readers import NOTHING_NEEDED
from ingest.store import StoreUnavailableError

log = structlog.get_logger()
LOCK_FILE: Final = "archiver.lock"


class ArchiveMetrics:
    """What an archiver counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            names = ("partition", *labels)
            return Counter(f"afstand_archive_{name}", text, names, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            names = ("partition", *labels)
            return Gauge(f"afstand_archive_{name}", text, names, registry=registry)

        self.chained = counter("chained", "Entries of both streams put into the hash chain")
        self.files = counter("files", "Files written", "stream")
        self.trimmed = counter("trimmed", "Entries trimmed from the store", "stream")
        self.faults = counter("faults", "Things found that are not as they were written", "stream")
        self.errors = counter("errors", "Times that store or disk failed")
        self.reader_age = gauge("reader_age_seconds", "Since a reader was heard of", "reader")
        self.reader_behind = gauge(
            "reader_behind_seconds",
            "Age of the newest entry that a reader has passed",
            "reader",
        )

    def looked(self, partition: str, cycle: Cycle) -> None:
        """Count what one look did."""
        self.chained.labels(partition).inc(cycle.chained)
        for stream, files in cycle.moved.items():
            self.files.labels(partition, stream.value).inc(files)
        for stream, entries in cycle.trimmed.items():
            self.trimmed.labels(partition, stream.value).inc(entries)
        for fault in cycle.faults:
            self.faults.labels(partition, fault.stream.value).inc()
        for reader in cycle.readers:
            age_s = max(0, cycle.now_ms - reader.seen_ms) / 1000
            self.reader_age.labels(partition, reader.name).set(age_s)
            if reader.journal < NOTHING_NEEDED:
                behind_s = max(0, cycle.now_ms - reader.journal.ms) / 1000
                self.reader_behind.labels(partition, reader.name).set(behind_s)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Whether no other process of this machine writes this archive; the lock ends with us."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


async def archiver(config: Config, stop: asyncio.Event) -> None:
    """Move old entries of every partition until stopped."""
    registry = CollectorRegistry()
    metrics = ArchiveMetrics(registry)
    root = Path(config.archive.dir)
    problems = dict.fromkeys(config.partitions, "starting")

    def not_ready() -> str:
        return "; ".join(f"{name}: {why}" for name, why in problems.items() if why)

    async with (
        open_store(config) as store,
        observed(config, config.archive.health_port, registry, not_ready),
    ):
        with contextlib.ExitStack() as stack:
            while not stack.enter_context(_alone(root)):
                stack.close()
                problems.update(dict.fromkeys(problems, f"another archiver writes {root}"))
                if await _stopped(stop, WATCH_RETRY_S_MAX):
                    return
            async with asyncio.TaskGroup() as group:
                for partition in config.partitions:
                    one = PartitionArchiver(
                        store,
                        root,
                        partition,
                        ages_of(config),
                        expected_of(config),
                        Subjects(),
                    )
                    group.create_task(_keep_looking(one, partition, metrics, problems, stop))


def ages_of(config: Config) -> Ages:
    """When entries are moved."""
    archive = config.archive
    return Ages(round(archive.keep_minutes * 60_000), round(archive.file_minutes * 60_000))


def expected_of(config: Config) -> Expected:
    """Who has to have read an entry: every replica that is configured, and a notifier."""
    readers = [reader_name(index) for index in range(config.watch.replicas)]
    silent_ms = round(config.archive.reader_silent_minutes * 60_000)
    return Expected(readers, GROUP, silent_ms)


async def _keep_looking(
    one: PartitionArchiver,
    partition: str,
    metrics: ArchiveMetrics,
    problems: dict[str, str],
    stop: asyncio.Event,
) -> None:
    opened = False
    pause_s = 0.0
    while not await _stopped(stop, pause_s):
        pause_s = ARCHIVE_PAUSE_S
        try:
            if not opened:
                await one.reopen()
                opened = True
            cycle = await one.cycle()
        except EntryVersionError as error:
            problems[partition] = f"this program is too old for the journal: {error}"
        except (OSError, StoreUnavailableError, ArchiveError) as error:
            problems[partition] = f"{type(error).__name__}: {error}"
            metrics.errors.labels(partition).inc()
            opened = False
        else:
            problems[partition] = ""
            _report(partition, cycle)
            metrics.looked(partition, cycle)
            continue
        log.warning("archiver cannot go on", partition=partition, problem=problems[partition])


def _report(partition: str, cycle: Cycle) -> None:
    for fault in cycle.faults:
        log.error("archive fault", partition=partition, stream=fault.stream, what=fault.what)
    for name in cycle.silent:
        log.error("reader silent, nothing is trimmed", partition=partition, reader=name)


async def _stopped(stop: asyncio.Event, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), within_s)
    return stop.is_set()
