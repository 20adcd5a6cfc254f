"""`jit_part`: a helper of the engine's one kernel that Python never calls itself.

It has no entry for Python. For a function that takes all tables such an entry is larger than the
function, and compiling the entries would take as long as compiling the rules.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])

# numba's own annotations do not know every option that it takes.
_njit: Any = numba.njit


def jit_part(function: _Function) -> _Function:
    """Compile a helper that only kernels call; the options otherwise are those of jit_call."""
    compiled: _Function = _njit(
        nogil=True,
        error_model="numpy",
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return compiled
