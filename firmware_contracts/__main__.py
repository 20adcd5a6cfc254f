"""`python -m firmware_contracts [--check]`: write, or compare, what is generated from the table.

The table itself is compared with golden/v1/table.json first: what would break a device in the field
is refused, and nothing is written.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firmware_contracts.asyncapi import asyncapi
from firmware_contracts.c_header import c_header
from firmware_contracts.compatibility import breaking, described
from firmware_contracts.markdown import markdown

ROOT = Path(__file__).resolve().parent.parent


def golden_path(root: Path) -> Path:
    """Give where the published table of version 1 stands."""
    return root / "firmware_contracts" / "golden" / "v1" / "table.json"


def generated(root: Path) -> dict[Path, str]:
    """Give every generated file of the source tree at `root` with the text it must have."""
    makers = root / "docs" / "device-makers"
    return {
        golden_path(root): _json(described()),
        root / "firmware_contracts" / "include" / "afstand_v1.h": c_header(),
        makers / "contract-v1.md": markdown(),
        makers / "asyncapi.json": _json(asyncapi()),
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write the files; with --check write nothing and return 1 when one of them differs.

    Returns 2, and writes nothing, when the table breaks what was published.
    """
    golden = golden_path(root)
    if golden.is_file():
        broken = breaking(json.loads(golden.read_text(encoding="utf-8")), described())
        for line in broken:
            sys.stdout.write(f"BREAKS version 1: {line}\n")
        if broken:
            return 2
    different = 0
    for path, text in generated(root).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        different += 1
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{'differs' if '--check' in arguments else 'wrote'} {path.name}\n")
    return 1 if different and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
