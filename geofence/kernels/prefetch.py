"""A hint to the processor: rows that are needed soon are fetched while other work goes on."""

from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


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
