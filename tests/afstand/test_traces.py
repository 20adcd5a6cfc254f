"""One trace from the frame to the receipt, from what is on record, for every alarm."""

import argparse
import asyncio
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from afstand import tracing
from afstand.config import Config
from afstand.limits import TRACE_WAIT_MS_MAX
from afstand.outbox_source import JournalReceipts
from afstand.traces import Span, Traces, trace_id
from afstand.watch.envelope import Envelope, encode_envelope
from alerting.book.types import OUTPUT_FORMAT, Observation, Receipt, ReceiptStatus
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import EntryId, connect_store
from tests.alerting.notify_support import full_notice
from tests.servers import RedisServer

AT = EntryId(1_790_000_000_100, 3)
KEY = "0-1790000000100-3"


def envelope(*outputs, received_ms=AT.ms - 4) -> Envelope:
    return Envelope(1, OUTPUT_FORMAT, received_ms, list(outputs))


def receipt(index, status=ReceiptStatus.DELIVERED, target="meldkamer") -> Receipt:
    return Receipt(key=f"{KEY}-{index}", status=status, target=target, at_ms=0)


def stages(spans: list[Span]) -> list[tuple[str, int, int, str]]:
    return [(span.name, span.start_ms - AT.ms, span.end_ms - AT.ms, span.error) for span in spans]


def test_a_frame_is_followed_to_its_receipt_in_one_trace():
    traces = Traces("0")
    note = Observation(kind="x", reason="y", at_ms=AT.ms)
    spans = [*traces.decided(AT, envelope(note, full_notice(), full_notice()), AT.ms + 2)]
    assert stages(spans) == [("intake", -4, 0, ""), ("watch", 0, 2, "")]
    spans += traces.receipt(receipt(1), AT.ms + 9)
    assert stages(spans[2:]) == [("notify", 2, 9, "")]
    spans += traces.receipt(receipt(2, ReceiptStatus.ACKNOWLEDGED), AT.ms + 40)
    assert stages(spans[3:]) == [("notify", 2, 40, ""), ("alarm", -4, 40, "")]
    spans += traces.receipt(receipt(1, ReceiptStatus.ACKNOWLEDGED), AT.ms + 5_000)
    assert stages(spans[5:]) == [("acknowledge", 9, 5_000, "")]

    root = spans[4]
    assert {span.trace for span in spans} == {trace_id(KEY)}
    assert {span.parent for span in spans if span is not root} == {root.span}
    assert root.parent == 0
    assert len({span.span for span in spans}) == len(spans)
    assert [*traces.receipt(receipt(1, ReceiptStatus.ACKNOWLEDGED), AT.ms + 6_000)] == []


def test_what_is_decided_without_notices_has_no_trace():
    note = Observation(kind="x", reason="y", at_ms=AT.ms)
    assert [*Traces("0").decided(AT, envelope(note), AT.ms)] == []


def test_a_step_that_time_decides_begins_with_its_entry():
    spans = [*Traces("0").decided(AT, envelope(full_notice(), received_ms=0), AT.ms + 1)]
    assert stages(spans) == [("watch", 0, 1, "")]


def test_a_receipt_that_is_read_before_its_decision_counts():
    traces = Traces("0")
    assert [*traces.receipt(receipt(0), AT.ms + 9)] == []
    spans = [*traces.decided(AT, envelope(full_notice()), AT.ms + 12)]
    # Seen after it had been delivered: the times are those of whoever looked, never negative.
    assert [span.name for span in spans] == ["intake", "watch", "notify", "alarm"]
    assert all(span.start_ms <= span.end_ms for span in spans)


@pytest.mark.parametrize("status", [ReceiptStatus.FAILED, ReceiptStatus.REFUSED])
def test_a_notice_that_failed_makes_its_trace_an_error(status):
    traces = Traces("0")
    [*traces.decided(AT, envelope(full_notice(), full_notice()), AT.ms)]
    [*traces.receipt(receipt(1, status), AT.ms + 7)]
    spans = [*traces.receipt(receipt(0), AT.ms + 8)]
    assert stages(spans) == [("notify", 0, 8, ""), ("alarm", -4, 8, status.value)]


