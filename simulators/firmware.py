"""Compiles the C device kit of `firmware_contracts/` for this machine."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

KIT: Final = Path(__file__).resolve().parent.parent / "firmware_contracts"
INCLUDE: Final = KIT / "include"
SOURCES: Final = KIT / "c"
HOST: Final = SOURCES / "host"
# What a warning is worth in code that others build into their product: it stops the build.
STRICT: Final = (
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
)
SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_BUILD_TIMEOUT_S: Final = 120


class BuildError(RuntimeError):
    """The compiler is missing or refused; the message is what it said."""


def kit_sources() -> list[Path]:
    """The kit's own source files."""
    return sorted(SOURCES.glob("*.c"))


def compiler() -> str:
    """The C compiler of this machine. Raises BuildError."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise BuildError("no C compiler: install gcc")
    return found


def build(program: Path, source: Path, *, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Compile `source` with the kit, strictly, to `program`; return it. Raises BuildError."""
    program.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler(), *STRICT, *flags, "-I", str(INCLUDE), "-o", str(program), str(source)]
    command += map(str, kit_sources())
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_BUILD_TIMEOUT_S
    )
    if done.returncode:
        raise BuildError(done.stderr[:4000])
    return program
