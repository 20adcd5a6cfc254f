"""The numba decorators of the house, defined once.

`jit` compiles a kernel that Python calls; `jit_inline` and `jit_hot` a helper that becomes part of
the kernel that calls it; `jit_call` and `jit_part` a large helper that stays a function of its own.
All release the GIL; `jit` keeps its machine code on disk. `error_model="numpy"` makes a division by
zero give inf or nan instead of a branch to an exception. Neither fastmath nor parallel is ever
set: an answer is evidence and has to be the same on every run.

Helpers do not count references to their arrays (`_nrt=False`): an atomic increment and decrement
per array and call would take longer than the work. So they cannot make arrays, which they must not
anyway.

numba keeps machine code by the content of the file that a kernel stands in and does not see that a
helper in another file changed: it would run the old rules without a word. Here the key is the
content of that file and of all of ours that it imports, directly or not, and the values of the
limits that any of them names: the other limits change often and mean nothing to a kernel.

With NUMBA_DISABLE_JIT=1 all return the function as it is, so that every kernel also runs as plain
Python.
"""

import hashlib
import linecache
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any, Final, TypeVar

import numba

from afstand import limits

_Function = TypeVar("_Function", bound=Callable[..., Any])
# numba's own annotations do not know every option that it takes.
_njit: Any = numba.njit

_IMPORT: Final = re.compile(
    rb"^[ \t]*(?:from|import)[ \t]+((?:afstand|firmware_contracts|geofence|ingest)[\w.]*)"
    rb"(?:[ \t]+import[ \t]+(\([^)]*\)|[^\n]*))?",
    re.MULTILINE,
)
_NAME: Final = re.compile(rb"\w+")
PACKAGES: Final = (
    "afstand",
    "afstand.watch",
    "firmware_contracts",
    "geofence",
    "geofence.kernels",
    "ingest",
)


@lru_cache(maxsize=1)
def _sources() -> dict[str, bytes]:
    """Return the sources of all modules that kernels may be made of, by name."""
    found = {}
    for package in PACKAGES:
        for entry in resources.files(package).iterdir():
            name = entry.name.removesuffix(".py")
            if name != entry.name:
                found[package if name == "__init__" else f"{package}.{name}"] = entry.read_bytes()
    return found


def imports_of(source: bytes) -> set[str]:
    """Return the modules of ours that a source may import: rather too many than too few."""
    found = set()
    for module, names in _IMPORT.findall(source):
        found.add(module.decode())
        found |= {f"{module.decode()}.{name.decode()}" for name in _NAME.findall(names)}
    return found & _sources().keys()


def limits_of(source: bytes) -> set[str]:
    """Return the names of the limits that a source imports."""
    found = {
        name.decode()
        for module, names in _IMPORT.findall(source)
        if module == limits.__name__.encode()
        for name in _NAME.findall(names)
    }
    return found & vars(limits).keys()


@lru_cache(maxsize=64)
def sources_digest(file: str) -> str:
    """Return a digest of the source in a file and of all that it is made of."""
    sources = _sources()
    source = "".join(linecache.getlines(file)).encode()
    digest = hashlib.sha256(source)
    waiting = sorted(imports_of(source))
    seen = set(waiting)
    named = limits_of(source)
    while waiting:
        imported = sources[waiting.pop()]
        named |= limits_of(imported)
        more = imports_of(imported) - seen
        seen |= more
        waiting += more
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    for name in sorted(named):
        digest.update(f"{name}={getattr(limits, name)!r}\0".encode())
    return digest.hexdigest()


def jit(function: _Function) -> _Function:
    """Compile a kernel on its first call for each combination of argument types."""
    compiled: _Function = _njit(nogil=True, cache=True, error_model="numpy")(function)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        # numba has no public way to say it.
        file._source_stamp = sources_digest(function.__code__.co_filename)  # noqa: SLF001
    return compiled


def jit_inline(function: _Function) -> _Function:
    """Compile a small helper of kernels into each of them."""
    compiled: _Function = _njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)(
        function
    )
    return compiled


def jit_call(function: _Function) -> _Function:
    """Compile a large helper of kernels once for each of them."""
    compiled: _Function = _njit(nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled


def jit_part(function: _Function) -> _Function:
    """Compile a large helper that only kernels call.

    It has no entry for Python, which for a function of many arrays is more code than the function.
    """
    compiled: _Function = _njit(
        nogil=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return compiled


def jit_hot(function: _Function) -> _Function:
    """Compile a helper that only kernels call into each of them; otherwise as jit_part."""
    compiled: _Function = _njit(
        forceinline=True,
        nogil=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return compiled
