"""`jit` for kernels that are made of helpers from many modules.

numba keeps machine code by the content of the file that a kernel stands in, and does not see that a
helper in another file changed: it would run the old rules without a word. Here the key is the
content of the whole package.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any, TypeVar

from geofence.kernels.compile import jit as _jit

_Function = TypeVar("_Function", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def sources_digest() -> str:
    """Return a digest of all Python sources of the package."""
    digest = hashlib.sha256()
    for folder in (resources.files("geofence"), resources.files("geofence.kernels")):
        for entry in sorted(folder.iterdir(), key=lambda item: item.name):
            if entry.name.endswith(".py"):
                digest.update(entry.name.encode() + b"\0" + entry.read_bytes() + b"\0")
    return digest.hexdigest()


def jit(function: _Function) -> _Function:
    """Compile a kernel as `kernels.compile.jit` does, kept until a source of the package changes."""
    compiled = _jit(function)
    cache: Any = getattr(compiled, "_cache", None)
    file = getattr(cache, "_cache_file", None)
    if file is not None:
        file._source_stamp = sources_digest()  # noqa: SLF001 - numba has no public way to say it
    return compiled
