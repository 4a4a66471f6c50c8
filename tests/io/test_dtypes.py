"""Number formats: torch is the judge, and the compiled loops give the bits of the plain ones."""

import numpy as np
import pytest
import torch

from inarch.compiled import AVAILABLE
from inarch.errors import SettingsError, WeightsError
from inarch.io import dtypes
from inarch.io.dtypes import (
    FLOATS,
    dtype_from,
    is_float,
    item_size,
    narrow,
    storage,
    torch_name,
    widen,
)

TORCH = {dtype: getattr(torch, torch_name(dtype)) for dtype in FLOATS}
LARGEST = {"F16": 65504.0, "BF16": 2.0**127 * 255 / 128, "F8_E4M3": 448.0, "F8_E5M2": 57344.0}


@pytest.fixture(params=["compiled", "plain"], autouse=True)
def loops(request, monkeypatch):
    """Every test runs with the compiled loops and without."""
    if request.param == "plain":
        monkeypatch.setattr(dtypes, "WIDEN_LOOPS", {})
        monkeypatch.setattr(dtypes, "NARROW_LOOPS", {})
    elif not AVAILABLE:
        pytest.skip("numba is absent")


def patterns(dtype: str) -> np.ndarray:
    """All numbers of a format of at most 16 bits."""
    size = item_size(dtype)
    return np.arange(1 << 8 * size, dtype=f"u{size}").view(storage(dtype))


def trying(dtype: str) -> np.ndarray:
    """Float32 numbers at, below and above all numbers of a format and what lies half-way."""
    with np.errstate(all="ignore"):
        values = np.empty(len(patterns(dtype)), np.float32)
        widen(patterns(dtype), dtype, values)
        finite = np.sort(values[np.isfinite(values)]).astype(np.float64)
        halves = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
        exact = np.concatenate([finite.astype(np.float32), halves])
        near = [np.nextafter(exact, np.float32(way)) for way in (-np.inf, np.inf)]
        near.append((exact.view(np.uint32) | 0x8000).view(np.float32))
        beyond = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-45, 465, -465])
        random = np.random.default_rng(0).integers(0, 1 << 32, 200_000, np.uint32).view(np.float32)
    return np.concatenate([exact, *near, beyond, random])


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.itemsize}")


def as_torch(raw: np.ndarray, dtype: str) -> torch.Tensor:
    return torch.from_numpy(raw.copy()).view(TORCH[dtype])


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_all_numbers_are_widened_as_torch_does(dtype):
    raw = patterns(dtype)
    out = np.empty(len(raw), np.float32)
    assert not widen(raw, dtype, out)
    expected = as_torch(raw, dtype).float().numpy()
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(out), nan)
    assert np.array_equal(bits(out)[~nan], bits(expected)[~nan])
    finite = np.isfinite(expected)
    assert widen(raw[finite], dtype, out[finite])


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_are_narrowed_as_torch_does(dtype):
    values = trying("BF16" if item_size(dtype) > 2 else dtype)
    out = np.empty(len(values), storage(dtype))
    assert not narrow(values, dtype, out)
    expected = torch.from_numpy(values).to(TORCH[dtype])
    finite = expected.float().isfinite().numpy()
    if dtype == "F8_E4M3":  # torch from 2.10 on cuts off what is above the largest number
        finite &= np.abs(values) <= 464
    expected = expected.view(torch.from_numpy(out[:0]).dtype).numpy()
    assert np.array_equal(bits(out)[finite], bits(expected)[finite])
    assert narrow(values[finite], dtype, out[finite])


@pytest.mark.parametrize("dtype", LARGEST)
def test_what_is_too_large_is_not_finite(dtype):
    largest = np.float32(LARGEST[dtype])
    step = np.empty(2, np.float32)
    code = np.empty(1, storage(dtype))
    assert narrow(np.float32([largest]), dtype, code)
    below = (bits(code) - 1).view(code.dtype)
    assert widen(np.concatenate([below, code]), dtype, step)
    assert step[1] == largest
    half = np.float32(largest + (step[1] - step[0]) / 2)
    # Half-way up is a tie: F8_E4M3 ends on an even code (0x7E) and keeps it, the others are odd.
    assert narrow(np.float32([half]), dtype, code) == (dtype == "F8_E4M3")
    assert not narrow(np.nextafter(np.float32([half]), np.float32(np.inf)), dtype, code)
    assert narrow(np.nextafter(np.float32([half]), np.float32(0)), dtype, code)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_stays_nan_whatever_its_payload(dtype):
    payloads = [1, 0x8000, 0xFFFF, 0x10000, 0x1FFF, 0x400000, 0x7FFFFF]
    bits = np.uint32([sign << 31 | 0x7F800000 | load for sign in (0, 1) for load in payloads])
    raw = np.empty(14, storage(dtype))
    back = np.empty(14, np.float32)
    assert not narrow(bits.view(np.float32), dtype, raw)
    assert not widen(raw, dtype, back)
    assert np.isnan(back).all()
    assert np.array_equal(np.signbit(back), bits >> 31 == 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 5, 36])
def test_one_number_that_is_not_finite_is_noticed(dtype, bad, where):
    values = np.linspace(-1, 1, 37, dtype=np.float32)
    raw = np.empty(37, storage(dtype))
    back = np.empty(37, np.float32)
    assert narrow(values, dtype, raw)
    assert widen(raw, dtype, back)
    values[where] = bad
    assert not narrow(values, dtype, raw)
    assert not widen(raw, dtype, back)
    assert np.isfinite(back).sum() == 36


def test_float64_is_rounded_and_may_overflow():
    out = np.empty(3, np.float32)
    assert widen(np.array([1 + 2**-24, 1 + 3 * 2**-24, -0.0]), "F64", out)
    assert out.tolist() == [1, 1 + 2**-22, 0]  # ties to even
    assert np.signbit(out[2])
    assert not widen(np.array([1e39, 0, 0]), "F64", out)


@pytest.mark.parametrize("dtype", FLOATS)
def test_read_only_and_unaligned_numbers_are_read(dtype):
    values = np.float32([1.5, -2, 0])
    raw = np.empty(3, storage(dtype))
    narrow(values, dtype, raw)
    shifted = np.frombuffer(b"x" + raw.tobytes(), storage(dtype), offset=1)
    out = np.empty(3, np.float32)
    assert widen(shifted, dtype, out)
    assert out.tolist() == [1.5, -2, 0]


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_numbers_are_finite(dtype):
    assert narrow(np.empty(0, np.float32), dtype, np.empty(0, storage(dtype)))
    assert widen(np.empty(0, storage(dtype)), dtype, np.empty(0, np.float32))


def test_names():
    names = ["bfloat16", "torch.bfloat16", "BF16", "bf16", "float8_e4m3fn", "float64", "fp16"]
    expected = ["BF16", "BF16", "BF16", "BF16", "F8_E4M3", "F64", "F16"]
    assert [dtype_from(name) for name in names] == expected
    assert [dtype_from(torch_name(dtype)) for dtype in FLOATS] == list(FLOATS)
    assert (is_float("BF16"), is_float("I64"), item_size("BOOL")) == (True, False, 1)
    with pytest.raises(SettingsError, match=r"'int8', expected one of float64"):
        dtype_from("int8")
    with pytest.raises(WeightsError, match=r"'F4', expected one of F64"):
        storage("F4")
