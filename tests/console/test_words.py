"""The page's words: every text in both languages, every code of the service in Dutch."""

import json
import re
from enum import StrEnum
from pathlib import Path

from alerting.book import types as book
from alerting.book.inputs import VictimPolicy
from alerting.book.outputs import CommandStatus, IncidentChange
from alerting.book.roles import Role
from console.model.rows import LANES
from console.model.world import ProposalState
from firmware_contracts.codes import EventCode
from geofence import verdicts
from geofence.orders import Appeal, OrderState

JS = Path(__file__).resolve().parent.parent.parent / "console" / "page" / "js"
ENUMS: tuple[type[StrEnum], ...] = (
    book.AlarmClass, book.AlarmState, book.Change, book.Audience, book.Purpose, book.EventKind,
    book.SignalKind, book.Disposition, book.ReceiptStatus, book.RejectReason, IncidentChange,
    VictimPolicy, Role, ProposalState, OrderState, Appeal, verdicts.OrderKind,
    verdicts.VerdictReason, verdicts.RequestReason, verdicts.Label,
)  # fmt: skip
# Never shown as words: what the page does not list, or says in another way.
UNSEEN = {"status", "poison"}


def words() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts and codes of words.js, read as data."""

    def table(name: str, module: str) -> dict[str, list[str]]:
        source = (JS / module).read_text()
        body = re.search(rf"const {name} = {{\n(.*?)\n}};", source, re.DOTALL)
        assert body is not None
        text = re.sub(r"^\s*//.*$", "", body[1], flags=re.MULTILINE)
        text = re.sub(r"^(\s*)([a-z][a-z0-9]*):", r'\1"\2":', text, flags=re.MULTILINE)
        text = re.sub(r",\s*\]", "]", text)
        return json.loads("{" + text.rstrip().rstrip(",") + "}")

    return table("TEXTS", "words.js"), table("CODES", "codes.js")


def test_every_text_that_the_page_asks_for_is_there_in_both_languages():
    texts, _ = words()
    source = "\n".join(
        path.read_text() for path in JS.glob("*.js") if path.name not in ("words.js", "codes.js")
    )
    asked = set(re.findall(r"\bt\(\s*\"([a-z0-9-]+)\"", source))
    asked |= {key for pair in re.findall(r"\? \"([a-z-]+)\" : \"([a-z-]+)\"", source)
              for key in pair if key in texts}  # fmt: skip
    assert asked - set(texts) == set()
    for key, both in texts.items():
        assert len(both) == 2, key
        places = [set(re.findall(r"{(\w+)}", text)) for text in both]
        assert places[0] == places[1], key


def test_texts_that_are_put_together_exist_for_every_case():
    texts, _ = words()
    wanted = {f"priority-{p}" for p in book.Priority} | {f"risk-{n}" for n in (1, 2, 3)}
    wanted |= {f"day-{d}" for d in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    wanted |= {
        f"group-{g}" for g in ("waiting", "offered", "to-sign", "elsewhere", "in-hand", "silenced")
    }
    main = (JS / "main.js").read_text()
    pages = re.findall(r'{ name: "([a-z-]+)", right: "[a-z-]+", load: [^}]*? }', main)
    hidden = re.findall(r'{ name: "([a-z-]+)".*?hidden: true', main)
    wanted |= {f"page-{page}" for page in set(pages) - set(hidden)}
    assert wanted - set(texts) == set()


def test_every_code_of_the_service_has_dutch_words():
    _, codes = words()
    wanted = {str(one) for enum in ENUMS for one in enum} | set(LANES)
    wanted |= {code.name.lower().replace("_", "-") for code in EventCode}
    wanted |= {f"command-{one}" for one in CommandStatus}
    wanted |= {f"asked-{one}" for one in book.DeviceCommandCode}
    assert sorted(wanted - set(codes) - UNSEEN) == []


def test_no_module_of_the_page_loads_or_writes_what_the_policy_forbids():
    for path in [*JS.glob("*.js"), JS.parent / "index.html"]:
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text
        )
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path.name
        assert " style=" not in text
        assert len(text.splitlines()) <= 650
