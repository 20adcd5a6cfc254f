"""What tests of the archive share: a partition with entries of chosen times, and its archive."""

import random
from typing import NamedTuple

from ingest.archive.archiver import Expected, PartitionArchiver
from ingest.archive.chain import StreamName
from ingest.archive.history import History
from ingest.archive.mover import Ages
from ingest.archive.verify import verify_stream
from ingest.columns import Item
from ingest.readers import Readers
from ingest.store import BEGINNING, EntryId

PARTITION = "p"
START_MS = 1_789_948_790_000  # ten seconds before a midnight
AGES = Ages(keep_ms=3_000, file_ms=2_000)
EXPECTED = Expected(("watch-0", "watch-1"), "notify", 60_000)


class Written(NamedTuple):
    """What was put into the two streams."""

    journal: list[Item]
    outbox: list[Item]


async def write_entries(store, draw: random.Random, count: int) -> Written:
    """Put entries of random size at random times into journal and, under their ids, outbox."""
    journal, outbox = [], []
    entry_id = EntryId(START_MS, 0)
    pipe = store.pipeline(transaction=False)
    for _ in range(count):
        step_ms = draw.choice((0, 0, 1, 7, 40, 250))
        ms = entry_id.ms + step_ms
        entry_id = EntryId(ms, entry_id.seq + 1 if step_ms == 0 else 0)
        kind = draw.choice(("frames", "tick", "signal", "command"))
        blob = b"" if kind == "tick" else draw.randbytes(draw.randrange(1, 400))
        journal.append(Item(entry_id, kind, blob))
        key = StreamName.JOURNAL.key(PARTITION)
        pipe.execute_command("XADD", key, str(entry_id), "v", "1", "k", kind, "b", blob)
        if draw.random() < 0.3:
            outputs = draw.randbytes(draw.randrange(1, 200))
            outbox.append(Item(entry_id, "outputs", outputs))
            key = StreamName.OUTBOX.key(PARTITION)
            pipe.execute_command("XADD", key, str(entry_id), "v", "1", "b", outputs)
    await pipe.execute()
    return Written(journal, outbox)


async def all_passed(store) -> None:
    """Every expected reader has read everything there is."""
    for name in EXPECTED.readers:
        end = EntryId(START_MS + 10**9, 0)
        await Readers(store).register(PARTITION, name, end, end)
    key = StreamName.OUTBOX.key(PARTITION)
    await store.execute_command("XGROUP", "CREATE", key, EXPECTED.group, "$", "MKSTREAM")
    await store.execute_command(
        *("XREADGROUP", "GROUP", EXPECTED.group, "one", "COUNT", 1, "STREAMS", key, ">")
    )


def archiver(store, root, ages=AGES, expected=EXPECTED) -> PartitionArchiver:
    return PartitionArchiver(store, root, PARTITION, ages, expected)


async def move_all(one: PartitionArchiver, at_ms: list[int], end_ms: int) -> None:
    """Let time go by until `end_ms`, in steps that make several files."""
    for now_ms in range(START_MS, end_ms + 1_000, 1_000):
        at_ms[0] = now_ms
        assert (await one.cycle()).faults == []


async def read_all(store, root, stream: StreamName, after=BEGINNING, until=None) -> list[Item]:
    """The sequence as readers get it."""
    found = []
    async for part in History(store, root, PARTITION).columns(stream, after, until):
        found += [part.item(k) for k in range(len(part))]
    return found


async def findings(store, root) -> list[str]:
    """What `verify` says about both streams."""
    found = []
    for stream in StreamName:
        checked = await verify_stream(store, root, PARTITION, stream)
        found += [str(one) for one in checked.findings]
    return found
