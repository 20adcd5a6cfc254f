"""Prometheus' own tool, and the rules that are shipped for it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "afstand.rules.yml").read_text())["groups"][0]["rules"]


def promtool() -> str:
    """The promtool of this machine; skips the test when there is none."""
    beside = ROOT / ".venv" / "promtool"
    found = shutil.which("promtool") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip("promtool is not installed on this machine (Debian package: prometheus)")
    return found


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it, and give what it said."""
    return subprocess.run(
        [promtool(), *map(str, arguments)], capture_output=True, text=True, check=False
    )
