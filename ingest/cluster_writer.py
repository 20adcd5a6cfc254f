"""A writer for journals that lie on the nodes of a cluster: one write and one connection per node.

The outcomes are those of `Journal.append_many`, but that a node that fails takes down only what is
its own: whoever waits for it waits a second at most, and then not again until it has answered. What
it does with that write is unknown then, as with a connection that broke; copies are harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from afstand.limits import STORE_NODE_PATIENCE_S
from ingest.journal import Append
from ingest.resp import Address, RespWriter
from ingest.store import EntryId, StoreUnavailableError, journal_key
from ingest.where import Where

Written = EntryId | StoreUnavailableError
Answered = tuple[list[Written], list[Any]]
Node = tuple[str, int]


class ClusterWriter:
    """Appends to journals of any node. `writer_of` makes the writer for one."""

    def __init__(self, where: Where, writer_of: Callable[[Address], RespWriter]) -> None:
        self._where = where
        self._writer_of = writer_of
        self._writers: dict[Node, RespWriter] = {}
        self._under_way: dict[Node, asyncio.Task[Answered]] = {}

    async def append_many(
        self, appends: Sequence[Append], also: Sequence[tuple[Any, ...]] = ()
    ) -> Answered:
        """See `Journal.append_many`; the key of a command of `also` is its first argument."""
        keys = [journal_key(append.partition) for append in appends]
        keys += [str(args[1]) for args in also]
        nodes = [await self._where.of(key) for key in keys]
        results: list[Any] = [None] * len(keys)
        groups: dict[Node, list[int]] = {}
        for place, node in enumerate(nodes):
            groups.setdefault((node.host, node.port), []).append(place)
        await asyncio.gather(
            *(self._write(nodes[mine[0]], mine, appends, also, results) for mine in groups.values())
        )
        if any(isinstance(result, StoreUnavailableError) for result in results):
            self._where.stale()  # a slot may have moved, a replica may stand in
        return results[: len(appends)], results[len(appends) :]

    async def _write(
        self,
        node: Address,
        mine: list[int],
        appends: Sequence[Append],
        also: Sequence[tuple[Any, ...]],
        results: list[Any],
    ) -> None:
        name = node.host, node.port
        writer = self._writers.get(name)
        if writer is None:
            writer = self._writers[name] = self._writer_of(node)
        count = len(appends)
        try:
            written, answers = await self._answer(
                name,
                writer,
                [appends[place] for place in mine if place < count],
                [also[place - count] for place in mine if place >= count],
            )
        except StoreUnavailableError as error:
            for place in mine:
                results[place] = error
            return
        for place, result in zip(mine, [*written, *answers], strict=True):
            results[place] = result

    async def _answer(
        self,
        name: Node,
        writer: RespWriter,
        appends: Sequence[Append],
        also: Sequence[tuple[Any, ...]],
    ) -> Answered:
        before = self._under_way.get(name)
        if before is not None and not before.done():
            raise StoreUnavailableError(f"{name}: an earlier write is not answered")
        task = asyncio.create_task(writer.append_many(appends, also))
        self._under_way[name] = task
        done, _ = await asyncio.wait({task}, timeout=STORE_NODE_PATIENCE_S)
        if not done:
            task.add_done_callback(_let_go)
            raise StoreUnavailableError(f"{name}: no answer within {STORE_NODE_PATIENCE_S} s")
        return task.result()

    async def aclose(self) -> None:
        """Close all connections."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        for writer in self._writers.values():
            await writer.aclose()
        self._writers.clear()
        await self._where.aclose()


def _let_go(task: asyncio.Task[Answered]) -> None:
    """Nobody waits for this one any more; what it says is not news."""
    if not task.cancelled():
        task.exception()
