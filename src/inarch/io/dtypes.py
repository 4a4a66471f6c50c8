"""Number formats of checkpoints: stored numbers to float32 and back, each in one pass.

Names are those of safetensors: ``"BF16"``. Narrowing rounds to the nearest, ties to even, as torch
does. Both directions keep the sign of zero and tell whether all numbers are finite. What is too
large to be narrowed becomes infinite, in F8_E4M3, which has no infinity, NaN (torch from 2.10 on
makes it the largest number instead, and nobody notices). NaN stays NaN, with some payload.

What is compiled has a plain twin in numpy that gives the same bits.

Shapes: N = numbers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.compiled import as_bits, as_float, compiled
from inarch.errors import SettingsError, WeightsError

Floats = npt.NDArray[np.float32]
Raw = npt.NDArray[Any]
"""Numbers as they lie in the file, ``[N]``, of the type that `storage` returns."""

_STORAGE = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "F8_E4M3": np.uint8,
    "F8_E5M2": np.uint8,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}
"""How numpy holds each format; those that it does not know, as bits."""

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Formats that `widen` and `narrow` convert; others can only be copied."""

_TORCH_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
_SHORT_NAMES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


def dtype_from(name: str) -> str:
    """Return the safetensors name of a floating format: ``bfloat16`` and ``BF16`` give ``BF16``.

    Raises:
        SettingsError: It is none.
    """
    short = name.removeprefix("torch.")
    found = _TORCH_NAMES.get(short) or _SHORT_NAMES.get(short.lower()) or short.upper()
    if found not in FLOATS:
        raise SettingsError(
            f"found the number format {name!r}, expected one of {', '.join(_TORCH_NAMES)}"
        )
    return found


def torch_name(dtype: str) -> str:
    """Return what torch and ``config.json`` call a floating format: ``BF16`` gives ``bfloat16``."""
    return next(name for name, known in _TORCH_NAMES.items() if known == dtype)


def storage(dtype: str) -> "np.dtype[Any]":
    """Return the type in which numpy holds the numbers of a format.

    Raises:
        WeightsError: The format is unknown here.
    """
    if dtype not in _STORAGE:
        raise WeightsError(
            f"found the number format {dtype!r}, expected one of {', '.join(_STORAGE)}"
        )
    return np.dtype(_STORAGE[dtype])


def item_size(dtype: str) -> int:
    """Return the bytes of one number; see `storage`."""
    return storage(dtype).itemsize


def is_float(dtype: str) -> bool:
    """Return whether `widen` and `narrow` take the format."""
    return dtype in FLOATS


def widen(raw: Raw, dtype: str, out: Floats) -> bool:
    """Write stored numbers as float32, exactly (F64 is rounded); return whether all are finite.

    Args:
        raw: Numbers as stored, ``[N]``.
        dtype: Their format, one of FLOATS.
        out: Where to, contiguous ``[N]``.
    """
    if loop := _WIDEN_LOOPS.get(dtype):
        table = (_fp8_values(dtype).view(np.uint32),) if dtype in _FP8 else ()
        return bool(loop(raw.view(f"u{raw.itemsize}"), out.view(np.uint32), *table))
    return _widen_plainly(raw, dtype, out)


def narrow(values: Floats, dtype: str, out: Raw) -> bool:
    """Write float32 numbers as a format stores them; return whether all of those are finite.

    Args:
        values: Contiguous ``[N]``.
        dtype: The format, one of FLOATS.
        out: Where to, ``[N]``.
    """
    if loop := _NARROW_LOOPS.get(dtype):
        table = (_fp8_codes(dtype), _FP8[dtype].not_finite) if dtype in _FP8 else ()
        return bool(loop(values.view(np.uint32), out.view(f"u{out.itemsize}"), *table))
    return _narrow_plainly(values, dtype, out)


