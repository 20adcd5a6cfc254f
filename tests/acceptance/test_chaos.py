"""The short form of `benchmarks chaos`: each process killed or stopped once, servers included."""

import pytest

from benchmarks.chaos import VICTIMS, play
from tests.conftest import run_seed


@pytest.mark.slow
@pytest.mark.servers
async def test_every_process_killed_or_stopped_once_loses_and_doubles_nothing(tmp_path):
    seed = run_seed()
    result = await play(tmp_path, len(VICTIMS), seed)
    assert len(result.latency_ms) == 3 * len(VICTIMS), f"seed {seed}"
    assert not result.lost_alarms, f"seed {seed}"
    assert not result.lost_frames, f"seed {seed}"
    assert not result.second_keys, f"seed {seed}"
    assert result.frames > 3 * len(VICTIMS)