def test_a_notice_without_receipt_is_given_up():
    traces = Traces("0")
    [*traces.decided(AT, envelope(full_notice()), AT.ms)]
    assert [*traces.expired(AT.ms + TRACE_WAIT_MS_MAX - 1)] == []
    spans = [*traces.expired(AT.ms + TRACE_WAIT_MS_MAX)]
    assert [(span.name, span.error) for span in spans] == [
        ("notify", "no-receipt"), ("alarm", "no-receipt"),
    ]  # fmt: skip


def test_what_is_kept_has_a_bound(monkeypatch):
    monkeypatch.setattr("afstand.traces.TRACE_OPEN_MAX", 50)
    traces = Traces("0")
    spans: list[Span] = []
    for number in range(53):
        spans += traces.decided(EntryId(AT.ms, number), envelope(full_notice()), AT.ms)
        [*traces.receipt(Receipt(key=f"0-1-{number}-0", status=ReceiptStatus.DELIVERED,
                                 target="x", at_ms=0), AT.ms)]  # fmt: skip
    assert sum(span.name == "alarm" for span in spans) == 3
    assert len(traces._early) == 50


def test_a_trace_says_nothing_of_persons_and_places():
    traces = Traces("0")
    spans = [*traces.decided(AT, envelope(full_notice(detail="Jansen")), AT.ms)]
    spans += traces.receipt(receipt(0), AT.ms + 1)
    text = str([span.attributes for span in spans])
    for secret in ("wearer-4", "protected-9", "em-4", "51923", "4481", "519", "Jansen", "412"):
        assert secret not in text.replace(KEY, "").replace(str(AT), ""), secret


class Collector(BaseHTTPRequestHandler):
    """Keeps what an exporter sends."""

    taken: ClassVar[list[ExportTraceServiceRequest]] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            raise NotImplementedError
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.servers
async def test_a_collector_gets_one_trace_of_what_went_through_the_store(tmp_path):
    Collector.taken = []
    collector = HTTPServer(("127.0.0.1", 0), Collector)
    serving = Thread(target=collector.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    stop = asyncio.Event()
    try:
        with RedisServer(tmp_path / "redis") as redis:
            store = connect_store(redis.url)
            send = tracing.exporter(f"http://127.0.0.1:{collector.server_port}/v1/traces")
            following = asyncio.create_task(tracing.follow(store, ["0"], send, stop))
            await asyncio.sleep(0.1)
            at = await Journal(store).append("0", EntryKind.TICK, b"")
            await Outbox(store).append("0", at, encode_envelope(at.ms - 3, [full_notice()]))
            said = Receipt(
                key=f"0-{at}-0", status=ReceiptStatus.DELIVERED, target="meldkamer", at_ms=at.ms
            )
            await JournalReceipts(Journal(store), ["0"])(said)
            async with asyncio.timeout(20):
                while sum(len(names(one)) for one in Collector.taken) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            stop.set()
            await following
            await store.aclose()
    finally:
        collector.shutdown()
        collector.server_close()
        serving.join()
    spans = [span for request in Collector.taken for span in spans_of(request)]
    assert sorted(span.name for span in spans) == ["alarm", "intake", "notify", "watch"]
    assert {span.trace_id for span in spans} == {trace_id(f"0-{at}").to_bytes(16)}
    (root,) = (span for span in spans if not span.parent_span_id)
    assert root.name == "alarm"
    assert root.start_time_unix_nano == (at.ms - 3) * 1_000_000
    assert all(span.parent_span_id == root.span_id for span in spans if span is not root)


def spans_of(request):
    return [span for one in request.resource_spans for scope in one.scope_spans
            for span in scope.spans]  # fmt: skip


def names(request):
    return [span.name for span in spans_of(request)]


def test_spans_are_printed_as_lines(capsys):
    tracing.as_lines([*Traces("0").decided(AT, envelope(full_notice()), AT.ms)])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["trace"] == second["trace"] == f"{trace_id(KEY):032x}"


def test_without_the_libraries_the_command_says_what_to_install(capsys, monkeypatch):
    def gone(_):
        raise ImportError("No module named 'opentelemetry'")

    monkeypatch.setattr(tracing, "exporter", gone)
    options = argparse.Namespace(print=False, otlp=None)
    assert tracing.main(Config(), options, None) == 1
    assert "install afstand[trace]" in capsys.readouterr().err
