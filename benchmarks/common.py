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
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "numba", "llvmlite", "shapely", "pyproj", "msgspec", "redis", "aiohttp")

# Draws into a matplotlib Figure.
Plot = Callable[[Any], None]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """An argument parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    made.add_argument("--out", type=Path, default=Path("out"), help="folder of the plot (out)")
    return made


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
    """Versions of the interpreter and of the libraries that carry the load, and `more`."""
    found = {"afstand": _version("afstand"), "python": platform.python_version()}
    found |= {name: _version(name) for name in _PACKAGES}
    return {name: version for name, version in (found | more).items() if version}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def report(
    benchmark: str,
    figures: Mapping[str, float],
    rows: Sequence[Mapping[str, object]],
    plot: Plot | None,
    args: argparse.Namespace,
    **more_versions: str,
) -> None:
    """Print the table and the figures, draw the plot, write the JSON where it was asked for."""
    described, used = machine(), versions(**more_versions)
    cores, memory = described["cores"], described["memory_gib"]
    print(f"\n{benchmark}: {described['processor']}, {cores} cores, {memory} GiB,")
    print(f"load {described['load_1min']}, {described['system']}")
    print(", ".join(f"{name} {version}" for name, version in used.items()))
    print(f"\n{table(rows)}\n")
    for name, value in figures.items():
        print(f"{name:36} {_shown(value)}")
    if plot is not None:
        print(f"\nplot: {_draw(benchmark, plot, args.out)}")
    if args.json is not None:
        content = {
            "benchmark": benchmark,
            "machine": described,
            "versions": used,
            "figures": {name: _finite(value) for name, value in figures.items()},
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        print(f"figures: {args.json}")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of equal keys as text in aligned columns, numbers to the right."""
    if not rows:
        return ""
    names = list(rows[0])
    shown = [[_shown(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *shown]) for i in range(len(names))]
    numeric = [isinstance(rows[0][name], int | float) for name in names]
    lines = [names, ["-" * width for width in widths], *shown]
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
    plot(figure)
    path = folder / f"{benchmark}.png"
    figure.savefig(path, dpi=120)
    return path
