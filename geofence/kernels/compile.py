"""The two numba decorators of the house, defined once.

`jit` compiles a kernel that Python calls; `jit_inline` compiles a helper that only kernels call. Both release the
GIL and keep their machine code on disk. `error_model="numpy"` makes a division by zero give inf or nan instead of a branch
to an exception. Neither fastmath nor parallel is ever set: an answer is evidence and has to be the same on every run.

With NUMBA_DISABLE_JIT=1 both return the function as it is, so that every kernel also runs as plain Python.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def jit(function: _Function) -> _Function:
    """Compile a kernel on its first call for each combination of argument types."""
    compiled: _Function = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def jit_inline(function: _Function) -> _Function:
    """Compile a helper of kernels; LLVM inlines it where it is called."""
    compiled: _Function = numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)
    return compiled
