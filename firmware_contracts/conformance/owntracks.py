"""Messages of a phone, judged by the sentences about OwnTracks."""

import msgspec

from firmware_contracts.conformance.case import Result
from firmware_contracts.conformance.judge import Evidence, Verdict
from firmware_contracts.faults import Fault, FrameError
from firmware_contracts.owntracks import Ignored, OwnTracksFix, read_owntracks
from firmware_contracts.sentences import all_sentences
from firmware_contracts.table import U8_UNKNOWN, U16_UNKNOWN

SENTENCES = ("FC-090", "FC-091", "FC-092", "FC-093", "FC-094")
_BY_FAULT = {
    Fault.OVERSIZED: "FC-090",
    Fault.BAD_JSON: "FC-090",
    Fault.BAD_SCHEMA: "FC-091",
    Fault.UNKNOWN_TYPE: "FC-091",
}


class PhoneReport(msgspec.Struct, frozen=True):
    """What a file of messages holds: verdicts, fixes, and reasons for none with their counts."""

    verdicts: list[Verdict]
    messages: int
    fixes: int
    ignored: dict[str, int]


def split_messages(raw: bytes) -> list[bytes]:
    """Take a file apart.

    One JSON document (an object or an array of them) is one payload; otherwise every line is, as in
    a log of messages or in a file of the OwnTracks Recorder, whose columns before the JSON are left
    out. Empty lines are none.
    """
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    else:
        return [raw.strip()]
    return [_payload(line) for line in raw.splitlines() if line.strip()]


def _payload(line: bytes) -> bytes:
    columns = line.split(b"\t")
    return columns[-1].strip() if len(columns) > 1 else line.strip()


def judge_owntracks(payloads: list[bytes]) -> PhoneReport:
    """Judge payloads: what the server would refuse fails its sentence, with the message."""
    found: dict[str, list[tuple[bool, int, bytes, str]]] = {one: [] for one in SENTENCES}
    fixes = 0
    ignored: dict[str, int] = {}
    for number, payload in enumerate(payloads, 1):
        try:
            results = read_owntracks(payload)
        except FrameError as error:
            found[_BY_FAULT[error.fault]].append((False, number, payload, str(error)))
            continue
        for sentence in ("FC-090", "FC-091"):
            found[sentence].append((True, number, payload, "read"))
        for result in results:
            if isinstance(result, Ignored):
                reason = result.reason.value
                ignored[reason] = ignored.get(reason, 0) + 1
                found["FC-092"].append((True, number, payload, f"no fix: {reason}"))
            else:
                fixes += 1
                found["FC-092"].append((True, number, payload, "a fix"))
                if _says_unknown(result):
                    found["FC-094"].append((True, number, payload, "read as not known"))
        if payload.lstrip().startswith(b"["):
            found["FC-093"].append((True, number, payload, f"{len(results)} results"))
    texts = {one.id: one for one in all_sentences()}
    verdicts = [_verdict(texts[one].id, texts[one].text, found[one]) for one in SENTENCES]
    return PhoneReport(verdicts, len(payloads), fixes, dict(sorted(ignored.items())))


def _says_unknown(fix: OwnTracksFix) -> bool:
    unknown = (fix.accuracy_dm, fix.speed_cm_s, fix.heading_cdeg)
    return U16_UNKNOWN in unknown or fix.battery_pct == U8_UNKNOWN


def _verdict(sentence: str, text: str, found: list[tuple[bool, int, bytes, str]]) -> Verdict:
    against = [one for one in found if not one[0]]
    if not found:
        return Verdict(sentence, "frame", text, Result.NOT_SEEN, None)
    ok, number, payload, why = against[0] if against else found[0]
    shown = payload[:400].decode("utf-8", "replace")
    evidence = Evidence(0, f"message {number}", "", shown, why)
    return Verdict(
        sentence, "frame", text, Result.PASS if ok else Result.FAIL, evidence, len(against)
    )
