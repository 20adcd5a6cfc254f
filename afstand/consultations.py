"""Who looked at whose data, when and why: written and confirmed before anything is shown.

Two streams, so that neither log holds what the other must not (Logboek Dataverwerkingen, LED
article 25). The Logboek has one line per data subject and processing, with a pseudonym and no data
of a user; `console:consultations` has who and why, under the same trace. Console and command line
write both here, with one key, so one person has one pseudonym. Nothing is sampled and nothing is
trimmed: a retention rule ends what is too old. When the store does not confirm, nothing is shown.
"""

import hmac
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, Final

import msgspec

from afstand.limits import CONSULTATION_PERSONS_MAX, CONSULTATIONS_PAGE
from console.ports import Consultation
from ingest.store import Store, StoreUnavailableError, command

CONSULTATIONS_KEY: Final = "console:consultations"
# Braces are a cluster's hash tag: both streams lie on one node, so one script writes them.
LDV_KEY: Final = f"ldv:{{{CONSULTATIONS_KEY}}}"
FORMAT: Final = "1"
REASON_CHARACTERS_MIN: Final = 8
ACTIVITY: Final = "urn:afstand:processing:"
KEY_ATTRIBUTE: Final = "afstand.pseudonym_key"
_WRITE: Final = """
redis.call('XADD', KEYS[1], '*', 'v', '1', 'b', ARGV[1])
for index = 2, #ARGV do redis.call('XADD', KEYS[2], '*', 'v', '1', 'b', ARGV[index]) end
return #ARGV - 1
"""


class Processing(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the Logboek Dataverwerkingen: one processing of data of one person."""

    trace_id: str
    operation_id: str
    status: str = "OK"
    name: str
    start_time: int
    end_time: int
    foreign_operation: dict[str, str] | None = None
    attributes: dict[str, str]


class ConsultationError(ValueError):
    """What may not be looked at so: nobody signs for it, or no reason is given."""


def pseudonym(key: bytes, person_id: str) -> str:
    """Return what stands for a person in the log: nothing can be read from it without the key."""
    return hmac.digest(key, b"afstand ldv subject " + person_id.encode(), sha256).hex()[:32]


def key_name(key: bytes) -> str:
    """Return what names a key in each line without telling it, to see that all use the same."""
    return hmac.digest(key, b"afstand ldv key", sha256).hex()[:16]


async def log_consultation(store: Store, key: bytes, said: Consultation) -> str:
    """Log one consultation that a command asks for; return its trace.

    Raises ConsultationError, and StoreUnavailableError when the store did not confirm: the caller
    shows nothing then.
    """
    if not said.by or not said.persons:
        raise ConsultationError("who looks, and at whom, must be said")
    if not said.incident_id and len(said.reason.strip()) < REASON_CHARACTERS_MIN:
        raise ConsultationError(f"a reason of at least {REASON_CHARACTERS_MIN} characters is asked")
    return await write_consultation(store, key, said)


async def write_consultation(store: Store, key: bytes, said: Consultation) -> str:
    """Write the lines of one consultation to both streams, at once; return its trace.

    Raises StoreUnavailableError when the store did not confirm every line.
    """
    trace = said.trace_id or os.urandom(16).hex()
    for first in range(0, max(1, len(said.persons)), CONSULTATION_PERSONS_MAX):
        persons = said.persons[first : first + CONSULTATION_PERSONS_MAX]
        part = msgspec.structs.replace(said, persons=persons, trace_id=trace)
        lines = [msgspec.json.encode(_processing(key, part, one)) for one in persons]
        raw = msgspec.json.encode(part)
        written = await command(store, "EVAL", _WRITE, 2, CONSULTATIONS_KEY, LDV_KEY, raw, *lines)
        if int(written) != len(lines):
            raise StoreUnavailableError(f"{written} of {len(lines)} lines were confirmed")
    return trace


def _processing(key: bytes, said: Consultation, person_id: str) -> Processing:
    return Processing(
        trace_id=said.trace_id,
        operation_id=os.urandom(8).hex(),
        name=said.what,
        start_time=said.at_ms,
        end_time=said.at_ms,
        attributes={
            "dpl.core.processing_activity_id": f"{ACTIVITY}{said.what}",
            "dpl.core.data_subject_id": pseudonym(key, person_id),
            "dpl.core.data_subject_id_type": "afstand-pseudonym",
            KEY_ATTRIBUTE: key_name(key),
        },
    )


async def consultations(
    store: Store, *, person: str = "", by: str = ""
) -> AsyncIterator[Consultation]:
    """Yield what was looked at, oldest first; of one person, or by one, where named.

    Raises StoreUnavailableError.
    """
    after = "-"
    while True:
        page: list[Any] = await command(
            store, "XRANGE", CONSULTATIONS_KEY, after, "+", "COUNT", CONSULTATIONS_PAGE
        )
        for raw_id, fields in page:
            after = f"({raw_id.decode()}"
            said = msgspec.json.decode(fields[b"b"], type=Consultation)
            if (not person or person in said.persons) and by in ("", said.by):
                yield said
        if len(page) < CONSULTATIONS_PAGE:
            return


async def newest_key_name(store: Store) -> str:
    """Return under which key the newest line of the Logboek was written; "" for none.

    Raises StoreUnavailableError.
    """
    for _, fields in await command(store, "XREVRANGE", LDV_KEY, "+", "-", "COUNT", 1):
        line = msgspec.json.decode(fields[b"b"], type=Processing)
        return line.attributes.get(KEY_ATTRIBUTE, "")
    return ""


async def processings(store: Store, key: bytes, person_id: str) -> AsyncIterator[Processing]:
    """Yield the lines about one person, for that person's request.

    Raises StoreUnavailableError.
    """
    name, after = pseudonym(key, person_id), "-"
    while True:
        page: list[Any] = await command(
            store, "XRANGE", LDV_KEY, after, "+", "COUNT", CONSULTATIONS_PAGE
        )
        for raw_id, fields in page:
            after = f"({raw_id.decode()}"
            line = msgspec.json.decode(fields[b"b"], type=Processing)
            if line.attributes.get("dpl.core.data_subject_id") == name:
                yield line
        if len(page) < CONSULTATIONS_PAGE:
            return
