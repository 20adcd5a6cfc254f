"""The documentation: its links lead somewhere, its code can be read, its commands exist."""

import ast
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from afstand import limits
from afstand.cases import check_cases
from afstand.cli import _parser
from afstand.config import load
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import EventCode
from tests.test_house import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# In a text: `afstand x`; in a block: a line that begins with it.
INLINE = re.compile(r"`(afstand [a-z][^`]*)`")
IN_BLOCK = re.compile(r"^    (afstand [a-z].*)$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {re.sub(r"\s", "-", heading.strip()) for heading in plain}


def broken_links(page: Path) -> list[str]:
    found = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](#one) [c](#two) [d](page.md#one) [e](https://x.y/)\n")
    assert broken_links(page) == ["gone.md: no such file", "#two: no such heading"]


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name)
def test_code_can_be_read(page):
    for language, text in FENCE.findall(page.read_text("utf-8")):
        if language == "python":
            ast.parse(text)
        elif language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)
        else:
            assert language in ("", "sh", "c", "xml", "yaml", "text", "mermaid"), language


def commands(page: Path) -> list[str]:
    """The whole commands of a page; `afstand x` with dots or alternatives is a mention."""
    text = page.read_text("utf-8")
    found = INLINE.findall(prose(page)) + IN_BLOCK.findall(text)
    found = [re.split(r"\s+#|\s+->|\s+&$", one)[0] for one in found]
    found = [re.sub(r"\[(.*?)\]", r"\1", one) for one in found]
    found = [re.sub(r"\bN\b", "1", one) for one in found]
    found = [re.sub(r"\bTIME\b", "2026-11-21T22:00", one) for one in found]
    return [one for one in found if not re.search(r"[<|]|\.\.\.", one)]


def refusal(command: str) -> str:
    """Why the program does not know a command, empty when it does."""
    words = shlex.split(command)[1:]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            _parser().parse_args(words)
        except SystemExit as end:
            if end.code == 0:
                return ""
            text = said.getvalue()
            # A mention without its arguments is no mistake; an unknown word is.
            return "" if "are required" in text or "is required" in text else text
    return ""


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name)
def test_commands_exist(page):
    refused = {one: why for one in commands(page) if (why := refusal(one))}
    assert refused == {}


def test_commands_that_do_not_exist_are_found():
    assert sum(len(commands(page)) for page in PAGES) > 30
    for wrong in ("afstand wach", "afstand doctor --colour", "afstand incidents close X --by me"):
        assert refusal(wrong), wrong


def test_every_page_can_be_reached_from_the_index_or_the_readme():
    seen: set[Path] = set()
    waiting = [DOCS / "index.md", ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_file() and target.is_relative_to(DOCS):
                waiting.append(target)
    lost = [name(page) for page in PAGES if page not in seen and "adr" not in page.parts]
    assert lost == []


def test_the_limits_of_the_page_are_those_of_the_program():
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (\d+) \|", (DOCS / "limits.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 15
    assert {key: int(value) for key, value in rows} == {
        key: getattr(limits, key) for key, _ in rows
    }


def blocks(language: str) -> list[str]:
    text = (DOCS / "tutorial.md").read_text()
    return [body for kind, body in FENCE.findall(text) if kind == language]


def test_the_tutorial_s_files_are_good(tmp_path, monkeypatch):
    monkeypatch.setenv("AFSTAND_MASTER_KEY", "00" * 32)
    monkeypatch.setenv("RECEIVER_SECRET", "whsec_" + "A" * 43 + "=")
    (configuration,), (cases,), (device,) = blocks("toml"), blocks("json"), blocks("python")
    (tmp_path / "afstand.toml").write_text(configuration)
    config = load(tmp_path / "afstand.toml")
    config.master_key()
    config.notify_settings()
    document = check_cases(cases.encode(), "tutorial")
    assert [order.id for order in document.orders] == ["ban-1"]
    monkeypatch.chdir(tmp_path)
    exec(device, {})
    frame = (tmp_path / "press.bin").read_bytes()
    events = decode_batch(frame, [0], [len(frame)]).events  # type: ignore[arg-type]
    assert events.code.tolist() == [EventCode.PANIC]
    (button,) = (one for one in document.devices if one.id == "button-2")
    assert button.key in device


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Afstand" in (tmp_path / "site" / "index.html").read_text()
    assert (tmp_path / "site" / "on-call" / "runbooks" / "index.html").exists()
