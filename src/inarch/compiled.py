"""Loops compiled by numba where it is installed (``pip install 'inarch[fast]'``).

Whatever is compiled has a plain twin in numpy that gives the same bits; numba only makes it faster.
A compiled loop holds no lock of the interpreter, so several threads can run it at once.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

AVAILABLE = (
    os.environ.get("INARCH_COMPILED") != "0" and importlib.util.find_spec("numba") is not None
)
"""Whether loops are compiled: numba is there, and ``INARCH_COMPILED=0`` does not forbid it."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the compiled function, or None where numba is not there: use the plain twin then.

    The machine code is kept beside the source file, or in the user's cache folder. Products and
    sums are rounded one by one, as numpy rounds them: no fused multiply-add, no reordering.

    Trap: numba tells whether kept code is stale by the source file of the outermost loop alone. So
    loops that call each other share a file.
    """
    if not AVAILABLE:
        return None
    from numba import njit

    return njit(nogil=True, cache=True, error_model="numpy")(function)


if AVAILABLE:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def as_float(typing_context, bits):  # type: ignore[no-untyped-def]
        """Return the float32 that 32 bits spell, within a compiled loop."""
        return types.float32(types.uint32), lambda _, builder, __, args: builder.bitcast(
            args[0], ir.FloatType()
        )

    @intrinsic
    def as_bits(typing_context, value):  # type: ignore[no-untyped-def]
        """Return the 32 bits of a float32, within a compiled loop."""
        return types.uint32(types.float32), lambda _, builder, __, args: builder.bitcast(
            args[0], ir.IntType(32)
        )
else:
    as_float = as_bits = None
