"""The rules of the house that can be run.

Who may import whom, what pure code may not touch, sizes, versions.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = (
    "afstand",
    "alerting",
    "benchmarks",
    "console",
    "firmware_contracts",
    "geofence",
    "ingest",
    "simulators",
)
SHARED = ("afstand.limits", "afstand.compile")

# What each room may import of ours, besides itself and the shared bounds. The longest prefix
# counts.
MAY_IMPORT = {
    "firmware_contracts": (),
    "geofence": (),
    "alerting.book": ("geofence.verdicts", "geofence.orders", "geofence.schedule"),
    "alerting.notify": ("alerting.book", "firmware_contracts"),
    "ingest": ("firmware_contracts",),
    "simulators": ("firmware_contracts",),
    "console": ("alerting.book", "geofence", "firmware_contracts"),
    "afstand": OURS,
    "benchmarks": OURS,
}
PURE = (
    "firmware_contracts",
    "geofence",
    "alerting/book",
    *(
        f"afstand/watch/{name}.py"
        for name in ("fold", "frames", "kernels", "page", "plain", "seen")
    ),
    *(f"afstand/watch/{name}.py" for name in ("envelope", "signals", "proposals")),
    "console/model",
    *(f"console/{name}.py" for name in ("views", "geometry", "caseload")),
    "afstand/console_feed.py",
)
IMPURE_MODULES = ("asyncio", "redis", "aiomqtt", "paho", "mqtt5", "time", "random", "os", "socket",
                  "threading", "subprocess", "aiohttp", "pathlib", "secrets", "uuid")  # fmt: skip
IMPURE_CALLS = re.compile(
    r"\bdatetime\.(now|utcnow|today)\b|\bdate\.today\b|\bopen\(|np\.random|hash\("
)
# The pinned time zone data, a file of a locked package: the same bytes on every machine.
PINNED_DATA = ("geofence/schedule.py", "entry.open(")
# Command lines and generators at the edge of a pure package; they write files and print.
EDGES = ("firmware_contracts/__main__.py", "geofence/kernels/check.py")


def sources(*rooms: str) -> list[Path]:
    """All Python files of the given rooms (folders or files), ours only."""
    found: list[Path] = []
    for room in rooms:
        path = ROOT / room
        found += [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    return [path for path in found if path.exists()]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a file imports."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level)[0]
                base = f"{parent}.{base}" if base else parent
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str:
    """The room a module belongs to: the longest known prefix."""
    rooms = [room for room in MAY_IMPORT if name == room or name.startswith(room + ".")]
    return max(rooms, key=len, default="")


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module name lies in one of the prefixes."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def wrong_imports(path: Path) -> list[str]:
    """The imports of a file that its room does not allow."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    room = room_of(module) or module.split(".")[0]
    allowed = (room, *SHARED, *MAY_IMPORT.get(room, ()))
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports(path)
        if name.split(".")[0] in OURS
        and not within(name, allowed)
        # `from afstand import limits` names the package on the way to the module
        and not any(rule.startswith(name + ".") for rule in allowed)
    ]


def test_every_import_of_ours_follows_the_rule_of_its_room():
    assert [wrong for path in sources(*OURS) for wrong in wrong_imports(path)] == []


def test_the_rule_sees_a_wrong_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = tmp_path / "geofence" / "bad.py"
    bad.parent.mkdir()
    bad.write_text(
        "from ingest.journal import Journal\nimport alerting.book.book\nimport afstand.limits\n"
    )
    wrong = wrong_imports(bad)
    assert [line.split(" imports ")[1] for line in wrong] == [
        "ingest.journal", "ingest.journal.Journal", "alerting.book.book",
    ]  # fmt: skip


