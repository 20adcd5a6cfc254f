"""The keys that the archive's personal content is sealed under: a store of its own.

One file per partition, `keys/{partition}.keys` beside the folders of the archive, so that it can
lie on another disk and be left out of backups of the archive. A line is one key: its number, which
stands with what it seals, whose it is and of which category, and the key. A key is destroyed by
writing zeros over it where it stands; what it sealed can then be read by nobody, in no copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from ingest.archive.names import ArchiveFile, sync_folder

KEYS_FORMAT: Final = 1
KEY_BYTES: Final = 32
NUMBER_BYTES: Final = 8
FOLDER: Final = "keys"
_ZEROS: Final = "00" * KEY_BYTES


class Subject(NamedTuple):
    """Who something is about, and the category of the retention that it belongs to."""

    category: str
    persons: tuple[str, ...]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the store. A key of zeros was destroyed."""

    format: Literal[1] = KEYS_FORMAT
    number: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * NUMBER_BYTES}}}$")]
    category: str
    persons: tuple[str, ...]
    key: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * KEY_BYTES}}}$")]

    @property
    def destroyed(self) -> bool:
        """Whether nothing can be opened with it any more."""
        return self.key == _ZEROS

    @property
    def subject(self) -> Subject:
        """Whose it is."""
        return Subject(self.category, self.persons)

    @property
    def digest(self) -> str:
        """What a proof of erasure names it by."""
        return sha256(bytes.fromhex(self.number)).hexdigest()


class KeysError(ValueError):
    """A store of keys that is not as it was written."""


class Keys:
    """The keys of one partition. Reads on its own; changes only under `locked`."""

    def __init__(self, root: Path, partition: str) -> None:
        self._path = root / FOLDER / f"{partition}.keys"
        self._seen: tuple[int, int, int] | None = None
        self._by_number: dict[str, Key] = {}
        self._by_subject: dict[Subject, Key] = {}

    @classmethod
    def of_file(cls, file: ArchiveFile) -> Keys:
        """Return the keys that belong to a file of the archive, by where it lies."""
        folder = file.path.parents[2]
        return cls(folder.parent, folder.name.removeprefix("partition="))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else makes or destroys a key meanwhile. Raises OSError, KeysError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._load()
            yield

    def all(self) -> list[Key]:
        """Return every key, destroyed ones too. Raises KeysError."""
        self._load()
        return list(self._by_number.values())

    def find(self, number: bytes) -> bytes | None:
        """Return a key by its number; None when it was destroyed or never was here."""
        if self._seen is None:
            self._load()
        found = self._by_number.get(number.hex())
        return None if found is None or found.destroyed else bytes.fromhex(found.key)

    def make(self, subjects: Iterable[Subject]) -> dict[Subject, Key]:
        """Return a key for each subject, new ones durably written. Under `locked` only."""
        found, made = {}, []
        for subject in dict.fromkeys(subjects):
            key = self._by_subject.get(subject)
            if key is None:
                number = os.urandom(NUMBER_BYTES).hex()
                key = Key(
                    number=number,
                    category=subject.category,
                    persons=subject.persons,
                    key=os.urandom(KEY_BYTES).hex(),
                )
                made.append(key)
            found[subject] = key
        if made:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(b"".join(msgspec.json.encode(one) + b"\n" for one in made))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._path.parent)
            self._load()
        return found

    def destroy(self, numbers: Iterable[str]) -> None:
        """Write zeros over keys, durably. Under `locked` only. Raises OSError, KeysError."""
        raw = self._path.read_bytes()
        with self._path.open("r+b") as file:
            for number in numbers:
                key = self._by_number[number].key.encode()
                at = raw.find(key, raw.index(number.encode()))
                if at < 0:
                    raise KeysError(f"{self._path.name}: key {number} is not where it was")
                file.seek(at)
                file.write(_ZEROS.encode())
            file.flush()
            os.fsync(file.fileno())
        self._load()

    def remove(self) -> None:
        """Remove the whole store: of a partition of which nothing was taken."""
        self._path.unlink(missing_ok=True)

    def _load(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen == self._seen:
                return
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            seen, lines = (0, 0, 0), [b""]
        self._by_number, self._by_subject = {}, {}
        for number, line in enumerate(lines[:-1]):  # a torn last line sealed nothing yet
            try:
                key = msgspec.json.decode(line, type=Key)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise KeysError(f"{self._path.name} line {number + 1}: {error}") from None
            self._by_number[key.number] = key
            if not key.destroyed:
                self._by_subject[key.subject] = key
        self._seen = seen
