"""The decorators are used as they must be: no fastmath, no parallel, defined in one place."""

import ast
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofence.kernels.compile import jit, prefetch, sources_digest

PACKAGE = Path(str(resources.files("geofence")))
SOURCES = sorted(PACKAGE.rglob("*.py"))

DECORATORS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "generated_jit"}


# The modules that may decorate: the kernels' own, and the engine's variant of it.
DECORATING = {"compile.py", "parts.py"}


def calls_of(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_forbidden_option(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used = {word.arg for call in calls_of(tree) for word in call.keywords}
    assert not used & {"fastmath", "parallel"}
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "prange" not in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_numba_is_reached_through_one_module(path: Path) -> None:
    if path.name in DECORATING:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(name.name.split(".")[0] == "numba" for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] != "numba"


def test_every_option_of_the_decorators_is_known() -> None:
    trees = [ast.parse(path.read_text()) for path in SOURCES if path.name in DECORATING]
    options = {
        word.arg: ast.unparse(word.value)
        for tree in trees
        for call in calls_of(tree)
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


def test_kernels_name_no_decorator_of_numba() -> None:
    for path in (PACKAGE / "kernels").glob("*.py"):
        if path.name == "compile.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in DECORATORS, path


def test_the_kernels_key_is_the_content_of_the_package() -> None:
    assert len(sources_digest()) == 64
    compiled: Any = jit(lambda x: x)
    assert compiled._cache._cache_file._source_stamp == sources_digest()


def test_a_hint_changes_nothing() -> None:
    data = np.arange(4, dtype=np.int32)

    def touch(array: np.ndarray, index: int) -> int:
        prefetch(array, index)
        return int(array[index])

    assert jit(touch)(data, 2) == 2
    assert data.tolist() == [0, 1, 2, 3]
