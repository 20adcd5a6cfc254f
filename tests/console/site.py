"""A console over a room in memory: the real application, watch and book, without servers."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import argon2
import pyotp
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from afstand.console_feed import command_of, frames_input
from alerting.book.roles import Role
from console.access.gate import Gate, SignedIn
from console.access.passwords import Passwords, Sealer
from console.access.store import AccessStore, Account
from console.api.app import application
from console.api.services import Services
from console.hub import Hub
from console.model.rows import Place
from console.ports import Consultation, FixesAt, KeptConsultation, SentCommand, UnavailableError
from console.settings import Settings
from firmware_contracts import EventCode
from ingest.entries import EntryKind
from tests.console.room import PARTITION, Room

PASSWORD = "correct horse battery staple"
TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class RoomLink:
    """A link whose store is the room. `down`: no store answers. `asleep`: no watch does."""

    def __init__(self, room: Room, wake) -> None:
        self._room = room
        self._wake = wake
        self.down = False
        self.asleep = False
        self.waiting: list = []
        self.log: list[Consultation] = []

    def now_ms(self) -> int:
        return self._room.journal.now_ms

    async def send(self, partition: str, sent: SentCommand) -> Place:
        self._fail()
        assert partition == PARTITION
        entry = self._room.journal.command(command_of(sent))
        if self.asleep:
            self.waiting.append(entry)
        else:
            self._room.take(entry)
            self._wake()
        return Place(*entry.id)

    def wake_up(self) -> None:
        """The watch is back and folds what waited."""
        self.asleep = False
        for entry in self.waiting:
            self._room.take(entry)
        self.waiting.clear()
        self._wake()

    async def log_consultation(self, said: Consultation) -> None:
        self._fail()
        self.log.append(said)

    async def consultations(
        self, *, person: str, by: str, before: str, count: int
    ) -> Sequence[KeptConsultation]:
        self._fail()
        found = [
            KeptConsultation(key=f"{number}-0", said=said)
            for number, said in enumerate(self.log)
            if (not person or person in said.persons) and by in ("", said.by)
        ]
        end = int(before.partition("-")[0]) if before else len(self.log)
        return [one for one in reversed(found) if int(one.key[:-2]) < end][:count]

    async def past_fixes(
        self, partition: str, handles: Sequence[int], from_ms: int, to_ms: int
    ) -> AsyncIterator[FixesAt]:
        self._fail()
        for entry in list(self._room.journal.entries):
            if entry.kind is EntryKind.FRAMES and from_ms <= entry.id.ms < to_ms:
                said = frames_input(partition, entry, set(handles))
                if said is not None and said.fixes is not None:
                    yield FixesAt(entry.id.ms, said.fixes)

    def _fail(self) -> None:
        if self.down:
            raise UnavailableError("the store is away")


class ConsoleSite:
    """The application with everything behind it."""

    def __init__(
        self, folder: Path, *, settings: Settings | None = None, with_definitions: bool = True
    ) -> None:
        self.room = Room(with_definitions=with_definitions)
        self.hub = Hub(self.room.model, (PARTITION,))
        self.hub.caught_up = True
        self.link = RoomLink(self.room, self.hub.wake)
        self.store = AccessStore(folder / "console.db")
        self.passwords, self.sealer = Passwords(CHEAP), Sealer(bytes(32))
        self.gate = Gate(self.store, self.passwords, self.sealer)
        self.services = Services(
            settings or Settings(), self.hub, self.link, self.gate, self.store,
            CollectorRegistry(), debug=True,
        )  # fmt: skip
        self.app = application(self.services)

    def account(self, name: str, role: Role) -> None:
        self.store.put_account(
            Account(
                name=name,
                role=role,
                password=self.passwords.hash(PASSWORD),
                totp=self.sealer.seal(name, TOTP),
                created_ms=self.link.now_ms(),
            )
        )

    def code(self) -> str:
        return pyotp.TOTP(TOTP).at(self.link.now_ms() // 1000)

    def browser(self) -> TestClient:
        """Somebody who is not signed in."""
        return TestClient(self.app, base_url="http://console.test")

    def as_role(self, role: Role, name: str = "") -> TestClient:
        """Somebody of a role, signed in without typing."""
        opened = self.gate.open(name or f"{role}-1", role, "local", self.link.now_ms())
        assert isinstance(opened, SignedIn)
        self.services.duty_changed(self.link.now_ms())
        client = self.browser()
        client.cookies.set(self.services.cookie, opened.token)
        client.headers["X-CSRF-Token"] = opened.session.csrf
        return client

    def close(self) -> None:
        self.store.close()


def press(site):
    """Positions of both, then a press of the protected person; gives the incident's id."""
    journal = site.room.journal
    site.room.frames(journal.fix("victim-2", 2, 1_200.0), journal.fix("tag-1", 1, 2_500.0))
    journal.pass_s(1)
    site.room.frames(journal.event("victim-2", 2, EventCode.PANIC))
    return site.room.only_incident().incident_id
