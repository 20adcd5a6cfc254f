"""Judges of what a device keeps and sends again, of presses and of commands."""

from collections.abc import Callable
from typing import Final

from firmware_contracts.codes import EventCode, Kind
from firmware_contracts.conformance.case import Case, Finding, Findings
from firmware_contracts.conformance.frames import Frame
from firmware_contracts.conformance.log import Did, Purpose, Stimulus, Told

URGENT: Final = (EventCode.PANIC, EventCode.DURESS)
LOST_STATUS_MAX: Final = 2  # frames of status that a full memory may lose besides fixes


def _again(case: Case, frame: Frame, after_ms: int, until_ms: int) -> Frame | None:
    """The first time that a frame was heard again in a span."""
    for one in case.heard(frame)[1:]:
        if after_ms < one.at_ms <= until_ms:
            return one
    return None


_FALSE_ACKS: Final = (Purpose.ACK_FORGED, Purpose.ACK_REVERSED, Purpose.ACK_OTHER_BOOT)


def resends(case: Case) -> Findings:
    """FC-060: what no ack covers comes again, also after a loss of link or power.

    Judged by the oldest fix and the oldest event of each time without acks: a device may bound what
    it has under way. A frame with which a false ack was tried is judged by that alone.
    """
    tried = {frame.key for _, frame in case.tried(*_FALSE_ACKS)}
    for begun_ms, end_ms in case.withheld():
        for kind in (Kind.EVENT, Kind.FIX):
            waiting = [
                frame for frame in case.first
                if frame.kind is kind and begun_ms <= frame.at_ms <= end_ms
                and frame.key not in tried
            ]  # fmt: skip
            if waiting:
                yield from _comes_again(case, waiting[0], end_ms)


def _comes_again(case: Case, frame: Frame, end_ms: int) -> Findings:
    resend_ms = round(case.patience.resend_s * 1000)
    lost = case.stimuli(Stimulus.LINK_UP, Stimulus.BOOT)
    turns = [did for did in lost if frame.at_ms < did.at_ms < end_ms]
    if not turns:
        again = _again(case, frame, frame.at_ms, end_ms)
        if again is not None:
            yield Finding("FC-060", True, again.item, "sent again, no ack having covered it")
        elif end_ms - frame.at_ms >= resend_ms and case.undisturbed(frame.at_ms, end_ms):
            waited_s = (end_ms - frame.at_ms) / 1000
            why = f"not sent again in {waited_s:.0f} s without an ack"
            yield Finding("FC-060", False, frame.item, why)
    for did in turns:
        again = _again(case, frame, did.at_ms, end_ms)
        if again is not None:
            yield Finding("FC-060", True, again.item, f"sent again after: {did.what.value}")
        elif end_ms - did.at_ms >= resend_ms:
            why = f"not acked, and not sent again after: {did.what.value}"
            yield Finding("FC-060", False, frame.item, why)


def false_acks(case: Case) -> Findings:
    """FC-024, FC-062: what is no ack of this frame lets it not go; what is one does."""
    if any(finding.ok for finding in resends(case)):
        for told, frame in case.tried(*_FALSE_ACKS):
            sentence = "FC-024" if told.purpose is Purpose.ACK_FORGED else "FC-062"
            yield from _after_false_ack(case, told, frame, sentence)
    quiet_ms = round(case.patience.quiet_s * 1000)
    for frame in case.first:
        acked_ms = case.acked_ms(frame) if frame.kept else None
        if acked_ms is None or not case.undisturbed(acked_ms, acked_ms + quiet_ms):
            continue
        late = _again(case, frame, acked_ms + quiet_ms, case.end_ms)
        if late is not None:
            yield Finding("FC-062", False, late.item, "its ack came long before")


def _after_false_ack(case: Case, told: Told, frame: Frame, sentence: str) -> Findings:
    end_ms = case.acked_ms(frame) or case.end_ms
    again = _again(case, frame, told.at_ms, end_ms)
    why = f"{told.purpose.value} for {frame.key}"
    if again is not None:
        yield Finding(sentence, True, again.item, f"sent again after: {why}")
    elif end_ms - told.at_ms >= round(case.patience.resend_s * 1000):
        yield Finding(sentence, False, told, f"not sent again after: {why}")


