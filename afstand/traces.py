"""Traces of alarms, from the frame to the receipt, put together from what is on record.

Nothing in the service makes spans. An outbox entry has the id of the journal entry it follows from,
and a receipt names the notice by partition, entry and index; so whoever reads both streams knows
the whole way, and the ids of trace and spans follow from the same names: every observer gives the
same ones. Nothing here reads a clock.

    alarm            from the first byte at the intake to the last receipt
      intake         until the frame was durable (the journal's time of its entry)
      watch          until the decision was seen in the outbox
      notify         one per notice: until its receiver had it, refused it, or it was given up
      acknowledge    until somebody took it on
"""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from afstand.limits import TRACE_OPEN_MAX, TRACE_WAIT_MS_MAX
from afstand.watch.envelope import Envelope, entry_key, output_key
from alerting.book.types import Notice, Receipt, ReceiptStatus
from ingest.store import EntryId

_BAD: Final = (ReceiptStatus.FAILED, ReceiptStatus.REFUSED)
NO_RECEIPT: Final = "no-receipt"


class Span(NamedTuple):
    """One stage. Times are Unix ms; `parent` 0 is the root; `error` says why it failed."""

    trace: int
    span: int
    parent: int
    name: str
    start_ms: int
    end_ms: int
    attributes: dict[str, str | int | bool]
    error: str = ""


class _Open(NamedTuple):
    """A notice without its last word: when it was decided, and since when its stage lasts."""

    entry: str
    since_ms: int
    notice: Notice
    delivered: bool


class _Alarm:
    """An entry whose notices are on their way."""

    def __init__(self, start_ms: int, attributes: dict[str, str | int | bool]) -> None:
        self.start_ms = start_ms
        self.end_ms = start_ms
        self.attributes = attributes
        self.waiting: set[str] = set()
        self.error = ""


def _number(name: str, size: int) -> int:
    return int.from_bytes(
        blake2b(name.encode(), digest_size=size, person=b"afstand/trace").digest()
    )


def trace_id(entry: str) -> int:
    """The 128-bit id of the trace of an entry, `{partition}-{id}`."""
    return _number(entry, 16)


class Traces:
    """The traces of one partition; spans come out as soon as they are whole."""

    def __init__(self, partition: str) -> None:
        self._partition = partition
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._alarms: dict[str, _Alarm] = {}
        # A receipt may be read before the outbox entry that it answers.
        self._early: OrderedDict[str, list[tuple[Receipt, int]]] = OrderedDict()

    def decided(self, entry_id: EntryId, envelope: Envelope, seen_ms: int) -> Iterator[Span]:
        """Take an outbox entry that was seen at `seen_ms`; without notices it has no trace."""
        notices = {
            output_key(self._partition, entry_id, index): output
            for index, output in enumerate(envelope.outputs)
            if isinstance(output, Notice)
        }
        if not notices:
            return
        entry, at_ms = entry_key(self._partition, entry_id), entry_id.ms
        first = next(iter(notices.values()))
        cause = "frame" if envelope.received_ms else "time"
        alarm = _Alarm(
            min(envelope.received_ms or at_ms, at_ms),
            {
                "afstand.partition": self._partition,
                "afstand.entry": str(entry_id),
                "afstand.cause": cause,
                "afstand.incident": first.incident_id,
                "afstand.alarm_class": first.alarm_class.value,
                "afstand.drill": first.drill,
            },
        )
        alarm.waiting = set(notices)
        self._alarms[entry] = alarm
        if envelope.received_ms:
            yield self._span(entry, "intake", alarm.start_ms, at_ms, {})
        decided_ms = max(at_ms, seen_ms)
        yield self._span(entry, "watch", at_ms, decided_ms, {})
        alarm.end_ms = decided_ms
        for key, notice in notices.items():
            self._open[key] = _Open(entry, decided_ms, notice, delivered=False)
            for receipt, said_ms in self._early.pop(key, ()):
                yield from self.receipt(receipt, said_ms)
        while len(self._open) > TRACE_OPEN_MAX:
            yield from self._give_up(next(iter(self._open)), decided_ms)

    def receipt(self, receipt: Receipt, at_ms: int) -> Iterator[Span]:
        """Take a receipt of the journal, written at `at_ms`."""
        found = self._open.get(receipt.key)
        if found is None:
            self._early.setdefault(receipt.key, []).append((receipt, at_ms))
            if len(self._early) > TRACE_OPEN_MAX:
                self._early.popitem(last=False)
            return
        if found.delivered and receipt.status is not ReceiptStatus.ACKNOWLEDGED:
            return  # a copy
        name = "acknowledge" if found.delivered else "notify"
        error = receipt.status.value if receipt.status in _BAD else ""
        end_ms = max(at_ms, found.since_ms)
        yield self._stage(receipt.key, found, name, end_ms, receipt.status.value, error)
        if receipt.status is ReceiptStatus.DELIVERED:
            self._open[receipt.key] = found._replace(since_ms=end_ms, delivered=True)
        else:
            del self._open[receipt.key]
        yield from self._settled(found.entry, receipt.key, end_ms, error)

    def expired(self, now_ms: int) -> Iterator[Span]:
        """Give up what has waited for too long."""
        late_ms = now_ms - TRACE_WAIT_MS_MAX
        while self._open:
            key, found = next(iter(self._open.items()))
            if found.since_ms > late_ms:
                return
            yield from self._give_up(key, now_ms)

    def _give_up(self, key: str, now_ms: int) -> Iterator[Span]:
        found = self._open.pop(key)
        if found.delivered:
            return  # nobody had to take it on, or nobody did: the alarm book says so
        yield self._stage(key, found, "notify", now_ms, NO_RECEIPT, NO_RECEIPT)
        yield from self._settled(found.entry, key, now_ms, NO_RECEIPT)

    def _settled(self, entry: str, key: str, end_ms: int, error: str) -> Iterator[Span]:
        """Give the root when the last notice has its first receipt."""
        alarm = self._alarms.get(entry)
        if alarm is None:
            return
        alarm.waiting.discard(key)
        alarm.end_ms = max(alarm.end_ms, end_ms)
        alarm.error = alarm.error or error
        if alarm.waiting:
            return
        del self._alarms[entry]
        yield Span(
            trace_id(entry),
            _number(f"{entry}/alarm", 8),
            0,
            "alarm",
            alarm.start_ms,
            alarm.end_ms,
            alarm.attributes,
            alarm.error,
        )

    def _stage(
        self, key: str, found: _Open, name: str, end_ms: int, status: str, error: str
    ) -> Span:
        notice = found.notice
        attributes: dict[str, str | int | bool] = {
            "afstand.notice": key,
            "afstand.target": notice.target,
            "afstand.purpose": notice.purpose.value,
            "afstand.step": notice.step,
            "afstand.status": status,
        }
        return self._span(found.entry, name, found.since_ms, end_ms, attributes, error, key)

    def _span(
        self,
        entry: str,
        name: str,
        start_ms: int,
        end_ms: int,
        attributes: dict[str, str | int | bool],
        error: str = "",
        key: str = "",
    ) -> Span:
        parent = _number(f"{entry}/alarm", 8)
        span = _number(f"{entry}/{name}/{key}", 8)
        return Span(
            trace_id(entry), span, parent, name, start_ms, max(start_ms, end_ms), attributes, error
        )