def _widen_plainly(raw: Raw, dtype: str, out: Floats) -> bool:
    if dtype == "BF16":
        np.left_shift(raw, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
    elif dtype in _FP8:
        np.take(_fp8_values(dtype), raw, out=out, mode="clip")
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            out[:] = raw
    return bool(np.isfinite(out).all())


def _narrow_plainly(values: Floats, dtype: str, out: Raw) -> bool:
    bits = values.view(np.uint32)
    if dtype == "BF16":
        nan = np.isnan(values)
        out[:] = (bits + (bits >> 16 & 1) + 0x7FFF) >> 16
        out[nan] = bits[nan] >> 16 | 0x40
        return bool(((out & 0x7F80) != 0x7F80).all())
    if dtype in _FP8:
        # The upper half of the bits and whether anything lies below it decide how to round.
        np.take(_fp8_codes(dtype), bits >> 16 << 1 | (bits & 0xFFFF != 0), out=out, mode="clip")
        return bool(((out & 0x7F) < _FP8[dtype].not_finite).all())
    with np.errstate(over="ignore", invalid="ignore"):
        out[:] = values
    return bool(np.isfinite(out).all())


class _Fp8(NamedTuple):
    """An 8-bit format: a sign, an exponent and a mantissa."""

    mantissa: int
    """Bits of the mantissa."""
    bias: int
    """Of the exponent."""
    not_finite: int
    """The first code, without sign, that is not finite: what too large numbers become."""


_FP8 = {"F8_E4M3": _Fp8(3, 7, 0x7F), "F8_E5M2": _Fp8(2, 15, 0x7C)}


@cache
def _fp8_values(dtype: str) -> Floats:
    """Return the number that each code spells, ``[256]``."""
    form = _FP8[dtype]
    codes = np.arange(128)
    exponent, fraction = codes >> form.mantissa, codes & ((1 << form.mantissa) - 1)
    fraction += np.where(exponent > 0, 1 << form.mantissa, 0)  # of a subnormal there is no 1 ahead
    values = np.ldexp(fraction, np.maximum(exponent, 1) - form.bias - form.mantissa)
    values[form.not_finite :] = np.nan
    if dtype == "F8_E5M2":
        values[form.not_finite] = np.inf
    return np.concatenate([values, -values]).astype(np.float32)


@cache
def _fp8_codes(dtype: str) -> Raw:
    """Return the code of each float32, told by sign, exponent, 7 bits and a sticky one, ``[2^17]``.

    Half-way points between codes have at most 4 bits, so that these keys tell all sides of them.
    """
    form = _FP8[dtype]
    values = _fp8_values(dtype)[: form.not_finite].astype(np.float64)
    step = values[-1] - values[-2]
    halves = (values + np.append(values[1:], values[-1] + step)) / 2
    key = np.arange(1 << 16, dtype=np.uint32)
    number = (key >> 1 << 16 | key & 1).view(np.float32)
    with np.errstate(invalid="ignore"):  # of signalling NaN
        codes = np.searchsorted(halves, number, side="left")
        even = np.searchsorted(halves, number, side="right")
    codes = np.where(even % 2 == 0, even, codes)  # they differ on a half-way point only
    codes[np.isnan(number)] = 0x7F
    return np.concatenate([codes, codes | 0x80]).astype(np.uint8)


_HALF = np.float32(0.5)
_LEAST_F16 = np.float32(2**-14)
"""The least number of F16 that is not subnormal."""


def _widen_bf16(raw, out):  # type: ignore[no-untyped-def]
    seen = np.uint32(0)
    for i in range(raw.size):
        bits = np.uint32(raw[i])
        out[i] = bits << np.uint32(16)
        # A full exponent plus one carries into the next bit.
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
_WIDEN_LOOPS = {
    "F32": _copy,
    "F16": compiled(_widen_f16),
    "BF16": compiled(_widen_bf16),
    "F8_E4M3": _by_value,
    "F8_E5M2": _by_value,
}
_NARROW_LOOPS = {
    "F32": _copy,
    "F16": compiled(_narrow_f16),
    "BF16": compiled(_narrow_bf16),
    "F8_E4M3": _by_bits,
    "F8_E5M2": _by_bits,
}
