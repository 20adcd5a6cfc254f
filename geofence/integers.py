"""One width of integer in kernels, whatever the width of a column."""

from typing import Any

from afstand.compile import jit_inline


@jit_inline
def wide(value: Any) -> int:
    """Return an integer column value as a 64-bit integer.

    Kernels would otherwise be compiled once for every mixture of widths they are called with.
    (`int` keeps the width of a column when compiled; the product with a literal is 64 bits wide.)
    """
    return int(value) * 1