def order(case: Case) -> Findings:
    """FC-065: events before the fixes that wait."""
    for did in case.stimuli(Stimulus.LINK_UP):
        cut = [one for one in case.stimuli(Stimulus.LINK_CUT) if one.at_ms < did.at_ms]
        pressed = [
            one
            for one in case.stimuli(Stimulus.PRESS)
            if cut and cut[-1].at_ms <= one.at_ms <= did.at_ms
        ]
        if not pressed:
            continue
        waiting = [
            frame for frame in case.first
            if frame.at_ms >= did.at_ms and frame.kept and _made_before(frame, did)
        ]  # fmt: skip
        events = [place for place, frame in enumerate(waiting) if frame.kind is Kind.EVENT]
        fixes = [place for place, frame in enumerate(waiting) if frame.kind is Kind.FIX]
        if events and fixes:
            in_order = events[-1] < fixes[0]
            shown = waiting[fixes[0]] if not in_order else waiting[events[0]]
            why = "an event goes before the fixes that wait"
            yield Finding("FC-065", in_order, shown.item, why)


def _made_before(frame: Frame, did: Did) -> bool:
    """Whether an event was sealed, or a fix taken, before something was done."""
    assert frame.header is not None
    sealed_ms = frame.header.device_time_ms
    return any(0 < sealed_ms + one["time_offset_ms"] <= did.at_ms for one in frame.records)


def memory(case: Case) -> Findings:
    """FC-064: the oldest fixes go first, events never, and it is said."""
    for up in case.stimuli(Stimulus.LINK_UP):
        cuts = [one for one in case.stimuli(Stimulus.LINK_CUT) if one.at_ms < up.at_ms]
        if not cuts:
            continue
        made = [one for one in case.did if cuts[-1].at_ms <= one.at_ms <= up.at_ms]
        asked = sum(one.argument for one in made if one.what is Stimulus.FIX)
        drained = [frame for frame in case.first if frame.at_ms >= up.at_ms]
        fixes = {frame.key: _fixes_between(frame, cuts[-1], up) for frame in drained}
        came = sum(fixes.values())
        if asked <= came:
            continue
        yield from _dropped(up, drained, f"{came} of {asked} fixes came")
        pressed = [one.argument for one in made if one.what is Stimulus.PRESS]
        yield from _events_kept(up, drained, pressed)
        yield from _oldest_went(case, up, sorted(key for key, count in fixes.items() if count))


def _fixes_between(frame: Frame, cut: Did, up: Did) -> int:
    """How many fixes of a frame were taken while the link was cut."""
    if frame.kind is not Kind.FIX or frame.header is None:
        return 0
    sealed_ms = frame.header.device_time_ms
    return sum(
        cut.at_ms <= sealed_ms + record["time_offset_ms"] <= up.at_ms for record in frame.records
    )


def _dropped(up: Did, drained: list[Frame], why: str) -> Findings:
    full = [f for f in drained for code, _ in f.events() if code == EventCode.MEMORY_FULL]
    if full:
        yield Finding("FC-064", True, full[0].item, f"{why}, and MEMORY_FULL")
    else:
        yield Finding("FC-064", False, up, f"{why} and no MEMORY_FULL")


def _events_kept(up: Did, drained: list[Frame], pressed: list[int]) -> Findings:
    codes = [code for frame in drained for code, _ in frame.events()]
    for code in dict.fromkeys(pressed):
        came, were = codes.count(code), pressed.count(code)
        yield Finding("FC-064", came >= were, up, f"{came} of {were} events {code} came")


def _oldest_went(case: Case, up: Did, kept: list[tuple[int, int]]) -> Findings:
    known = {frame.key for frame in case.first}
    if kept:
        boot, oldest = kept[0]
        missing = sum((boot, number) not in known for number in range(oldest, kept[-1][1]))
        why = f"{missing} frames are missing that are newer than the oldest fix kept"
        yield Finding("FC-064", missing <= LOST_STATUS_MAX, up, why)


# --- presses --------------------------------------------------------------------------------------


def presses(case: Case) -> Findings:
    """FC-070, FC-071: a press is sent at once, as what it is."""
    at_once_ms = round(case.patience.at_once_s * 1000)
    for did in case.stimuli(Stimulus.PRESS):
        until_ms = did.at_ms + at_once_ms
        within = [
            (frame, code)
            for frame in case.first
            if did.at_ms <= frame.at_ms <= until_ms
            for code, _ in frame.events()
        ]
        # What did not come after the link broke or the device restarted shows nothing.
        waited = case.undisturbed(did.at_ms, until_ms)
        yield from _one_press(did, within, waited=waited)


