"""`afstand explain`: months later, from the records alone, in words that need no programmer."""

import argparse
import ast
import importlib
import inspect
import math
import pkgutil
import random
import re
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from afstand.commands import DefineOrder, DefineZone
from afstand.explain import document
from afstand.explain.account import Account, account_of
from afstand.explain.phrases import phrases
from afstand.explain.reading import ExplainError, gather, read_name
from afstand.explain.sentences import GROUPS, sentence
from afstand.explain.telling import tell
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    Change,
    Countersign,
    Dispose,
    Disposition,
    IncidentRecord,
    Notice,
    VerdictRecord,
)
from firmware_contracts import EventCode
from geofence.orders import CircleShape, Zone
from geofence.parameters import RULES_VERSION
from geofence.schedule import time_zone
from geofence.verdicts import OrderKind, VerdictReason, VerdictState
from ingest.outbox import OutboxEntry
from ingest.store import BEGINNING
from tests.afstand.journal import (
    LAT_E7,
    LON_E7,
    START_MS,
    Journal,
    definitions,
    fold,
    order,
    random_entries,
)
from tests.conftest import run_seed

ROOT = Path(__file__).parents[2]
PACKAGES = ("afstand", "alerting", "firmware_contracts", "geofence", "ingest")
AMSTERDAM = time_zone("Europe/Amsterdam")

# Words that explain a decision or a refusal to somebody outside. The others are names of roles,
# settings or states of this program's own making.
EXPLAINED = re.compile(r"Reason$|^Label$|^Change$|Change$|^EventKind$|^SignalKind$|^Freshness$|"
                       r"^VerdictState$|^OrderState$|^CommandStatus$|^Disposition$|^OrderKind$|"
                       r"^Purpose$|^ReceiptStatus$|^Repair$|^AlarmClass$")  # fmt: skip


def enumerations() -> dict[str, type[StrEnum]]:
    """Every StrEnum of the service, by its full name."""
    found: dict[str, type[StrEnum]] = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            # The conformance test of devices judges no person.
            if re.search(r"__main__$|\.explain\.|\.conformance", module.name):
                continue
            for _, kind in inspect.getmembers(
                importlib.import_module(module.name), inspect.isclass
            ):
                if issubclass(kind, StrEnum) and kind is not StrEnum:
                    found[f"{kind.__module__}.{kind.__name__}"] = kind
    return found


def test_every_word_of_every_reason_has_a_sentence_in_both_languages():
    told = {group.kind: group.sentences for group in GROUPS}
    asked = {name: kind for name, kind in enumerations().items() if EXPLAINED.search(kind.__name__)}
    assert len(asked) >= 18
    assert [name for name, kind in asked.items() if kind not in told] == []
    for group in GROUPS:
        if group.kind is not None:
            assert list(group.sentences) == list(group.kind), group.title
        for word, text in group.sentences.items():
            for said in (text.nl, text.en):
                assert said == said.strip()
                assert said[0].isupper(), (word, said)
                assert said.endswith(".") or group.kind is AlarmClass, (word, said)
                assert "|" not in said
                assert "{" not in said


def test_every_reason_in_the_books_own_words_has_a_sentence():
    """Reasons that are plain text in the source: arguments of the calls that record one."""
    calls = {"record", "_record", "_observe", "end", "close", "_start", "audible_again", "_met",
             "_held_back", "unsuppress", "mass_loss_over", "unshelve", "service_over", "update",
             "tell_again", "back_in_service", "close_alarm", "emit", "Observation",
             "Facts"}  # fmt: skip
    not_reasons = {"position-request", "return-to-service", "verdict"}
    wrong = []
    for path in sorted((ROOT / "alerting/book").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called not in calls:
                continue
            said = [*node.args, *(word.value for word in node.keywords)]
            wrong += [
                f"{path.name}:{one.lineno} {one.value}"
                for one in said
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
                and re.fullmatch(r"[a-z]+(-[a-z]+)+", one.value)
                and one.value not in not_reasons and sentence(one.value, "nl") == one.value
            ]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize("language", ["nl", "en"])
def test_the_rules_that_count_now_are_told_in_words(language):
    assert RULES_VERSION in phrases(language).how
    assert list(phrases(language).how) == list(range(1, RULES_VERSION + 1))


def test_the_reference_is_current():
    assert (ROOT / "docs/reasons.md").read_text() == document.render()


# --- stories --------------------------------------------------------------------------------------


class Site:
    """A watch, its journal and the outbox that is kept."""

    def __init__(self) -> None:
        self.watch = Watch("p")
        self.journal = Journal()
        self.kept: list[OutboxEntry] = []
        for command in definitions():
            self.journal.command(command)

    def run(self) -> None:
        """Fold what is new in the journal."""
        self.kept += [OutboxEntry(*one) for one in fold(self.watch, self.journal.entries)]
        self.journal.entries.clear()

    async def outbox(self, after=BEGINNING, until=None):
        """The outbox as the archive and the store give it."""
        for entry in list(self.kept):
            if entry.id > after and (until is None or entry.id <= until):
                yield [entry]

    def outputs(self, kind):
        self.run()
        return [o for e in self.kept for o in decode_envelope(e.blob).outputs
                if isinstance(o, kind)]  # fmt: skip

    async def account(self, name: str, language="nl", *, positions=False) -> Account:
        self.run()
        gathered = await gather(self, read_name(name, ["p"]))
        return account_of(gathered, language, positions=positions)

    async def text(self, name: str, language="nl", *, positions=False) -> str:
        account = await self.account(name, language, positions=positions)
        return "\n".join(tell(account, language, AMSTERDAM))

    def walk(self, *norths: float, every_s: float = 20.0) -> None:
        for north in norths:
            self.journal.pass_s(every_s)
            self.journal.frames(self.journal.fix("tag-1", 1, north))


TERMS = {"title": "Gebiedsverbod, art. 38v Sr", "authority": "Rechtbank Rotterdam",
         "case_number": "10/123456-26"}  # fmt: skip


@pytest.fixture
def breach() -> Site:
    """A walk into the circle of 300 m, by an order with a title; the second version of its zone."""
    site = Site()
    circle = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=300)
    zone = Zone(id="zone", version=2, name="Rond de woning", circle=circle)
    site.journal.pass_s(1)
    site.journal.command(DefineZone(zone=zone))
    site.journal.command(DefineOrder(order=order(version=2, **TERMS)))
    site.walk(900, 600, 315, 290, 250, 200, 150, every_s=5)
    return site


