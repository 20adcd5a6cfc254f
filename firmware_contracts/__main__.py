"""`python -m firmware_contracts [--check]`: write, or compare, what is generated from the table."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware_contracts.asyncapi import asyncapi
from firmware_contracts.c_header import c_header
from firmware_contracts.markdown import markdown


def generated(root: Path) -> dict[Path, str]:
    """Give every generated file of the source tree at `root` with the text it must have."""
    makers = root / "docs" / "device-makers"
    return {
        root / "firmware_contracts" / "include" / "afstand_v1.h": c_header(),
        makers / "contract-v1.md": markdown(),
        makers / "asyncapi.json": json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files; with --check write nothing and return 1 when one of them differs."""
    different = 0
    for path, text in generated(Path(__file__).resolve().parent.parent).items():
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