def _one_press(did: Did, within: list[tuple[Frame, int]], *, waited: bool) -> Findings:
    same = [frame for frame, code in within if code == did.argument]
    drills = [frame for frame, code in within if code == EventCode.SELF_TEST]
    sentence = "FC-070" if did.argument in URGENT else "FC-071"
    if same:
        yield Finding(sentence, True, same[0].item, "sent at once, as what it is")
    elif waited:
        yield Finding(sentence, False, did, f"event {did.argument} did not come")
    if did.argument in URGENT and drills and waited:
        yield Finding("FC-071", False, drills[0].item, "a drill for a real press")


# --- commands -------------------------------------------------------------------------------------


def commands(case: Case) -> Findings:
    """FC-080 to FC-083: each command is answered, as it must be."""
    plain = case.commands(
        Purpose.COMMAND, Purpose.AFTER_HOSTILE, Purpose.UNKNOWN_CODE, Purpose.EXPIRED
    )
    answers_anything = any(case.answers(told) for told in plain)
    for told in plain:
        answers = _in_time(case, told)
        if not answers:
            if _waited(case, told):
                yield Finding("FC-080", False, told, f"command {told.command_id}: no answer")
            continue
        yield Finding("FC-080", True, answers[0][0].item, f"command {told.command_id}")
        yield from _kind_of_answer(told, answers)
    if answers_anything:
        yield from _repeats(case)
        yield from _hostile(case)


def _in_time(case: Case, told: Told) -> list[tuple[Frame, int]]:
    limit_ms = told.at_ms + round(case.patience.answer_s * 1000)
    return [(frame, code) for frame, code in case.answers(told) if frame.at_ms <= limit_ms]


def _waited(case: Case, told: Told) -> bool:
    return case.end_ms - told.at_ms >= round(case.patience.answer_s * 1000)


def _kind_of_answer(told: Told, answers: list[tuple[Frame, int]]) -> Findings:
    frame, code = answers[0]
    name = EventCode(code).name
    if told.purpose is Purpose.EXPIRED:
        yield Finding("FC-081", code != EventCode.COMMAND_DONE, frame.item, name)
    elif told.purpose is Purpose.UNKNOWN_CODE and code != EventCode.COMMAND_EXPIRED:
        yield Finding("FC-083", code == EventCode.COMMAND_REFUSED, frame.item, name)
    for later, other in answers[1:]:
        if other != code:
            yield Finding("FC-082", False, later.item, f"{EventCode(other).name} after {name}")


def _repeats(case: Case) -> Findings:
    for told in case.commands(Purpose.REPEAT):
        earlier = [
            one for one in case.commands(Purpose.COMMAND) if one.command_id == told.command_id
        ]
        before = [code for one in earlier for f, code in case.answers(one) if f.at_ms < told.at_ms]
        if not before:
            continue
        after = [(f, code) for f, code in _in_time(case, told) if f.at_ms >= told.at_ms]
        if not after:
            if _waited(case, told):
                yield Finding("FC-082", False, told, "a repeat was not answered")
            continue
        frame, code = after[0]
        why = f"{EventCode(code).name} to a repeat of what was {EventCode(before[0]).name}"
        yield Finding("FC-082", code == before[0], frame.item, why)


def _hostile(case: Case) -> Findings:
    for told in case.commands(Purpose.LENIENT):
        answers = _in_time(case, told)
        if answers:
            done = answers[0][1] != EventCode.COMMAND_REFUSED
            yield Finding(told.sentence, done, answers[0][0].item, "accepted, as it must be")
        elif _waited(case, told):
            yield Finding(told.sentence, False, told, "not accepted")
    after = case.commands(Purpose.AFTER_HOSTILE)
    hostile = case.commands(Purpose.HOSTILE)
    if not after or not hostile:
        return
    answered = _in_time(case, after[-1])
    if answered:
        yield Finding("FC-011", True, answered[0][0].item, "answered after what was refused")
    elif _waited(case, after[-1]):
        yield Finding("FC-011", False, after[-1], "not answered after what was refused")
    for told in hostile:
        answers = case.answers(told)
        if answers:
            yield Finding(told.sentence, False, answers[0][0].item, "acted on what is no command")
        elif answered:
            yield Finding(told.sentence, True, told, "refused without a word")


DELIVERY: Final[tuple[Callable[[Case], Findings], ...]] = (
    resends, false_acks, order, memory, presses, commands,
)  # fmt: skip