def logit(p: float) -> float:
    return math.log(p / (1 - p))


async def test_a_breach_is_explained_by_what_was_measured(breach):
    raised = next(a for a in breach.outputs(AlarmRecord) if a.change is Change.RAISED)
    account = await breach.account(raised.alarm_id)
    found = {j.verdict.state: j.verdict for j in account.verdicts if j.decisive}
    confirmed = found[VerdictState.CONFIRMED]
    assert (confirmed.zone_id, confirmed.zone_version) == ("zone", 2)
    assert confirmed.zone_since_ms == START_MS + 1000
    assert confirmed.terms.title == TERMS["title"]
    assert confirmed.terms.zone_name == "Rond de woning"
    assert confirmed.rules_version == RULES_VERSION
    # Independent of the engine: metres from the middle of a circle of 300 m.
    steps = confirmed.steps
    assert len(steps) == confirmed.steps_total >= 3
    depth_m = {(START_MS + 1000) + 5_000 * k: depth
               for k, depth in enumerate((-600, -300, -15, 10, 50, 100, 150), 1)}  # fmt: skip
    total = 0.0
    for step in steps:
        expected = depth_m[step.fix_ms]
        told = step.distance_mm / 1000
        if step.at_least:
            assert 0 < told <= expected + 3
        else:
            assert abs(told - expected) < 3, step
        sigma = math.hypot(1.3 * 5 / 1.515, 5.0)
        p = 0.95 * 0.5 * (1 + math.erf(expected / sigma / math.sqrt(2))) + 0.025
        assert abs(step.probability_1024 / 1024 - p) < 0.12
        total += min(math.tanh(5 / 30), 0.5) * logit(step.probability_1024 / 1024)
        assert abs(step.evidence_1024 / 1024 - total) < 0.02
    assert confirmed.evidence_1024 == steps[-1].evidence_1024 >= confirmed.threshold_1024 == 2048


async def test_the_text_says_it_in_the_order_of_a_judge(breach):
    raised = next(a for a in breach.outputs(AlarmRecord) if a.change is Change.RAISED)
    text = await breach.text(raised.alarm_id)
    at = 0
    for part in (
        f"Toelichting bij alarm {raised.alarm_id}",
        "drager wim",
        "Grond: Gebiedsverbod, art. 38v Sr, Rechtbank Rotterdam, 10/123456-26",
        'Gebied zone "Rond de woning", versie 2 (geldt sinds 2026-09-21 16:13:21+02:00)',
        "Bewijs: ",
        "Zo groeide het bewijs",
        "Wat er met het alarm is gedaan",
        "Het alarm is gegeven.",
        "Bericht aan meldkamer (politie)",
        f"Versie van de regels: {RULES_VERSION}.",
    ):
        at = text.index(part, at)
    assert "nauwkeurigheid 5,0 m" in text
    assert "[evidence-confirmed]" in text
    english = await breach.text(raised.alarm_id, "en")
    assert "Positions in a row have given enough evidence together" in english
    assert "accuracy 5.0 m" in english


def coordinates(account: Account | str) -> list[str]:
    raw = account if isinstance(account, str) else msgspec.json.encode(account).decode()
    return re.findall(r"51\.9\d{5}|4\.4\d{5}|5192\d{5}|5193\d{5}|448\d{5}", raw)


