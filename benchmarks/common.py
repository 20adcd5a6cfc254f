"""What every benchmark shares: options, the machine's description, the report.

A benchmark is a module of this folder with `main(argv) -> int`. It measures, then reports: a table,
a plot and, with --json FILE, the figures that acceptance compares:
{"benchmark", "machine", "versions", "figures": {name: number}}.
"""

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "numba", "llvmlite", "shapely", "pyproj", "msgspec", "redis", "aiohttp")

# Draws into the axes of one matplotlib figure.
Plot = Callable[[Any], None]


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the plot (out)")


def data_folder() -> Path:
    """The folder of real data; ends the program with advice where there is none."""
    value = os.environ.get("AFSTAND_DATA")
    if not value or not Path(value).is_dir():
        sys.exit("this benchmark measures real data: set AFSTAND_DATA to its folder")
    return Path(value)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions(**more: str) -> dict[str, str]:
    """Versions of the interpreter and the libraries that carry the load, and what the caller adds."""
    found = {"afstand": _version("afstand"), "python": platform.python_version()}
    found |= {name: _version(name) for name in _PACKAGES}
    return {name: version for name, version in (found | more).items() if version}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Report:
    """The outcome of one benchmark; `versions` adds to those of our libraries."""

    benchmark: str
    figures: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=dict)

    def write(
        self,
        options: argparse.Namespace,
        *,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        plot: Plot | None = None,
    ) -> None:
        """Print the table and the figures, draw the plot, write the JSON where it was asked for."""
        described, used = machine(), versions(**self.versions)
        cores, memory = described["cores"], described["memory_gib"]
        print(f"\n{self.benchmark}: {described['processor']}, {cores} cores, {memory} GiB,")
        print(f"load {described['load_1min']}, {described['system']}")
        print(", ".join(f"{name} {version}" for name, version in used.items()))
        print(f"\n{table(columns, rows)}\n")
        for name, value in self.figures.items():
            print(f"{name:36} {_shown(value)}")
        if plot is not None:
            print(f"\nplot: {_draw(self.benchmark, plot, options.out)}")
        if options.json is not None:
            content = {
                "benchmark": self.benchmark,
                "machine": described,
                "versions": used,
                "figures": {name: _finite(value) for name, value in self.figures.items()},
            }
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
            print(f"figures: {options.json}")


def report(
    benchmark: str,
    figures: Mapping[str, float],
    rows: Sequence[Mapping[str, object]],
    plot: Plot | None,
    args: argparse.Namespace,
    **more_versions: str,
) -> None:
    """Write a report whose rows are mappings with the same keys."""
    columns = list(rows[0]) if rows else []
    lines = [[row.get(name, "") for name in columns] for row in rows]
    Report(benchmark, figures, more_versions).write(args, columns=columns, rows=lines, plot=plot)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as text in aligned columns, numbers to the right."""
    shown = [[_shown(value) for value in row] for row in rows]
    lines = [list(columns), *shown]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows or [()])[0]]
    numeric += [False] * (len(columns) - len(numeric))
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _draw(benchmark: str, plot: Plot, folder: Path) -> Path:
    import matplotlib as mpl  # noqa: PLC0415 - a second, and only for those who draw

    mpl.use("agg")
    from matplotlib.figure import Figure  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    plot(figure.subplots())
    path = folder / f"{benchmark}.png"
    figure.savefig(path, dpi=120)
    return path
