"""A Redis Cluster of real processes on loopback: three primaries, each with a replica."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.resp import RespReader, encode_commands
from tests.servers import RedisServer, wait_until

PRIMARIES = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_500
BUS_ABOVE = 10_000


class ClusterServers:
    """Three primaries and a replica of each; ready when all slots are served, all copies made."""

    def __init__(self, directory: Path) -> None:
        self.nodes: list[RedisServer] = []
        for number in range(2 * PRIMARIES):
            port = _port_with_bus()
            extra = [
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
                *("--cluster-port", str(port + BUS_ABOVE), "--repl-diskless-sync-delay", "0"),
                *("--cluster-replica-validity-factor", "0"),
            ]
            folder = directory / f"node-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            self.nodes.append(RedisServer(folder, extra=extra, port=port))

    @property
    def url(self) -> str:
        """The first node."""
        return self.nodes[0].url

    def start(self) -> Self:
        """Start and join all nodes."""
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for node in self.nodes[1:]:
            ask(node, "CLUSTER", "MEET", first.host, first.port)
        primaries = self.nodes[:PRIMARIES]
        edges = [SLOTS * n // PRIMARIES for n in range(PRIMARIES + 1)]
        for node, begin, end in zip(primaries, edges[:-1], edges[1:], strict=True):
            ask(node, "CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for node in self.nodes:
            wait_until(lambda node=node: self._knows_all(node), "the nodes know each other")  # type: ignore[misc]
        for primary, replica in zip(primaries, self.nodes[PRIMARIES:], strict=True):
            name = ask(primary, "CLUSTER", "MYID").decode()
            wait_until(
                lambda r=replica, n=name: ask(r, "CLUSTER", "REPLICATE", n) == b"OK",  # type: ignore[misc]
                "a replica takes its primary",
            )
        for primary in primaries:
            wait_until(lambda p=primary: self._complete(p), "every primary has its copy")  # type: ignore[misc]
        for node in self.nodes:
            wait_until(
                lambda node=node: b"cluster_state:ok" in ask(node, "CLUSTER", "INFO"),  # type: ignore[misc]
                "the cluster is up",
            )
        return self

    def _knows_all(self, node: RedisServer) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}".encode() in ask(node, "CLUSTER", "INFO")

    @staticmethod
    def _complete(primary: RedisServer) -> bool:
        said = ask(primary, "INFO", "replication")
        return b"connected_slaves:1" in said and b"state=online" in said

    def primary_of(self, key: str) -> RedisServer:
        """The node that takes writes to a key now."""
        slot = ask(self.nodes[0] if self.nodes[0].running else self.nodes[1],
                   "CLUSTER", "KEYSLOT", key)  # fmt: skip
        for node in self.nodes:
            if node.running and b"role:master" in ask(node, "INFO", "replication"):
                mine = ask(node, "CLUSTER", "NODES").decode().splitlines()
                ranges = next(line for line in mine if "myself" in line).split()[8:]
                for one in ranges:
                    begin, _, end = one.partition("-")
                    if int(begin) <= int(slot) <= int(end or begin):
                        return node
        raise AssertionError(f"nobody has {key}")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all."""
        for node in self.nodes:
            if node.running:
                node.kill()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def ask(node: RedisServer, *args: str | int) -> bytes:
    """Send one command; an error comes back as its text."""
    with socket.create_connection((node.host, node.port), 5) as connection:
        connection.sendall(encode_commands([args]))
        reader = RespReader()
        while True:
            for answer in reader.feed(connection.recv(65_536)):
                return answer if isinstance(answer, bytes) else str(answer).encode()


def _port_with_bus() -> int:
    """A free port whose cluster bus port is free too.

    Both below those that the system gives to outgoing connections (Linux: 32,768 on), of which one
    could take it before the node does.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(12_000, 22_000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + BUS_ABOVE))
            return port
