"""A version that was published is never broken: the check refuses whatever would do it."""

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firmware_contracts.__main__ as program
from firmware_contracts.compatibility import breaking, described

ROOT = Path(__file__).parent.parent.parent


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value that is no object; a list of numbers or words counts as one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    table = copy.deepcopy(described())
    at(table, path[:-1])[path[-1]] = value
    return table


def test_nothing_of_the_published_table_is_broken():
    """FC-012: against the table in the tree, and against every one that was ever committed."""
    golden = program.golden_path(ROOT)
    assert breaking(json.loads(golden.read_text("utf-8")), described()) == []
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return
    name = str(golden.relative_to(ROOT))

    def said(*arguments: str) -> str:
        command = [git, "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    for commit in said("log", "--format=%H", "--", name).split():
        text = said("show", f"{commit}:{name}")
        assert breaking(json.loads(text), described()) == [] if text else True, commit


def test_every_change_of_a_value_is_a_break():
    """FC-012: of each width, number, name, meaning, unit, reason, alarm, topic and sentence."""
    table = described()
    count = 0
    for path in leaves(table):
        if path[0] == "format" or path[-1] in ("low", "high"):
            continue
        value = at(table, path)
        if path == ("minor",):
            wrong: Any = value - 1
        elif isinstance(value, list):
            wrong = [*value[:-1], "other"]
        else:
            wrong = value + 1 if isinstance(value, int) else f"{value}."
        assert breaking(table, changed(path, wrong)), path
        count += 1
    assert count > 400


def test_whatever_goes_away_is_a_break():
    """FC-012."""
    table = described()
    for section in ("constants", "numbers", "events", "topics", "kinds", "sentences", "layouts"):
        for name in table[section]:
            less = copy.deepcopy(table)
            del less[section][name]
            assert breaking(table, less), (section, name)
    for name, fields in table["layouts"].items():
        for place in range(len(fields)):
            less = copy.deepcopy(table)
            del less["layouts"][name][place]
            assert breaking(table, less), (name, place)


def test_a_bound_may_widen_and_never_narrow():
    table = described()
    for layout, fields in table["layouts"].items():
        for place, field in enumerate(fields):
            if field["low"] is None:
                continue
            path = ("layouts", layout, place)
            assert breaking(table, changed((*path, "low"), field["low"] - 1)) == []
            assert breaking(table, changed((*path, "high"), field["high"] + 1)) == []
            assert breaking(table, changed((*path, "low"), field["low"] + 1))
            assert breaking(table, changed((*path, "high"), field["high"] - 1))


FIELD = {
    "name": "new", "offset": 24, "wire": "u2", "unit": "", "low": 0, "high": 9, "unknown": None,
    "doc": "New.",
}  # fmt: skip


def test_what_is_added_is_no_break():
    """FC-005, FC-046, FC-047, FC-083: readers of both sides know what to do with what is new."""
    table = described()
    more = copy.deepcopy(table)
    more["numbers"]["EventCode"]["300"] = ["NEW", "New."]
    more["numbers"]["Fault"]["99"] = ["new", ""]
    more["sentences"]["FC-999"] = ["device", "New."]
    assert breaking(table, more) == []
    assert breaking(more, table) == [
        "numbers EventCode 300 is gone", "numbers Fault 99 is gone", "sentences FC-999 is gone",
    ]  # fmt: skip


def test_a_field_is_added_at_the_end_with_a_newer_minor_only():
    """FC-005, FC-006."""
    table = described()
    longer = copy.deepcopy(table)
    longer["layouts"]["fix"].append(FIELD)
    assert breaking(table, longer) == ["fix has new fields without a newer minor: new"]
    longer["minor"] = 1
    assert breaking(table, longer) == []
    inserted = copy.deepcopy(longer)
    fields = inserted["layouts"]["fix"]
    fields.insert(3, fields.pop())
    assert breaking(table, inserted)
    headed = copy.deepcopy(longer)
    headed["layouts"]["header"].append(FIELD)
    assert breaking(table, headed) == ["the header has new fields: new"]


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_the_program_refuses_a_break_and_writes_nothing(tmp_path, capsys, arguments):
    golden = program.golden_path(tmp_path)
    golden.parent.mkdir(parents=True)
    narrower = described()
    del narrower["numbers"]["EventCode"]["1"]
    golden.write_text(json.dumps(narrower), "utf-8")
    assert program.main(["--check"], tmp_path) == 1  # what was added is only not written yet
    wrong = changed(("layouts", "fix", 1, "unit"), "1e-6 degree")
    golden.write_text(json.dumps(wrong), "utf-8")
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert program.main(arguments, tmp_path) == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert capsys.readouterr().out == (
        "BREAKS version 1: unit of fix.lat_e7 was 1e-6 degree, is 1e-7 degree\n"
    )