async def test_where_people_were_is_not_told_unless_it_is_asked_for(breach):
    breach.journal.command(
        DefineOrder(order=order(id="contact", kind=OrderKind.CONTACT_BAN, zone_ids=(),
                                protected_ids=("vera",), radius_m=500))
    )  # fmt: skip
    for north in (100, 90, 80, 70):
        breach.journal.pass_s(20)
        breach.journal.frames(
            breach.journal.fix("tag-1", 1, north), breach.journal.fix("victim-2", 2, 60)
        )
    alarms = {a.alarm_id for a in breach.outputs(AlarmRecord)}
    assert any(v.verdict.protected_position for v in breach.outputs(VerdictRecord))
    incident = breach.outputs(IncidentRecord)[0].incident_id
    for name in (incident, *sorted(alarms)):
        assert coordinates(await breach.account(name)) == []
        text = await breach.text(name)
        assert coordinates(text) == []
        assert "Posities zijn niet getoond" in text
    shown = await breach.text(incident, positions=True)
    assert coordinates(shown)
    assert "Beschermde persoon: 51.92" in shown
    assert "LET OP" in shown
    verdicts = [judged.verdict for judged in (await breach.account(incident)).verdicts]
    apart = [v.distance_mm for v in verdicts if v.protected_id == "vera" and v.distance_mm]
    assert abs(apart[0] / 1000 - 40) < 2
    assert "minder dan 500 m is verboden" in shown


async def test_an_incident_of_months_ago_that_is_closed_is_told_to_its_end(breach):
    incident = breach.outputs(IncidentRecord)[0].incident_id
    breach.walk(900, 900, 900, 900)
    breach.journal.pass_s(30)
    breach.journal.command(
        Dispose(incident_id=incident, by="ans", disposition=Disposition.HANDLED,
                note="aangehouden", despite_active=True)
    )  # fmt: skip
    breach.journal.command(Countersign(incident_id=incident, by="bea"))
    # Months of other business afterwards, with an incident of the same persons.
    breach.journal.pass_s(90 * 86_400)
    breach.walk(900, 200, 150, 100, 50)
    assert len({i.incident_id for i in breach.outputs(IncidentRecord)}) >= 2
    account = await breach.account(incident)
    assert account.incident[-1].by == "ans"
    text = await breach.text(incident)
    assert "Het incident is gesloten. Afgehandeld. (ans · aangehouden)" in text
    assert max(j.verdict.at_ms for j in account.verdicts) < START_MS + 3_600_000


async def test_a_press_is_told_without_a_verdict():
    site = Site()
    site.journal.pass_s(5)
    site.journal.frames(site.journal.event("victim-2", 2, EventCode.PANIC))
    incident = site.outputs(IncidentRecord)[0].incident_id
    text = await site.text(incident)
    assert "De noodknop is ingedrukt." in text
    assert "apparaat victim-2" in text


async def test_a_breach_found_afterwards_is_told_by_the_id_of_its_notice():
    site = Site()
    site.walk(2000)
    site.journal.pass_s(2400)
    site.journal.frames(site.journal.fix("tag-1", 1, 2000))
    for minute in range(15, 25):
        site.journal.pass_s(0.1)
        site.journal.frames(site.journal.fix("tag-1", 1, 0, late_s=60 * minute))
    notice = next(n for n in site.outputs(Notice) if n.purpose == "history")
    account = await site.account(notice.incident_id)
    assert {j.verdict.reason for j in account.verdicts} == {VerdictReason.LATE_FIX_HISTORY}
    assert "Achteraf vastgesteld" in await site.text(notice.incident_id)


async def test_every_word_that_a_random_life_records_has_a_sentence():
    site = Site()
    random_entries(site.journal, random.Random(run_seed()), 300)
    site.run()
    incidents = dict.fromkeys(i.incident_id for i in site.outputs(IncidentRecord))
    assert incidents
    for incident in incidents:
        account = await site.account(incident)
        for words in account.sentences.values():
            for word, said in words.items():
                assert said != word, word
        for language in ("nl", "en"):
            assert await site.text(incident, language, positions=True)
        decoded = msgspec.json.decode(msgspec.json.encode(account), type=Account)
        assert decoded.incident_id == incident


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "no id"),
        ("i-p-1-0", "no id"),
        ("i-p-1790000000000-0-0.x", "no id"),
        ("i-q-1790000000000-0-0", "partition q"),
        ("i-p-" + "9" * 400 + "-0-0", "no id"),
        ("i-p-1790000000000-0-77", "no record"),
        ("i-p-1790000099999-3-0.1", "no record"),
    ],
)
async def test_what_is_no_alarm_is_said(name, why):
    site = Site()
    site.run()
    with pytest.raises(ExplainError, match=why):
        await gather(site, read_name(name, ["p"]))


async def test_an_alarm_that_its_incident_never_had(breach):
    incident = breach.outputs(IncidentRecord)[0].incident_id
    with pytest.raises(ExplainError, match="no record"):
        await breach.account(f"{incident}.99")


def test_the_command_line_knows_the_options():
    from afstand.cli import _parser

    options = _parser().parse_args(["explain", "i-p-1-0-0.1", "--language", "en", "--json"])
    assert isinstance(options, argparse.Namespace)
    assert (options.id, options.language, options.json, options.positions) == (
        "i-p-1-0-0.1", "en", True, False,
    )  # fmt: skip
