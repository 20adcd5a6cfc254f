"""What every test may use: the real data, and the seed of this run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

SEED_FIXED = 20_261_121


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real zones, tracks and conformance files."""
    folder = os.environ.get("AFSTAND_DATA")
    if not folder:
        pytest.skip("AFSTAND_DATA does not name the folder of real data")
    return Path(folder)


def run_seed() -> int:
    """The seed of this run: fixed per commit, or AFSTAND_SEED (`./run fuzz` sets a random one)."""
    return int(os.environ.get("AFSTAND_SEED", SEED_FIXED))


@pytest.fixture
def seed() -> int:
    """The seed of this run; it is in the header of every report."""
    return run_seed()


def pytest_report_header() -> str:
    """Name the seed where every failure report shows it."""
    return f"AFSTAND_SEED={run_seed()}"


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Put structlog back: a command that ran in a test leaves it with a stream that is closed."""
    yield
    structlog.reset_defaults()
