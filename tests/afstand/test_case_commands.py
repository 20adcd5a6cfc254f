"""`afstand case`: what is journalled, what is refused, and the summary that each role gets."""

import asyncio
import json
import tomllib

import pytest

from afstand.cli import main
from afstand.commands import decode_command
from afstand.config import load
from afstand.console_link import StoreLink
from afstand.watch.envelope import decode_envelope, encode_envelope
from afstand.watch.fold import Watch
from alerting.book.book import Book
from alerting.book.types import (
    ActivationStep,
    CheckIn,
    Concern,
    DefineCase,
    IncidentRecord,
    Input,
    LogbookEntry,
    Review,
    Screen,
    TellCause,
)
from console.ports import Consultation
from firmware_contracts import EventCode
from ingest.entries import EntryKind, FrameFlag
from ingest.store import connect_store, journal_key
from tests.afstand.journal import START_MS, Journal, definitions
from tests.alerting.story import verdict
from tests.servers import RedisServer

pytestmark = [pytest.mark.servers, pytest.mark.slow]
WORDS = "Hij stond bij de school."
REASON = "casusoverleg 12 maart"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    with RedisServer(folder) as server:
        asyncio.run(write(server.url))
        (folder / "pseudonyms").write_text("33" * 32)
        path = folder / "afstand.toml"
        path.write_text(f"""
            partitions = ["p"]
            store = {{ url = "{server.url}" }}
            archive = {{ dir = "{folder / "none"}" }}
            consultations = {{ pseudonym_key = "file:{folder / "pseudonyms"}" }}
        """)
        yield path


async def write(url):
    """Definitions in the journal, and what the alarm book says of a breach and a logbook entry."""
    journal, book = Journal(), Book()
    store = connect_store(url)
    for command in definitions():
        entry = journal.command(command)
        await add(store, entry)
        if isinstance(command, DefineCase):
            book.step([command], START_MS, "p-1-0")
    screen = Screen(case_id="case", by="ar", concern=Concern.HIGH, screened_ms=START_MS)
    words = LogbookEntry(case_id="case", person_id="vera", text=WORDS, happened_ms=START_MS)
    breach = verdict("confirmed", order="contact", wearer="wim", protected="vera",
                     distance_mm=123_457)  # fmt: skip
    inputs: list[Input] = [screen, words, breach]
    for number, said in enumerate(inputs):
        entry_id = f"{START_MS + number}-7"
        outputs = book.step([said], START_MS + number, f"p-{entry_id}")
        blob = encode_envelope(0, outputs)
        await store.execute_command("XADD", "outbox:{p}", entry_id, "v", "1", "b", blob)
    await store.aclose()


async def add(store, entry):
    key = journal_key("p")
    await store.execute_command(
        "XADD", key, str(entry.id), "v", "1", "k", entry.kind.value, "b", entry.blob
    )


async def newest(url):
    store = connect_store(url)
    ((_, fields),) = await store.execute_command(
        "XREVRANGE", journal_key("p"), "+", "-", "COUNT", 1
    )
    await store.aclose()
    assert fields[b"k"] == EntryKind.COMMAND.encode()
    return decode_command(fields[b"b"])


SAID = [
    (("screen", "high", "--note", "n"), Screen, {"concern": Concern.HIGH, "note": "n"}),
    (("review", "keep", "--note", "n"), Review, {"note": "n", "by": "b"}),
    (("log", "vera", "--note", WORDS, "--happened", "2026-01-02T03:04"), LogbookEntry,
     {"text": WORDS, "happened_ms": 1_767_323_040_000}),
    (("check-in", "vera", "--not-well"), CheckIn, {"well": False}),
    (("activation-step", "victim-2", "--step", "instructed"), ActivationStep, {"by": "b"}),
    (("tell-cause", "i-1", "--cause", "turned-away"), TellCause, {"incident_id": "i-1"}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "kind", "fields"), SAID, ids=lambda one: str(one)[:20])
def test_what_is_said_is_journalled(site, capsys, monkeypatch, words, kind, fields):
    monkeypatch.setattr("afstand.tools.COMMAND_ANSWER_S_MAX", 0.25)
    assert main(["case", *words, "--case", "case", "--by", "b", "--config", str(site)]) == 1
    assert "no watch answered" in capsys.readouterr().err
    url = site.read_text().split('url = "')[1].split('"')[0]
    command = asyncio.run(newest(url))
    assert isinstance(command, kind)
    assert {name: getattr(command, name) for name in fields} == fields


@pytest.mark.parametrize("words", [
    ("screen", "terrible"), ("review", "later"), ("tell-cause", "i-1", "--cause", "no"),
    ("check-in-every", "x"),
])  # fmt: skip
def test_a_word_that_is_none_is_refused(site, capsys, words):
    assert main(["case", *words, "--case", "case", "--by", "b", "--config", str(site)]) == 1
    assert words[-1] in capsys.readouterr().err


def summary(site, capsys, view):
    arguments = ["--case", "case", "--by", "b", "--reason", REASON, "--config", str(site)]
    assert main(["case", "summary", "--view", view, *arguments]) == 0
    return capsys.readouterr().out


