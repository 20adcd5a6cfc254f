"""The tutorial, done as it is written: its files, its commands, in its order, on what `afstand
servers` starts. Only ports are others, and what runs until it is stopped runs beside the rest."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pyotp
import pytest

from afstand.cli import main
from afstand.embedded import free_port
from tests.servers import wait_until
from tests.test_house import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
PORTS = ("6379", "1883", "8080", "8490")
# What runs until somebody stops it, and what shows that it is there.
STAYS = re.compile(r"^(afstand (servers|intake|watch|notify|console)|python docs/integrators)\b")
# Tested elsewhere (tests/afstand/test_demo.py), or not of this folder.
ELSEWHERE = ("./run demo --for 60", ". .venv/bin/activate")
RECEIVER = "1"  # it is started second
FLAGS = re.DOTALL | re.MULTILINE
COMMANDS_WAIT_S = 60.0


class Step(NamedTuple):
    """A file to write, or a command to run."""

    file: str
    text: str


def steps() -> list[Step]:
    """What the page tells to do, in its order: fenced blocks are files, indented lines commands."""
    found, file = [], ""
    for match in re.finditer(r"`(\w+\.\w+)`|^```\w+\n(.*?)^```|^    (\S[^\n]*)$", PAGE, FLAGS):
        named, content, command = match.groups()
        if named is not None:
            file = named  # the last file that was named before the block
        elif content is not None:
            found.append(Step(file, content))
        else:
            found.append(Step("", command))
    return found


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""  # the output of the last command
        self._running: list[subprocess.Popen[bytes]] = []
        self.ports = {port: str(free_port()) for port in PORTS}
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PORT": self.ports["8080"],
            "PYTHONUNBUFFERED": "1",
        }
        for name in ("NUMBA_CACHE_DIR", "LANG"):
            if name in os.environ:
                self.environ[name] = os.environ[name]
        # The first of these may be in use on the machine that runs the tests.
        for role in ("INTAKE", "WATCH", "NOTIFY", "CONSOLE", "ARCHIVE", "AUDIT", "TRACKERS"):
            self.environ[f"AFSTAND_{role}__HEALTH_PORT"] = str(free_port())
        self.environ["AFSTAND_CONSOLE__PORT"] = self.ports["8490"]
        self.environ["AFSTAND_NOTIFY__PORT"] = str(free_port())
        self.environ["AFSTAND_WATCH__REPLICAS"] = "1"  # two ports beside each other may be in use
        (folder / "docs").symlink_to(ROOT / "docs")

    def here(self, text: str) -> str:
        for port, other in self.ports.items():
            text = re.sub(rf"\b{port}\b", other, text)
        return text

    def do(self, step: Step) -> None:
        if step.file:
            (self.folder / step.file).write_text(self.here(step.text))
            return
        command = self.here(step.text)
        if command.startswith("afstand servers"):
            command += f" --store-port {self.ports['6379']} --broker-port {self.ports['1883']}"
        if "INCIDENT" in command:
            command = command.replace("INCIDENT", self.incident)
        if STAYS.match(step.text):
            self._stay(command)
        else:
            self._run(command)

    @property
    def incident(self) -> str:
        found = re.search(r"\bi-[\w-]+", (self.folder / "list.txt").read_text())
        assert found is not None
        return found[0]

    def _shell(self, command: str) -> list[str]:
        return ["bash", "-c", f"[ -e secrets.env ] && . ./secrets.env\n{command}"]

    def _run(self, command: str) -> None:
        done = subprocess.run(
            self._shell(command), cwd=self.folder, env=self.environ, capture_output=True,
            text=True, check=False, timeout=COMMANDS_WAIT_S * 4,
        )  # fmt: skip
        self.said = done.stdout
        if command.startswith("afstand incidents list"):
            (self.folder / "list.txt").write_text(done.stdout)
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"

    def _stay(self, command: str) -> None:
        with (self.folder / f"{len(self._running)}.log").open("wb") as log:
            process = subprocess.Popen(
                self._shell(f"exec {command}"), cwd=self.folder, env=self.environ, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(process)
        if command.startswith("afstand servers"):
            wait_until(lambda: "Ctrl-C stops both" in self.output("0"), "the servers")
        role = command.split()[1].upper()
        if f"AFSTAND_{role}__HEALTH_PORT" in self.environ:
            port = self.environ[f"AFSTAND_{role}__HEALTH_PORT"]
            wait_until(lambda: ready(port), f"{role} is ready", COMMANDS_WAIT_S)
        assert process.poll() is None, self.output(str(len(self._running) - 1))

    def output(self, number: str) -> str:
        return (self.folder / f"{number}.log").read_text("utf-8", "replace")

    def stop(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGINT)
        for process in reversed(self._running):
            process.wait(20)


def ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    try:
        yield one
    finally:
        one.stop()


def test_every_command_and_file_of_the_page_is_a_step():
    found = steps()
    assert [step.file for step in found if step.file] == ["afstand.toml", "cases.json", "press.py"]
    commands = [step.text for step in found if not step.file]
    assert len(commands) > 18
    assert [one for one in ELSEWHERE if one not in commands] == []
    words = [shlex.split(one)[0] for one in commands if one not in ELSEWHERE]
    assert set(words) == {"python", "chmod", ".", "afstand", "echo"}


def example_of_the_api() -> dict[str, Any]:
    text = (ROOT / "docs" / "integrators" / "api.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    return names


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(300)
async def test_the_tutorial_leads_to_an_alarm_and_a_console(reader):
    for step in steps():
        if step.text in ELSEWHERE:
            continue
        reader.do(step)
        if step.text.startswith("python press.py"):
            wait_until(lambda: "Actual: panic" in reader.output(RECEIVER), "the receiver has it")
        if step.text.startswith("afstand incidents list"):
            assert len(set(re.findall(r"\bi-[\w-]+", reader.said))) == 1
            assert reader.output(RECEIVER).count("Actual: panic alert") == 1
        if step.text.startswith("afstand explain"):
            assert "panic" in reader.said.lower()
        if step.text.startswith("echo"):
            secret = pyotp.parse_uri(reader.said.splitlines()[1]).secret
    # The page on the API, with the console of the tutorial.
    sample = example_of_the_api()
    url = f"http://127.0.0.1:{reader.ports['8490']}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        async with client.get(f"{url}/v1/openapi.json") as answer:
            assert (await answer.json())["openapi"].startswith("3.1")
        async with client.get(url) as answer:
            assert "<title>Afstand" in await answer.text()
        console = sample["Console"](url, client)
        with pytest.raises(RuntimeError, match="401"):
            await console.sign_in("you", "a wrong password", pyotp.TOTP(secret).now())
        await console.sign_in("you", "a long enough password", pyotp.TOTP(secret).now())
        assert await sample["take_in_hand"](console) == [f"{reader.incident} applied"]


@pytest.mark.parametrize("which", ["store", "broker"])
def test_a_port_that_is_in_use_is_said(tmp_path, capsys, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"store": free_port(), "broker": free_port(), which: taken.getsockname()[1]}
        options = [f"--{name}-port={port}" for name, port in ports.items()]
        assert main(["servers", "--dir", str(tmp_path), *options]) == 1
    assert f"port {ports[which]} is in use" in capsys.readouterr().err
