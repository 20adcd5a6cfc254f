"""Every normative sentence has an id of its own and a test that cites it and is run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from firmware_contracts.sentences import KEEPERS, all_sentences

TESTS = Path(__file__).parent.parent
MODULE_MARKS = re.compile(r"^pytestmark = .*?(?=^[^\s\])]|\Z)", re.MULTILINE | re.DOTALL)
CITED = re.compile(r"\bFC-\d{3}\b")
# Reasons for not being run that say "this machine lacks a tool", which the project's own runs have.
ALLOWED_SKIPS = re.compile(r"gcc|mosquitto|redis|AFSTAND_DATA|\bnode\b")


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Every test function of a file, with its text from its first decorator on."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("test_"):
            first = min([one.lineno for one in node.decorator_list] + [node.lineno])
            yield node, "\n".join(lines[first - 1 : node.end_lineno])


def never_run(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a test is skipped or expected to fail for another reason than a missing tool."""
    marks = [ast.unparse(one) for one in node.decorator_list]
    marks += re.findall(
        r"^pytestmark = .*?(?=^\S|\Z)", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return any(
        re.search(r"\.(skip|skipif|xfail)\b", mark) and not ALLOWED_SKIPS.search(mark)
        for mark in marks
    )


def citations() -> dict[str, list[str]]:
    """Sentence id -> the tests that cite it by their text and are run."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node, text in functions(path):
            for one in dict.fromkeys(CITED.findall(text)):
                if not never_run(path, node):
                    found.setdefault(one, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def test_every_sentence_has_an_id_of_its_own_and_a_keeper():
    ids = [sentence.id for sentence in all_sentences()]
    assert ids == sorted(set(ids))
    for sentence in all_sentences():
        assert CITED.fullmatch(sentence.id)
        assert sentence.keeper in KEEPERS
        assert sentence.text.endswith(".")
        assert re.search(r"\bMUST\b|\bMAY\b|covers|is `", sentence.text), sentence.id


def test_every_sentence_is_cited_by_a_test_that_is_run():
    """Whoever's promise it is: a reader's or writer's, the device's or the server's."""
    cited = citations()
    assert [one.id for one in all_sentences() if one.id not in cited] == []


def test_no_test_cites_what_is_not_said():
    known = {sentence.id for sentence in all_sentences()} | {"FC-999"}
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__)]
    everywhere = {one for path in files for one in CITED.findall(path.read_text("utf-8"))}
    assert everywhere <= known


def test_a_citation_counts_only_where_the_test_is_run(tmp_path, monkeypatch):
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "# FC-101 outside any test\n"
        "def test_a():\n    'FC-102.'\n"
        "@pytest.mark.skip(reason='later')\ndef test_b():\n    'FC-103.'\n"
        "@pytest.mark.xfail\nasync def test_c():\n    'FC-104.'\n"
        "@pytest.mark.skipif(True, reason='gcc is missing')\ndef test_d():\n    'FC-105.'\n"
        "def helper():\n    'FC-106.'\n"
    )
    monkeypatch.setitem(globals(), "TESTS", tmp_path)
    assert citations() == {"FC-102": ["test_one.py::test_a"], "FC-105": ["test_one.py::test_d"]}
    (tmp_path / "test_one.py").write_text(
        "pytestmark = [\n    pytest.mark.skip(reason='all'),\n]\n\ndef test_a():\n    'FC-102.'\n"
    )
    assert citations() == {}
