"""What the manager is told: ready when it is true, alive as long as the loop turns."""

import asyncio
import os
import socket
import time

from afstand.systemd import Manager, managed


class Listener:
    """The manager's end of the socket."""

    def __init__(self, path):
        self.address = str(path / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def environ(self, **more):
        return {"NOTIFY_SOCKET": self.address, **more}

    def heard(self):
        """Every line since the last time."""
        lines = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines

    def close(self):
        self._socket.close()


async def test_ready_is_said_once_and_when_it_is_true(tmp_path):
    listener = Listener(tmp_path)
    problems = ["registry\nnot read"]
    manager = Manager(listener.environ(WATCHDOG_USEC="30000", WATCHDOG_PID=str(os.getpid())))
    assert manager.watches
    assert manager.every_s == 0.01
    async with managed(lambda: problems[0], manager):
        await asyncio.sleep(0.05)
        heard = listener.heard()
        assert heard[:2] == ["WATCHDOG=1", "STATUS=registry not read"]
        assert "READY=1" not in heard
        problems[0] = ""
        await asyncio.sleep(0.05)
        heard = listener.heard()
        assert heard.count("READY=1") == 1
        assert heard.count("STATUS=ready") == 1
        problems[0] = "store unavailable"
        await asyncio.sleep(0.05)
        heard = listener.heard()
        # Not ready is no reason to be killed: it waits for the store.
        assert "WATCHDOG=1" in heard
        assert "STATUS=store unavailable" in heard
    assert listener.heard()[-1] == "STOPPING=1"
    listener.close()


async def test_a_loop_that_stands_still_gives_no_sign_of_life(tmp_path):
    listener = Listener(tmp_path)
    async with managed(lambda: "", Manager(listener.environ(WATCHDOG_USEC="30000"))):
        await asyncio.sleep(0.03)
        assert "WATCHDOG=1" in listener.heard()
        time.sleep(0.1)  # noqa: ASYNC251 it is the fault
        assert listener.heard() == []
    listener.close()


async def test_without_a_manager_nothing_is_sent_and_a_dead_one_harms_nobody(tmp_path):
    assert not Manager({}).there
    assert not Manager({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}).watches
    gone = Manager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    gone.tell("READY=1")
    async with managed(lambda: "", gone):
        await asyncio.sleep(0)
