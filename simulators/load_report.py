"""What a load run came to: figures, a line of progress, a table, a plot."""

import time
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulators.geo import Floats
from simulators.load import LoadRecord

PERCENTILES: Final = (50.0, 99.0, 99.9)


class PhaseResult(NamedTuple):
    """One phase: what was planned, what became of it, and what it cost this process."""

    fixes_planned: int
    messages: int
    fixes: int
    sent: int
    acked: int
    refused: int
    elapsed_s: float
    cpu_s: float
    latency_ms: Floats  # from the planned instant to the PUBACK
    acked_s: Floats  # after the start of the phase

    @property
    def fixes_per_s(self) -> float:
        """Fixes acknowledged per second, from the first write to the last PUBACK."""
        return self.fixes / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def cpu_us_per_fix(self) -> float:
        """Processor time of this process per fix."""
        return 1e6 * self.cpu_s / self.fixes if self.fixes else float("nan")


def phase_result(
    record: LoadRecord, panic: npt.NDArray[np.bool_], fixes_per_frame: int, cpu_s: float
) -> PhaseResult:
    """Sum a record up."""
    done = record.acked_ns > 0
    written = record.sent_ns[record.sent_ns > 0]
    first = int(written.min()) if len(written) else 0
    last = int(record.acked_ns.max(initial=0))
    return PhaseResult(
        int((~panic).sum()) * fixes_per_frame,
        len(panic),
        int((done & ~panic).sum()) * fixes_per_frame,
        record.sent,
        record.acked,
        record.refused,
        max(0.0, (last - first) / 1e9),
        cpu_s,
        (record.acked_ns[done] - record.due_ns[done]) / 1e6,
        (record.acked_ns[done] - record.started_ns) / 1e9,
    )


class ProgressLine:
    """A line a second: how far it is, and how fast since the line before."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._before = 0
        self._at_s = time.monotonic()

    def line(self, record: LoadRecord, done_before: int) -> str:
        """Make the next line."""
        now_s = time.monotonic()
        acked = done_before + record.acked
        rate = (acked - self._before) / max(1e-9, now_s - self._at_s)
        self._before, self._at_s = acked, now_s
        share = 100 * acked / max(1, self._total)
        waiting = record.sent - record.acked
        return (
            f"{share:5.1f} %  {acked:>10,} of {self._total:,} acknowledged"
            f"  {rate:>8,.0f}/s  {waiting:,} on their way"
        )


def rows(results: list[PhaseResult]) -> list[dict[str, object]]:
    """The table: a row per phase."""
    found: list[dict[str, object]] = []
    for number, one in enumerate(results, 1):
        row: dict[str, object] = {
            "phase": number,
            "messages": one.messages,
            "acknowledged": one.acked,
            "refused": one.refused,
            "fixes/s": one.fixes_per_s,
        }
        row |= dict(zip(("p50 ms", "p99 ms", "p99.9 ms"), percentiles(one), strict=True))
        row["max ms"] = float(one.latency_ms.max(initial=0.0))
        row["cpu us/fix"] = one.cpu_us_per_fix
        found.append(row)
    return found


def percentiles(one: PhaseResult) -> list[float]:
    """p50, p99 and p99.9 of the latency in ms; NaN without a PUBACK."""
    if not len(one.latency_ms):
        return [float("nan")] * len(PERCENTILES)
    return [float(value) for value in np.percentile(one.latency_ms, PERCENTILES)]


def figures(results: list[PhaseResult]) -> dict[str, float]:
    """The figures of the whole run."""
    fixes = sum(one.fixes for one in results)
    elapsed_s = sum(one.elapsed_s for one in results)
    cpu_s = sum(one.cpu_s for one in results)
    lost = sum(one.messages - one.acked for one in results)
    return {
        "fixes_per_s": fixes / elapsed_s if elapsed_s else 0.0,
        "us_per_fix": 1e6 * cpu_s / fixes if fixes else float("nan"),
        "fixes": float(fixes),
        "messages_not_acknowledged": float(lost),
        "messages_refused": float(sum(one.refused for one in results)),
        "p99_ms": max((percentiles(one)[1] for one in results), default=float("nan")),
    }


def plot(figure: Any, results: list[PhaseResult]) -> None:
    """Draw PUBACKs per second, and the latency's median and 99th percentile, over time."""
    above, below = figure.subplots(2, 1, sharex=True)
    begins = 0.0
    for one in results:
        if len(one.acked_s):
            seconds = one.acked_s.astype(int)
            counts = np.bincount(seconds)
            above.step(begins + np.arange(len(counts)), counts, where="post", color="C0")
            for percent, colour in ((50.0, "C0"), (99.0, "C3")):
                line = [
                    np.percentile(one.latency_ms[seconds == second], percent)
                    if counts[second]
                    else np.nan
                    for second in range(len(counts))
                ]
                below.plot(begins + np.arange(len(counts)), line, color=colour)
        begins += one.elapsed_s
    above.set_ylabel("PUBACKs per second")
    below.set_ylabel("planned instant to PUBACK, ms\nmedian, 99 %")
    below.set_yscale("log")
    below.set_xlabel("seconds")
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.3)
