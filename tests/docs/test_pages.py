"""The documentation: its links lead somewhere, its code can be read, its commands exist."""

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from afstand import limits
from afstand.cli import _parser
from benchmarks.__main__ import names as benchmark_names
from simulators.__main__ import _parser as simulators_parser
from tests.test_house import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# In a text: `afstand x`; in a block: a line that begins with it.
INLINE = re.compile(r"`(afstand [a-z][^`]*)`")
IN_BLOCK = re.compile(r"^(?:    )?(afstand [a-z].*)$", re.MULTILINE)


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


def other_commands(page: Path) -> list[str]:
    """`./run x` and `python -m x` of a page, in a text, a block or a fence."""
    text = page.read_text("utf-8")
    found = re.findall(r"(?:^ *|`)((?:\./run|python -m) [^`\n]*)", text, re.MULTILINE)
    return [re.split(r"\s+#", one)[0] for one in found]


def fault_of(command: str) -> str:
    """Why such a command cannot be meant, empty when it can."""
    words = shlex.split(command)
    if words[0] == "./run":
        known = re.findall(r"^(\w+)\)", (ROOT / "run").read_text(), re.MULTILINE)
        if words[1] == "bench" and words[2:3] and words[2] not in benchmark_names():
            return f"no benchmark {words[2]}"
        return "" if words[1] in known else f"no target {words[1]}"
    module, arguments = words[2], words[3:]
    if importlib.util.find_spec(module) is None:
        return f"no module {module}"
    if module == "benchmarks" and arguments and arguments[0] not in benchmark_names():
        return f"no benchmark {arguments[0]}"
    if module == "simulators" and arguments[1:]:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            simulators_parser().parse_args(arguments)
        return said.getvalue()
    return ""


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name)
def test_targets_modules_and_benchmarks_exist(page):
    assert {one: why for one in other_commands(page) if (why := fault_of(one))} == {}


def test_targets_modules_and_benchmarks_that_do_not_exist_are_found():
    assert sum(len(other_commands(page)) for page in PAGES + OTHERS) > 20
    for wrong in (
        "./run tests",
        "./run bench fuz",
        "python -m benchmarks fuz",
        "python -m simulate",
        "python -m simulators follow --of x",
        "python -m simulators fly away",
    ):
        assert fault_of(wrong), wrong


def test_the_example_of_the_suite_uses_what_is_there():
    ((kind, text),) = FENCE.findall((DOCS / "simulators.md").read_text())[-1:]
    assert kind == "python"
    imports, calls = text.split("\n\n")
    names: dict[str, Any] = {"device": "d", "at_ms": 0}
    exec(imports, names)
    for method in ("advance", "request"):
        (call,) = (
            node for node in ast.walk(ast.parse(calls))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"play.{method}"
        )  # fmt: skip
        given = {str(word.arg): None for word in call.keywords}
        inspect.signature(getattr(names["Play"], method)).bind(None, *call.args, **given)
    assert len(names["HELD_OUT_SEEDS"]) >= 10


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
