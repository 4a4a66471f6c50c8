"""Number formats of checkpoints: stored numbers to float32 and back, each in one pass.

Names are those of safetensors: ``"BF16"``. Narrowing rounds to the nearest, ties to even, as torch
does. Both directions keep the sign of zero and tell whether all numbers are finite. What is too
large to be narrowed becomes infinite, in F8_E4M3, which has no infinity, NaN (torch from 2.10 on
makes it the largest number instead, and nobody notices). NaN stays NaN, with some payload.

What is compiled (`inarch.io.loops`) has a plain twin here that gives the same bits.

Shapes: N = numbers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.errors import SettingsError, WeightsError
from inarch.io.loops import NARROW_LOOPS, WIDEN_LOOPS

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
    if loop := WIDEN_LOOPS.get(dtype):
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
    if loop := NARROW_LOOPS.get(dtype):
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