def test_pure_code_touches_no_clock_network_or_chance():
    wrong = []
    for path in sources(*PURE):
        if str(path.relative_to(ROOT)) in EDGES:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{line} imports {name}"
            for line, name in imports(path)
            if name.split(".")[0] in IMPURE_MODULES
        ]
        wrong += [
            f"{path.relative_to(ROOT)}:{number} {line.strip()}"
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if IMPURE_CALLS.search(line.split("#")[0])
            and not (str(path.relative_to(ROOT)) == PINNED_DATA[0] and PINNED_DATA[1] in line)
            and '"""' not in line
            and "def __hash__" not in line
        ]
    assert wrong == []


def test_pure_code_iterates_no_set():
    wrong = []
    for path in sources(*PURE):
        for node in ast.walk(ast.parse(path.read_text())):
            iterated = []
            if isinstance(node, ast.For):
                iterated = [node.iter]
            elif isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp):
                iterated = [generator.iter for generator in node.generators]
            for part in iterated:
                is_set = isinstance(part, ast.Set | ast.SetComp) or (
                    isinstance(part, ast.Call)
                    and getattr(part.func, "id", "") in ("set", "frozenset")
                )
                if is_set:
                    wrong.append(f"{path.relative_to(ROOT)}:{part.lineno}")
    assert wrong == []


def test_limits_import_nothing_and_are_each_used():
    text = (ROOT / "afstand/limits.py").read_text()
    assert [name for _, name in imports(ROOT / "afstand/limits.py")] == ["typing", "typing.Final"]
    names = re.findall(r"^([A-Z0-9_]+): Final", text, re.MULTILINE)
    assert names
    everything = "\n".join(path.read_text() for path in sources(*OURS) if path.name != "limits.py")
    assert [name for name in names if not re.search(rf"\b{name}\b", everything)] == []


def test_no_module_is_longer_than_650_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(*OURS, "tests")
        if (lines := len(path.read_text().splitlines())) > 650
    }
    assert long == {}


@pytest.mark.parametrize("lock", ["locks/run.txt", "locks/dev.txt"])
def test_locks_have_hashes_and_no_addresses(lock):
    text = (ROOT / lock).read_text()
    packages = re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE)
    assert len(packages) > 20
    assert text.count("==") <= text.count("--hash=sha256:")
    assert set(re.findall(r"--([a-z][a-z-]+)", text)) == {"hash"}
    assert not re.search(r"://|\bfile:", text)


def test_every_direct_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [re.split(r"[\[<>=]", name)[0] for name in project["dependencies"]]
    locked = re.findall(
        r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / "locks/run.txt").read_text(), re.MULTILINE
    )
    assert [name for name in wanted if name not in locked] == []


def test_the_run_script_is_posix_and_lists_its_targets():
    subprocess.run(["/bin/sh", "-n", str(ROOT / "run")], check=True)
    shown = subprocess.run(
        [str(ROOT / "run"), "help"], check=True, capture_output=True, text=True
    ).stdout
    targets = re.findall(r"^(\w+)\)", (ROOT / "run").read_text(), re.MULTILINE)
    assert targets
    assert [name for name in targets if f"\n  {name} " not in shown] == []


def test_no_function_of_the_run_script_hides_a_program_that_it_looks_for():
    text = (ROOT / "run").read_text()
    functions = set(re.findall(r"^(\w+)\(\) \{", text, re.MULTILINE))
    looked_for = set(re.findall(r"command -v ([\w-]+)", text))
    assert {"setup", "rule_checker"} <= functions
    assert {"promtool", "mosquitto"} <= looked_for
    assert not functions & looked_for


def test_every_promise_names_a_test_that_exists():
    promises = (ROOT / "PROMISES.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promises)
    assert len(named) >= 10
    missing = []
    for file, function in named:
        path = ROOT / file
        if not path.exists() or not re.search(rf"def {function}\(", path.read_text()):
            missing.append(f"{file}::{function}")
    assert missing == []


def test_the_packages_of_the_wheel_are_those_of_the_house():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == [name for name in OURS if (ROOT / name).is_dir()]
