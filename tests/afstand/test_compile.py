"""The decorators are used as they must be: no fastmath, no parallel, defined in one place."""

import ast
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from afstand import compile as compile_module
from afstand import limits
from afstand.compile import imports_of, jit, limits_of, sources_digest
from geofence import kernel
from geofence.kernels.prefetch import prefetch

ROOT = Path(str(resources.files("geofence"))).parent
PACKAGE = ROOT / "geofence"
KERNEL = PACKAGE / "kernel.py"
SOURCES = sorted(
    path
    for room in compile_module.PACKAGES
    for path in ROOT.joinpath(*room.split(".")).glob("*.py")
)

# Who may name numba: the decorators, and what has no other way to an instruction of the processor.
DECORATORS = ROOT / "afstand/compile.py"
INTRINSICS = (PACKAGE / "kernels/prefetch.py", ROOT / "ingest/tags.py")


def calls_of(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_no_forbidden_option() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        used = {word.arg for call in calls_of(tree) for word in call.keywords}
        assert not used & {"fastmath", "parallel"}, path
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "prange" not in names, path


def test_numba_is_reached_through_one_module() -> None:
    for path in SOURCES:
        if path == DECORATORS:
            continue
        allowed = {"numba", "numba.core", "numba.extending"} if path in INTRINSICS else set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {node.module or ""}
            else:
                continue
            assert {name for name in found if name.split(".")[0] == "numba"} <= allowed, path
            if "numba" in found and isinstance(node, ast.ImportFrom):
                assert {name.name for name in node.names} <= {"config", "types"}, path


def test_every_option_of_the_decorators_is_known() -> None:
    options = {
        word.arg: ast.unparse(word.value)
        for call in calls_of(ast.parse(DECORATORS.read_text()))
        if isinstance(call.func, ast.Name) and call.func.id == "_njit"
        for word in call.keywords
    }
    assert options == {
        "nogil": "True",
        "cache": "True",
        "error_model": "'numpy'",
        "forceinline": "True",
        "_nrt": "False",
        "no_cpython_wrapper": "True",
        "no_cfunc_wrapper": "True",
    }


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """What a module imports, by the parser: modules of ours."""
    names = {module_of(other) for other in SOURCES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found & names


def test_no_import_is_overlooked() -> None:
    for path in SOURCES:
        assert imported(path) <= imports_of(path.read_bytes())
        assert "from ." not in path.read_text()


def test_the_key_of_a_kernel_changes_with_everything_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = imported(KERNEL)
    while more := {m for name in needed for m in imported(file_of(name))} - needed:
        needed |= more
    assert {"geofence.areas", "geofence.parameters", "geofence.kernels.distance"} <= needed
    before = sources_digest(str(KERNEL))
    sources = compile_module._sources()
    for name in sorted(needed):
        changed = {**sources, name: sources[name] + b"#"}
        with monkeypatch.context() as patch:
            patch.setattr(compile_module, "_sources", lambda found=changed: found)
            sources_digest.cache_clear()
            assert sources_digest(str(KERNEL)) != before, name
    sources_digest.cache_clear()
    assert sources_digest(str(KERNEL)) == before


def test_no_limit_is_overlooked() -> None:
    for path in SOURCES:
        named = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module == "afstand.limits"
            for name in node.names
        }
        assert named <= limits_of(path.read_bytes())
        assert path == DECORATORS or "import limits" not in path.read_text()


def test_the_key_of_a_kernel_changes_with_the_limits_that_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polygon = str(PACKAGE / "kernels" / "polygon.py")
    before = sources_digest(polygon)

    def key_with(name: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 12_345)
            sources_digest.cache_clear()
            return sources_digest(polygon)

    assert key_with("ZONES_PER_PERSON_MAX") == before, "no kernel is made of it"
    assert key_with("ZONE_CHAIN_VERTICES_MAX") != before
    sources_digest.cache_clear()
    assert sources_digest(polygon) == before


def file_of(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_a_kernel_is_kept_under_its_key() -> None:
    compiled: Any = jit(module_of)
    assert compiled._cache._cache_file._source_stamp == sources_digest(__file__)
    work: Any = kernel.work
    assert work._cache._cache_file._source_stamp == sources_digest(str(KERNEL))
    assert sources_digest(str(KERNEL)) != sources_digest(__file__)


def test_a_hint_changes_nothing() -> None:
    data = np.arange(4, dtype=np.int32)

    def touch(array: np.ndarray, index: int) -> int:
        prefetch(array, index, 0)
        return int(array[index])

    assert jit(touch)(data, 2) == 2
    assert data.tolist() == [0, 1, 2, 3]
