"""`afstand trace`: sends the traces of alarms to an OpenTelemetry collector.

An observer beside the service: it reads journal and outbox as they grow and writes nothing. Not
started, it costs nothing. Needs the extra `trace` (opentelemetry-sdk and its OTLP exporter); what
the exporter does can be set by the OTEL_EXPORTER_OTLP_* variables.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from afstand.config import Config
from afstand.limits import WATCH_READ_ENTRIES_MAX, WATCH_RETRY_S_MAX
from afstand.roles import open_store
from afstand.tail import wall_ms
from afstand.traces import Span, Traces
from afstand.watch.envelope import EnvelopeError, decode_envelope
from afstand.watch.fold import RECEIPT_FORMAT
from alerting.book.types import Receipt
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import Store, StoreUnavailableError

log = structlog.get_logger()
SERVICE: Final = "afstand"
_RECEIPT: Final = msgspec.msgpack.Decoder(tuple[int, Receipt])
Send = Callable[[Sequence[Span]], None]
"""Sends spans; may block; raises OSError."""


def as_lines(spans: Sequence[Span]) -> None:
    """Print each span as a JSON line."""
    for span in spans:
        named = span._asdict() | {"trace": f"{span.trace:032x}", "span": f"{span.span:016x}"}
        print(json.dumps(named | {"parent": f"{span.parent:016x}"}), flush=True)


def exporter(endpoint: str | None) -> Send:
    """Sends over OTLP/HTTP to `endpoint`, or where the environment says. Raises ImportError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415
    from opentelemetry.trace.status import Status, StatusCode  # noqa: PLC0415

    out = OTLPSpanExporter(endpoint=endpoint)
    resource = Resource.create({"service.name": SERVICE})
    kinds = {"alarm": SpanKind.SERVER, "intake": SpanKind.CONSUMER, "notify": SpanKind.PRODUCER}

    def context(trace: int, span: int) -> Any:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(trace, span, is_remote=False, trace_flags=flags)

    def readable(span: Span) -> ReadableSpan:
        status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK)
        return ReadableSpan(
            span.name,
            context=context(span.trace, span.span),
            parent=context(span.trace, span.parent) if span.parent else None,
            resource=resource,
            attributes=span.attributes,
            kind=kinds.get(span.name, SpanKind.INTERNAL),
            status=status,
            start_time=span.start_ms * 1_000_000,
            end_time=span.end_ms * 1_000_000,
        )

    def send(spans: Sequence[Span]) -> None:
        if out.export([readable(span) for span in spans]) is not SpanExportResult.SUCCESS:
            raise OSError("the collector did not take them")

    return send


async def follow(store: Store, partitions: Sequence[str], send: Send, stop: asyncio.Event) -> None:
    """Send the traces of all alarms from now on, until `stop`."""
    ends = []
    for partition in partitions:
        journal, outbox = Journal(store), Outbox(store)
        at = await journal.last_id(partition), await outbox.last_id(partition)
        ends.append(_Follower(partition, journal, outbox, at, send))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for end in ends for work in (end.outbox(), end.journal())]
        await stop.wait()
        for task in tasks:
            task.cancel()


class _Follower:
    """Follows both streams of one partition."""

    def __init__(
        self, partition: str, journal: Journal, outbox: Outbox, at: Any, send: Send
    ) -> None:
        self._partition = partition
        self._journal = journal
        self._outbox = outbox
        self._journal_at, self._outbox_at = at
        self._traces = Traces(partition)
        self._send = send

    async def outbox(self) -> None:
        """Follow what is decided."""
        while True:
            try:
                entries = await self._outbox.read(
                    self._partition, self._outbox_at, WATCH_READ_ENTRIES_MAX, 250
                )
            except StoreUnavailableError:
                await asyncio.sleep(WATCH_RETRY_S_MAX)
                continue
            now_ms = wall_ms()
            spans = list(self._traces.expired(now_ms))
            for entry in entries:
                self._outbox_at = entry.id
                try:
                    envelope = decode_envelope(entry.blob)
                except EnvelopeError as error:
                    log.warning("outbox entry passed over", entry=str(entry.id), reason=str(error))
                    continue
                spans += self._traces.decided(entry.id, envelope, now_ms)
            await self._give(spans)

    async def journal(self) -> None:
        """Follow the receipts."""
        while True:
            try:
                entries = await self._journal.read(
                    self._partition, self._journal_at, WATCH_READ_ENTRIES_MAX, 250
                )
            except StoreUnavailableError:
                await asyncio.sleep(WATCH_RETRY_S_MAX)
                continue
            spans: list[Span] = []
            for entry in entries:
                self._journal_at = entry.id
                if entry.kind is not EntryKind.RECEIPT:
                    continue
                try:
                    version, receipt = _RECEIPT.decode(entry.blob)
                except msgspec.MsgspecError:
                    continue  # the watch says so
                if version == RECEIPT_FORMAT:
                    spans += self._traces.receipt(receipt, entry.id.ms)
            await self._give(spans)

    async def _give(self, spans: list[Span]) -> None:
        if not spans:
            return
        try:
            await asyncio.to_thread(self._send, spans)
        except OSError as error:
            log.warning("traces not sent", spans=len(spans), problem=str(error))


async def run(config: Config, options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Follow until stopped."""
    send: Send = as_lines if options.print else exporter(options.otlp)
    async with open_store(config) as store:
        log.info("following alarms", partitions=len(config.partitions))
        await follow(store, config.partitions, send, stop)


def missing() -> str:
    """Why traces cannot be sent, empty when they can."""
    try:
        exporter(None)
    except ImportError as error:
        return f"{error}: install afstand[trace]"
    return ""


def main(config: Config, options: argparse.Namespace, runner: Any) -> int:
    """Run the command: 1 when the libraries are not there."""
    problem = "" if options.print else missing()
    if problem:
        print(problem, file=sys.stderr)
        return 1
    return int(runner(lambda stop: run(config, options, stop)))
