"""An account in plain words, in the order in which a judge would read it.

Who and by what title; where; what was measured, when, how surely, and how the evidence grew; what
was done about it; by which rules.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from afstand.explain.account import Account, Judged
from afstand.explain.figures import Figures
from afstand.explain.phrases import Phrases, phrases
from afstand.explain.sentences import Language, sentence
from alerting.book.types import AlarmRecord, Change, OrderKind, Position, Verdict, VerdictState
from geofence.verdicts import EvidenceStep, Freshness

_INDENT: Final = "  "
_QUIET: Final = (Change.STEP_STARTED, Change.STEP_MET, Change.DELIVERY)


class _Order(NamedTuple):
    """One version of one order, about one protected person or none."""

    order_id: str
    version: int
    protected_id: str | None


def tell(account: Account, language: Language, zone: ZoneInfo) -> Iterator[str]:
    """Yield the lines of an account; `zone` is the time zone of the clock times."""
    yield from _Telling(account, language, zone).lines()


class _Telling:
    """One account in one language."""

    def __init__(self, account: Account, language: Language, zone: ZoneInfo) -> None:
        self._account = account
        self._language: Language = language
        self._zone = zone
        self._p: Phrases = phrases(language)
        self._f = Figures(language)

    def lines(self) -> Iterator[str]:
        yield from self._head()
        yield from self._orders()
        yield from self._happened()
        yield from self._handled()
        yield from self._rules()

    # --- words --------------------------------------------------------------------------------

    def _says(self, word: str) -> str:
        return sentence(word, self._language)

    def _at(self, at_ms: int) -> str:
        at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(self._zone)
        return at.isoformat(sep=" ", timespec="seconds")

    def _clock(self, at_ms: int) -> str:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._zone)
        return at.isoformat(sep=" ", timespec="milliseconds")

    def _title(self, text: str) -> Iterator[str]:
        yield ""
        yield text
        yield "-" * len(text)

    # --- sections -----------------------------------------------------------------------------

    def _head(self) -> Iterator[str]:
        account, p = self._account, self._p
        yield (p.of_alarm if account.alarm_id else p.of_incident).format(
            id=account.alarm_id or account.incident_id
        )
        yield p.time_zone.format(zone=self._zone.key)
        if account.incident:
            last = account.incident[-1]
            persons = [last.wearer_id and p.wearer.format(id=last.wearer_id)]
            persons.append(last.protected_id and p.protected.format(id=last.protected_id))
            persons.append(last.case_id and p.case.format(id=last.case_id))
            yield ", ".join(person for person in persons if person) or p.nobody
            for name in last.alarm_classes:
                yield f"{self._says(name)} ({name})"

    def _orders(self) -> Iterator[str]:
        shown: dict[_Order, Verdict] = {}
        for judged in self._account.verdicts:
            found = judged.verdict
            shown[_Order(found.order_id, found.order_version, found.protected_id)] = found
        if not shown:
            return
        yield from self._title(self._p.title_orders)
        for found in shown.values():
            yield from self._order(found)

    def _order(self, found: Verdict) -> Iterator[str]:
        p, terms = self._p, found.terms
        yield p.order.format(id=found.order_id, version=found.order_version)
        yield _INDENT + self._says(found.order_kind)
        if terms.report_duty:
            yield _INDENT + p.report_duty
        title = [part for part in (terms.title, terms.authority, terms.case_number) if part]
        yield _INDENT + p.by_title.format(title=", ".join(title) or p.no_title)
        yield _INDENT + p.wearer.format(id=found.wearer_id)
        if found.protected_id is not None:
            yield _INDENT + p.protected.format(id=found.protected_id)
        if terms.valid_from_ms is not None:
            until = p.no_end if terms.valid_to_ms is None else self._at(terms.valid_to_ms)
            yield _INDENT + p.valid.format(start=self._at(terms.valid_from_ms), end=until)
        if terms.served_at_ms is not None:
            yield _INDENT + p.served.format(at=self._at(terms.served_at_ms))
        if terms.scheduled:
            yield _INDENT + p.scheduled
        yield _INDENT + p.risk.format(risk=found.risk_class)
        if found.order_kind is OrderKind.CONTACT_BAN:
            yield _INDENT + p.radius.format(radius=self._f.metres(terms.radius_m))
            if terms.warning_m:
                yield _INDENT + p.warning.format(radius=self._f.metres(terms.warning_m))
            if terms.time_to_contact_s:
                yield _INDENT + p.time_to_contact.format(s=terms.time_to_contact_s)
        elif terms.buffer_m:
            text = p.tolerance if found.order_kind is OrderKind.LOCATION_ORDER else p.buffer
            yield _INDENT + text.format(width=self._f.metres(terms.buffer_m))

    def _happened(self) -> Iterator[str]:
        account, p = self._account, self._p
        yield from self._title(p.title_happened)
        if not account.verdicts:
            for alarm in account.alarms:
                if alarm.change in (Change.RAISED, Change.RAISED_AGAIN):
                    yield from self._event(alarm)
            return
        for judged in account.verdicts:
            yield from self._judged(judged)
        if account.verdicts_left_off:
            yield p.left_off.format(count=account.verdicts_left_off)
        yield ""
        yield p.positions_shown if account.positions_shown else p.positions_hidden

    def _event(self, alarm: AlarmRecord) -> Iterator[str]:
        said = f"{self._says(alarm.alarm_class)}: {self._says(alarm.reason)}"
        yield f"{self._at(alarm.at_ms)}  {said}"
        about = [alarm.device_id and self._p.device.format(id=alarm.device_id)]
        about.append(alarm.person_id and self._p.person.format(id=alarm.person_id))
        if any(about):
            yield _INDENT + ", ".join(one for one in about if one)
        if alarm.detail:
            yield _INDENT + alarm.detail

    def _judged(self, judged: Judged) -> Iterator[str]:
        p, found = self._p, judged.verdict
        mark = "*" if judged.decisive else " "
        yield f"{mark} {self._clock(found.at_ms)}  {self._says(found.state)}"
        lines = [p.why.format(text=self._says(found.reason), code=found.reason)]
        if found.historic:
            lines.append(p.historic)
        if not found.escalate:
            lines.append(p.not_enforced)
        lines += self._where(found)
        lines += self._when(judged)
        lines += self._how_sure(found)
        lines += self._movement(found)
        if found.freshness is not Freshness.FRESH:
            lines.append(self._says(found.freshness))
        lines += [p.label.format(text=self._says(label), code=label) for label in found.labels]
        lines += self._positions(found)
        lines.append(p.entry.format(entry=judged.entry))
        yield from (2 * _INDENT + line for line in lines)

    def _where(self, found: Verdict) -> Iterator[str]:
        p = self._p
        if found.zone_id is not None:
            name = f' "{found.terms.zone_name}"' if found.terms.zone_name else ""
            text = p.zone.format(id=found.zone_id, name=name, version=found.zone_version)
            if found.zone_since_ms is not None:
                text += p.zone_since.format(at=self._at(found.zone_since_ms))
            yield text
        if found.distance_mm is None:
            return
        distance = self._f.metres_of_mm(abs(found.distance_mm))
        accuracy = "" if found.accuracy_mm is None else self._f.metres_of_mm(found.accuracy_mm)
        if found.order_kind is OrderKind.CONTACT_BAN:
            radius = self._f.metres(found.terms.radius_m)
            yield p.apart.format(distance=distance, radius=radius, accuracy=accuracy)
        else:
            side = p.inside if found.distance_mm >= 0 else p.outside
            yield side[found.order_kind].format(distance=distance, accuracy=accuracy)

    def _when(self, judged: Judged) -> Iterator[str]:
        p, found = self._p, judged.verdict
        if found.fix_ms is not None:
            late = self._f.seconds(max(found.at_ms - found.fix_ms, 0))
            text = p.measured.format(
                fix=self._clock(found.fix_ms), known=self._clock(found.at_ms), late=late
            )
            yield text
        if judged.received_ms is not None:
            yield p.received.format(at=self._clock(judged.received_ms))
        if found.wearer_age_ms is not None:
            yield p.wearer_age.format(age=self._f.seconds(found.wearer_age_ms))
        if found.protected_age_ms is not None:
            yield p.protected_age.format(age=self._f.seconds(found.protected_age_ms))

    def _how_sure(self, found: Verdict) -> Iterator[str]:
        p, f = self._p, self._f
        if found.distance_mm is None or found.terms.report_duty:
            return
        yield p.probability.format(p=f.percent_1024(found.probability_1024))
        yield p.evidence.format(
            sum=f.of_1024(found.evidence_1024), threshold=f.of_1024(found.threshold_1024)
        )
        if len(found.steps) > 1 and found.state in (VerdictState.POSSIBLE, VerdictState.CONFIRMED):
            yield p.steps.format(count=found.steps_total, shown=len(found.steps))
            yield from (_INDENT + self._step(step, found) for step in found.steps)

    def _step(self, step: EvidenceStep, found: Verdict) -> str:
        p, f = self._p, self._f
        distance = f.metres_of_mm(abs(step.distance_mm))
        if step.at_least:
            distance = p.at_least.format(distance=distance)
        if found.order_kind is OrderKind.CONTACT_BAN:
            side = p.step_apart
        else:
            side = p.step_inside if step.distance_mm >= 0 else p.step_outside
        return p.step.format(
            at=self._clock(step.fix_ms),
            where=side.format(distance=distance),
            accuracy=f.metres_of_mm(step.accuracy_mm),
            p=f.percent_1024(step.probability_1024),
            sum=f.of_1024(step.evidence_1024),
        )

    def _movement(self, found: Verdict) -> Iterator[str]:
        p, f = self._p, self._f
        if found.speed_mm_s is not None:
            yield p.speed.format(speed=f.speed(found.speed_mm_s))
        if found.closing_mm_s is not None and found.closing_mm_s > 0:
            yield p.closing.format(speed=f.speed(found.closing_mm_s))
        if found.time_to_contact_ms:
            yield p.contact_in.format(s=f.seconds(found.time_to_contact_ms))

    def _positions(self, found: Verdict) -> Iterator[str]:
        p = self._p
        sides = ((p.wearer_at, found.wearer_position), (p.protected_at, found.protected_position))
        yield from (text.format(**self._place(at)) for text, at in sides if at is not None)

    def _place(self, at: Position) -> dict[str, str]:
        return {
            "lat": f"{at.lat_e7 / 1e7:.7f}",
            "lon": f"{at.lon_e7 / 1e7:.7f}",
            "accuracy": self._f.metres_of_mm(at.accuracy_mm),
            "at": self._clock(at.time_ms),
        }

    def _handled(self) -> Iterator[str]:
        account, p = self._account, self._p
        yield from self._title(p.title_handled)
        lines: list[tuple[int, int, str]] = []
        for alarm in account.alarms:
            if alarm.change in _QUIET and not alarm.by:
                continue
            said = self._says(alarm.change)
            if account.alarm_id is None:
                said = f"{self._says(alarm.alarm_class)}: {said}"
            if alarm.reason not in (alarm.change, ""):
                said += f" {self._says(alarm.reason)}"
            who = " · ".join(part for part in (alarm.target, alarm.by, alarm.detail) if part)
            lines.append((alarm.at_ms, 1, f"{said} ({who})" if who else said))
        for notice in account.notices:
            text = p.told.format(
                target=notice.target, audience=p.audiences[notice.audience], key=notice.key
            )
            lines.append((notice.at_ms, 2, f"{text} {self._says(notice.purpose)}"))
        for incident in account.incident:
            said = self._says(incident.change)
            if incident.disposition is not None:
                said += f" {self._says(incident.disposition)}"
            note = " · ".join(part for part in (incident.by, incident.note) if part)
            lines.append((incident.at_ms, 0, f"{said} ({note})" if note else said))
        lines.sort(key=lambda line: line[:2])
        yield from (f"{self._at(at_ms)}  {text}" for at_ms, _, text in lines)

    def _rules(self) -> Iterator[str]:
        versions = dict.fromkeys(judged.verdict.rules_version for judged in self._account.verdicts)
        if not versions:
            return
        p = self._p
        yield from self._title(p.title_rules)
        yield p.rules.format(versions=", ".join(str(one) for one in versions))
        for version in versions:
            yield from p.how.get(version, (p.how_unknown.format(version=version),))