def test_the_summary_of_each_role_holds_what_it_may_see(site, capsys):
    lead = json.loads(summary(site, capsys, "shift-lead"))
    assert (lead["risk_class"], lead["concern"]) == (1, "high")
    assert lead["protected_ids"] == ["vera"]
    assert lead["incidents"] == {"proximity": 1}
    assert lead["incidents_open"] == 1
    assert [entry["text"] for entry in lead["logbook"]] == [WORDS]
    assert [one["id"] for one in lead["orders"]] == ["ban"]
    police = summary(site, capsys, "police")
    assert WORDS not in police
    assert "proximity" in police
    supervisor = summary(site, capsys, "supervisor")
    assert WORDS not in supervisor
    wearer = summary(site, capsys, "wearer-side")
    for trace in ("vera", "victim-2", "proximity", WORDS, "123"):
        assert trace not in wearer, trace


def test_what_happened_with_my_alarm_is_told_in_plain_words_without_a_place(site, capsys):
    incident = f"i-p-{START_MS + 2}-7-0"
    arguments = ["--case", "case", "--by", "opvang", "--config", str(site)]
    assert main(["case", "feedback", incident, "--language", "nl", *arguments]) == 0
    told = capsys.readouterr().out
    lines = [line[18:] for line in told.splitlines()]
    assert lines[0] == "Uw alarm kwam binnen."
    assert "De meldcentrale is gewaarschuwd." in lines
    for trace in ("wim", "vera", "operator", "meldkamer", "123", "zone"):
        assert trace not in told
    assert main(["case", "feedback", "i-p-1-0-0", *arguments]) == 1
    assert "has no incident" in capsys.readouterr().err


def test_a_summary_without_a_reason_shows_nothing(site, capsys):
    arguments = ["--case", "case", "--by", "b", "--reason", "", "--config", str(site)]
    assert main(["case", "summary", "--view", "police", *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "reason" in told.err


def test_positions_are_explained_only_when_the_look_is_logged(site, capsys):
    name = asyncio.run(incident_of(site))
    look = ["explain", name, "--positions", "--config", str(site)]
    for missing in ([], ["--by", "op"], ["--by", "op", "--reason", "why"]):
        assert main([*look, *missing]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err
    assert main(["explain", name, "--config", str(site)]) == 0  # without them nobody is asked
    capsys.readouterr()
    assert main([*look, "--by", "op", "--reason", "vraag van de officier"]) == 0
    assert capsys.readouterr().out
    assert main(["consultations", "--by", "op", "--config", str(site)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "(explain)  positions" in lines[0]
    assert lines[0].endswith("vraag van de officier")


def test_what_is_about_nobody_is_explained_and_logs_no_look_at_anybody(site, capsys):
    """A press of a button that is nobody's: its incident is no person."""
    name = asyncio.run(nobodys(site))
    look = ["explain", name, "--positions", "--by", "op-7", "--reason", REASON]
    assert main([*look, "--config", str(site)]) == 0
    assert capsys.readouterr().out
    for asked in (["--by", "op-7"], ["--person", name]):
        assert main(["consultations", *asked, "--config", str(site)]) == 0
        assert capsys.readouterr().out == ""


def test_the_logboek_has_one_pseudonym_for_looks_by_command_and_by_console(site, capsys):
    def logboek(person):
        asked = ["consultations", "--logboek", "--person", person, "--config", str(site)]
        assert main(asked) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    view = ["case", "summary", "--view", "police", "--case", "case", "--by", "op-9"]
    assert main([*view, "--reason", REASON, "--config", str(site)]) == 0
    capsys.readouterr()
    by_command = logboek("vera")
    assert by_command
    asyncio.run(look_by_console(site))
    by_console = logboek("vera")[len(by_command) :]
    assert [line["name"] for line in by_console] == ["replay"]
    subjects = {
        line["attributes"]["dpl.core.data_subject_id"] for line in (*by_command, *by_console)
    }
    assert len(subjects) == 1
    assert "vera" not in json.dumps([*by_command, *by_console])
    assert logboek("nobody") == []
    assert main(["consultations", "--logboek", "--config", str(site)]) == 2


async def look_by_console(site):
    config = load(site, {})
    store = connect_store(config.store_url())
    said = Consultation(
        at_ms=1, by="op-8", role="operator", what="replay", persons=("vera",), incident_id="i-1"
    )
    await StoreLink(store, config.pseudonym_key()).log_consultation(said)
    await store.aclose()


async def nobodys(site) -> str:
    """An incident of a button that nobody is registered for, later than all else."""
    journal = Journal()
    journal.pass_s(60)
    press = journal.event("button-9", 0, EventCode.PANIC, flags=FrameFlag(0))
    step = Watch("p").step(journal.frames(press))
    assert step.blob is not None
    store = connect_store(tomllib.loads(site.read_text())["store"]["url"])
    entry_id = str(journal.entries[-1].id)
    await store.execute_command("XADD", "outbox:{p}", entry_id, "v", "1", "b", step.blob)
    await store.aclose()
    (incident,) = [
        one for one in decode_envelope(step.blob).outputs if isinstance(one, IncidentRecord)
    ]
    assert (incident.wearer_id, incident.protected_id) == (None, None)
    return incident.incident_id


async def incident_of(site) -> str:
    url = tomllib.loads(site.read_text())["store"]["url"]
    store = connect_store(url)
    try:
        for page in await store.execute_command("XRANGE", "outbox:{p}", "-", "+"):
            for output in decode_envelope(page[1][b"b"]).outputs:
                if isinstance(output, IncidentRecord):
                    return output.incident_id
    finally:
        await store.aclose()
    raise AssertionError("no incident")
