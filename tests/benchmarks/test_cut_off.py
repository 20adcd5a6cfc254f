"""A benchmark that is cut off stops the servers and processes that it has started."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.servers import ROOT, wait_until


def with_files_in(folder):
    """Every process that was told to keep its files there, or runs there: Redis hides the first."""
    return [
        one
        for one in psutil.process_iter(["cmdline", "cwd"])
        if str(folder) in " ".join((*(one.info["cmdline"] or ()), one.info["cwd"] or ""))
    ]


@pytest.mark.slow
@pytest.mark.servers
def test_what_it_has_started_is_stopped(tmp_path):
    """`timeout` says SIGTERM, which is made a SIGINT; roles have sessions and hear neither."""
    command = [sys.executable, "-m", "benchmarks", "chaos", "--out", str(tmp_path / "out")]
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "1/50: " in said.read_text(), "a round was played", 120)
        # The benchmark itself, store, broker, two watches, intake and notifier.
        assert len(with_files_in(tmp_path)) >= 6, "one of them may be down just now"
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 128 + signal.SIGINT
        wait_until(lambda: not with_files_in(tmp_path), "nothing of it runs any more", 10)
        assert "what it had started is stopped" in said.read_text()
    finally:
        for one in with_files_in(tmp_path):
            one.kill()
