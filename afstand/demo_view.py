"""What the demo shows in the terminal: a live page, or lines where there is no terminal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from afstand.demo_state import Delivered, DemoState, Row, milliseconds
from afstand.tail import Samples
from alerting.book.types import Priority

PERCENTILES: Final = (50.0, 95.0, 99.0)
DELIVERIES_SHOWN: Final = 12
INCIDENTS_SHOWN: Final = 10


def clock(at_ms: int) -> str:
    """Local time of day with tenths of a second."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-5]


class Rate:
    """Fixes per second over the last few looks."""

    def __init__(self) -> None:
        self._looks: list[tuple[int, int]] = []

    def look(self, now_ms: int, count: int) -> float:
        """The rate over the last ten seconds."""
        self._looks = [look for look in self._looks if now_ms - look[0] <= 10_000]
        self._looks.append((now_ms, count))
        first_ms, first = self._looks[0]
        return 1000 * (count - first) / (now_ms - first_ms) if now_ms > first_ms else 0.0


def page(state: DemoState, now_ms: int, rate: float, connected: int, parts: str) -> Group:
    """The live page."""
    elapsed_s = max(0, now_ms - state.start_ms) // 1000
    head = (
        f"{parts}   {elapsed_s} s   {connected} devices connected   "
        f"[bold]{rate:.1f}[/] fixes/s   {state.tail.fixes} fixes in all"
    )
    return Group(
        Panel(head, title="Afstand demo, Ctrl-C ends it"),
        _latency_table(state),
        _incident_table(state),
        _delivery_table(state.deliveries[-DELIVERIES_SHOWN:]),
    )


def _latency_table(state: DemoState) -> Table:
    table = Table(title="Latency in ms", expand=True)
    table.add_column("stage")
    for name in ("p50", "p95", "p99", "samples"):
        table.add_column(name, justify="right")
    stages: list[tuple[str, Samples]] = [
        ("intake: read from the broker -> durable in the journal", state.tail.intake),
        ("watch: journal -> seen in the outbox", state.tail.watch),
        ("delivery: journal -> receiver has it", state.delivery),
        ("whole: read from the broker -> receiver has it", state.total),
    ]
    for name, samples in stages:
        figures = [milliseconds(value) for value in samples.percentiles(*PERCENTILES)]
        table.add_row(name, *figures, str(len(samples)))
    return table


def _incident_table(state: DemoState) -> Table:
    incidents = list(state.tail.incidents.values())
    table = Table(title=f"{len(incidents)} open incidents", expand=True)
    for name in ("incident", "priority", "who", "alarms", "since"):
        table.add_column(name)
    rank: dict[Priority | None, int] = {each: place for place, each in enumerate(Priority)}
    urgent = sorted(incidents, key=lambda one: (rank.get(one.priority, 9), one.opened_at_ms))
    for incident in urgent[:INCIDENTS_SHOWN]:
        colour = "red" if incident.priority is Priority.CRITICAL else ""
        who = " - ".join(one for one in (incident.wearer_id, incident.protected_id) if one)
        table.add_row(
            incident.incident_id,
            incident.priority or "-",
            who or incident.subject,
            ", ".join(incident.alarm_classes),
            clock(incident.opened_at_ms),
            style=colour,
        )
    return table


def _delivery_table(deliveries: Sequence[Delivered]) -> Table:
    table = Table(title="What receivers got", expand=True)
    for name in ("at", "receiver", "alarm", "purpose", "incident", "ms"):
        table.add_column(name)
    for one in deliveries:
        latency = milliseconds(one.latency_ms)
        table.add_row(
            clock(one.at_ms), one.receiver, one.alarm_class, one.purpose, one.incident, latency
        )
    return table


def line(one: Delivered) -> str:
    """A delivery in one line."""
    latency = milliseconds(one.latency_ms)
    return (
        f"{clock(one.at_ms)}  {one.receiver:18} {one.alarm_class:14} {one.purpose:11} "
        f"{one.incident}  {latency} ms"
    )


def summary(console: Console, rows: Sequence[Row], state: DemoState) -> bool:
    """Print what became of each true event; True when every receiver got what it had to get."""
    table = Table(title="True events and who was told")
    for name in ("event", "person", "truly at", "receiver", "arrived", "broker -> receiver, ms"):
        table.add_column(name)
    for row in rows:
        arrived = clock(row.arrived_ms) if row.arrived_ms is not None else "NOT DELIVERED"
        table.add_row(
            row.event,
            row.person,
            clock(row.truly_ms),
            row.receiver,
            arrived,
            milliseconds(row.latency_ms),
            style="" if row.arrived_ms is not None else "bold red",
        )
    console.print(table)
    console.print(_latency_table(state))
    delivered = [row for row in rows if row.arrived_ms is not None]
    kinds = len({row.event for row in delivered})
    console.print(
        f"{state.tail.fixes} fixes, {len(state.tail.notices)} notices, "
        f"{len(delivered)} of {len(rows)} expected deliveries arrived, {kinds} kinds of event"
    )
    return bool(rows) and len(delivered) == len(rows)
