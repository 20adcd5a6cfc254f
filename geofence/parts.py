"""What every fix runs through: helpers that become part of their caller, and rows fetched ahead.

Handing over all tables to a function of its own costs as much as a cache miss.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

# numba's own annotations do not know every option that it takes.
_njit: Any = numba.njit


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


def _no_prefetch(_rows: Any, _index: int, _offset: int) -> None:
    """Nothing: a hint has no effect on any answer."""


def _prefetch(_typing: Any, rows: Any, index: Any, offset: Any) -> Any:
    """Ask for the cache line `offset` bytes into rows[index] while other work goes on.

    An index into a table of several columns counts its numbers, not its rows.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        row = builder.gep(array.data, [arguments[1]])
        byte = builder.gep(builder.bitcast(row, ir.IntType(8).as_pointer()), [arguments[2]])
        word = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        name = "llvm.prefetch.p0"
        hint = builder.module.globals.get(name) or ir.Function(builder.module, shape, name)
        builder.call(hint, [byte, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(rows, index, offset), generate


_config: Any = numba.config
prefetch: Any = _no_prefetch if _config.DISABLE_JIT else intrinsic(_prefetch)
