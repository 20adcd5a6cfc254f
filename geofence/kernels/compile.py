"""The numba decorators of the house, defined once.

`jit` compiles a kernel that Python calls; `jit_inline` a helper that becomes part of the kernel that calls it; `jit_call` a large helper
that stays a function of its own. All release the GIL; `jit` keeps its machine code on disk. `error_model="numpy"` makes a
division by zero give inf or nan instead of a branch to an exception. Neither fastmath nor parallel is ever set: an answer is
evidence and has to be the same on every run.

Helpers do not count references to their arrays (`_nrt=False`): an atomic increment and decrement per array and call would take
longer than the work. So they cannot make arrays, which they must not anyway.

With NUMBA_DISABLE_JIT=1 all return the function as it is, so that every kernel also runs as plain Python.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])


def jit(function: _Function) -> _Function:
    """Compile a kernel on its first call for each combination of argument types."""
    compiled: _Function = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def jit_inline(function: _Function) -> _Function:
    """Compile a small helper of kernels into each of them."""
    compiled: _Function = numba.njit(
        nogil=True, error_model="numpy", forceinline=True, _nrt=False
    )(function)
    return compiled


def jit_call(function: _Function) -> _Function:
    """Compile a large helper of kernels once for each of them."""
    compiled: _Function = numba.njit(nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled


if numba.config.DISABLE_JIT:

    def prefetch(data: npt.NDArray[np.int32], index: int) -> None:
        """Nothing: a hint has no effect on any answer."""

else:

    @intrinsic
    def prefetch(typing_context: Any, data: Any, index: Any) -> Any:  # noqa: ARG001 - numba calls it so
        """Fetch the cache line of data[index] while other work goes on; has no effect on any answer."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.gep(array.data, [arguments[1]])
            byte = builder.bitcast(place, ir.IntType(8).as_pointer())
            word = ir.IntType(32)
            hint = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [byte.type, word, word, word]),
                "llvm.prefetch.p0",
            )
            builder.call(hint, [byte, word(0), word(3), word(1)])
            return context.get_dummy_value()

        return types.void(data, types.intp), generate
