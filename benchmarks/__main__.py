"""`python -m benchmarks NAME [options]`: runs a benchmark; without a name, lists them."""

import importlib
import pkgutil
import signal
import sys
from types import FrameType

import benchmarks

_HELPERS = {
    "__main__", "common", "intervals", "oracle", "peers", "rules", "scoring", "serving", "shares",
    "town", "week_room", "week_world",
}  # fmt: skip


def names() -> list[str]:
    """The benchmarks of this folder."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if name not in _HELPERS and not name.startswith("_"))


def main(argv: list[str]) -> int:
    """Dispatch; the exit code of the benchmark, 2 for an unknown name."""
    if not argv or argv[0] in {"-h", "--help"}:
        print("usage: python -m benchmarks NAME [options]\n")
        for name in names():
            text = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
            print(f"  {name:12} {text.strip().splitlines()[0]}")
        return 0
    if argv[0] not in names():
        print(f"no benchmark {argv[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    # A shell lets what runs in the background ignore the first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        code = importlib.import_module(f"benchmarks.{argv[0]}").main(argv[1:])
    except KeyboardInterrupt:
        print(f"{argv[0]}: cut off; what it had started is stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return int(code or 0)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    """`timeout` cuts off as Ctrl-C does: every block is left in order, and stops what it started.

    Without it the process would be gone at once, and its servers would run on.
    """
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
