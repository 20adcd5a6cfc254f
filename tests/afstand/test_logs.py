"""Log lines: one JSON object each, known fields only, nothing that a device said of anybody."""

import ast
import json
import re

import pytest
import structlog

from afstand import logs
from afstand.limits import LOG_TEXT_CHARACTERS_MAX
from tests.test_house import OURS, ROOT, sources

LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def calls():
    """Every call of a structlog logger in our rooms: file, line, call."""
    for path in sources(*OURS):
        text = path.read_text()
        if "structlog.get_logger" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id.endswith("log")
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_log_line_has_fixed_words_and_known_fields():
    wrong, seen = [], set()
    for place, call in calls():
        words = call.args[0] if len(call.args) == 1 else None
        if not (isinstance(words, ast.Constant) and isinstance(words.value, str)):
            wrong.append(f"{place}: its words are put together")
        for keyword in call.keywords:
            seen.add(keyword.arg)
            if keyword.arg not in logs.FIELDS:
                wrong.append(f"{place}: field {keyword.arg} is not in afstand.logs.FIELDS")
    assert wrong == []
    assert len(seen) > 15


def test_every_field_is_described_for_the_engineer_on_call():
    page = (ROOT / "docs/on-call/logs.md").read_text()
    described = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert described == logs.FIELDS


def said(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_role_and_time(capsys):
    logs.configure(role="intake")
    structlog.get_logger().info("connected", connection="fixes")
    (line,) = said(capsys)
    assert line["timestamp"].endswith("Z")
    assert {key: line[key] for key in ("event", "level", "role", "connection")} == {
        "event": "connected", "level": "info", "role": "intake", "connection": "fixes",
    }  # fmt: skip


def test_an_unknown_field_is_withheld_and_a_long_text_cut(capsys):
    logs.configure(role="intake")
    structlog.get_logger().warning("x", position="51.92, 4.48", error="e" * 1000)
    (line,) = said(capsys)
    assert line["position"] == logs.WITHHELD
    assert len(line["error"]) == LOG_TEXT_CHARACTERS_MAX + 3


@pytest.mark.parametrize("how", ["now", "given"])
def test_an_exception_tells_its_type_and_lines_and_never_its_message(capsys, how):
    logs.configure()
    log = structlog.get_logger()
    try:
        int("51.9225, 4.47917")
    except ValueError as error:
        if how == "now":
            log.exception("check failed")
        else:
            log.error("check failed", exc_info=error)
    (line,) = said(capsys)
    assert line["exception"].startswith("ValueError < afstand/test_logs.py:")
    assert "51.9" not in json.dumps(line)
