"""The compiled loops of `inarch.io.dtypes`: numbers as bits in, as bits out, and are all finite.

Free of branches, so that they become vector instructions. Whether all numbers are finite is told
without a comparison: a full exponent plus one carries into the next bit, and all sums are gathered.
"""

import numpy as np

from inarch.compiled import as_bits, as_float, compiled

_HALF = np.float32(0.5)
_LEAST_F16 = np.float32(2**-14)
"""The least number of F16 that is not subnormal."""


def _widen_bf16(raw, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(raw.size):
        bits = np.uint32(raw[i])
        out[i] = bits << np.uint32(16)
        seen = np.uint32(seen | ((bits & np.uint32(0x7FFF)) + np.uint32(0x80)))
    return seen < np.uint32(0x8000)


def _narrow_bf16(values, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(values.size):
        bits = values[i]
        upper = np.uint32(bits >> np.uint32(16))
        near = np.uint32(bits + (upper & np.uint32(1)) + np.uint32(0x7FFF)) >> np.uint32(16)
        is_nan = np.uint32(bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        short = np.uint32(upper | np.uint32(0x40)) if is_nan else np.uint32(near)
        out[i] = short
        seen = np.uint32(seen | ((short & np.uint32(0x7FFF)) + np.uint32(0x80)))
    return seen < np.uint32(0x8000)


def _widen_f16(raw, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(raw.size):
        short = np.uint32(raw[i])
        size = np.uint32(short & np.uint32(0x7FFF))
        bits = np.uint32(size << np.uint32(13))
        # A subnormal gets the least exponent, and with it a 1 in front; less that 1 it is right.
        small = as_bits(as_float(np.uint32(bits + np.uint32(0x38800000))) - _LEAST_F16)
        usual = np.uint32(bits + np.uint32(0x38000000))
        large = np.uint32(bits + np.uint32(0x70000000))
        wide = small if size < np.uint32(0x400) else usual
        wide = large if size >= np.uint32(0x7C00) else wide
        out[i] = wide | np.uint32((short & np.uint32(0x8000)) << np.uint32(16))
        seen = np.uint32(seen | (size + np.uint32(0x400)))
    return seen < np.uint32(0x8000)


def _narrow_f16(values, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(values.size):
        bits = values[i]
        size = np.uint32(bits & np.uint32(0x7FFFFFFF))
        # Beside 0.5 a float32 has room for the bits that a subnormal keeps: the sum rounds them.
        small = np.uint32(as_bits(np.float32(as_float(size) + _HALF)) - np.uint32(0x3F000000))
        odd = np.uint32(size >> np.uint32(13)) & np.uint32(1)
        usual = np.uint32(np.uint32(size + np.uint32(0xC8000FFF) + odd) >> np.uint32(13))
        large = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else np.uint32(0x7C00)
        short = small if size < np.uint32(0x38800000) else usual
        short = large if size >= np.uint32(0x47800000) else short
        out[i] = short | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000))
        seen = np.uint32(seen | (short + np.uint32(0x400)))
    return seen < np.uint32(0x8000)


def _copy_f32(values, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(values.size):
        bits = values[i]
        out[i] = bits
        seen = np.uint32(seen | ((bits & np.uint32(0x7FFFFFFF)) + np.uint32(0x800000)))
    return seen < np.uint32(0x80000000)


def _widen_fp8(raw, out, table):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(raw.size):
        bits = table[raw[i]]
        out[i] = bits
        seen = np.uint32(seen | ((bits & np.uint32(0x7FFFFFFF)) + np.uint32(0x800000)))
    return seen < np.uint32(0x80000000)


def _narrow_fp8(values, out, table, not_finite):  # type: ignore[no-untyped-def]
    worst = np.uint8(0)
    for i in range(values.size):
        bits = values[i]
        sticky = np.uint32(1) if bits & np.uint32(0xFFFF) else np.uint32(0)
        code = table[np.uint32(bits >> np.uint32(16)) << np.uint32(1) | sticky]
        out[i] = code
        worst = max(worst, np.uint8(code & np.uint8(0x7F)))
    return worst < not_finite


_copy, _by_value, _by_bits = compiled(_copy_f32), compiled(_widen_fp8), compiled(_narrow_fp8)
WIDEN_LOOPS = {
    "F32": _copy,
    "F16": compiled(_widen_f16),
    "BF16": compiled(_widen_bf16),
    "F8_E4M3": _by_value,
    "F8_E5M2": _by_value,
}
"""By format: ``loop(raw, out)``, for fp8 ``loop(raw, out, values)``; None where numba is absent."""
NARROW_LOOPS = {
    "F32": _copy,
    "F16": compiled(_narrow_f16),
    "BF16": compiled(_narrow_bf16),
    "F8_E4M3": _by_bits,
    "F8_E5M2": _by_bits,
}
"""By format: ``loop(values, out)``, for fp8 ``loop(values, out, codes, first not finite)``."""
