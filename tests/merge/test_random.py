"""Choices: the same everywhere, and as good as coins."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from inarch.merge import _loops
from inarch.merge._random import key, limit, uniform_bits

NUM = 1 << 18
LIKE = np.empty(NUM, np.float32)
STREAMS = [
    key(seed, name, model)
    for seed, name, model in ((0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0))
]


def bits(stream, start=0, num=NUM):
    return uniform_bits(stream, start, LIKE[:num]).astype(np.int64)


def scalar(stream, index):
    """The hash in whole numbers of Python."""
    x = (index % 2**32) ^ stream.before
    x ^= x >> 16
    x = (x * 0x7FEB352D + stream.within) % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    x ^= x >> 16
    return x >> 1


@pytest.mark.parametrize("start", [0, 12345, 2**31 - 3, 2**32 - 3, 2**33 + 5])
def test_the_same_in_numpy_torch_and_compiled(start, monkeypatch):
    for stream in STREAMS:
        expected = [scalar(stream, index) for index in range(start, start + 10)]
        fast = bits(stream, start, 10)
        there = uniform_bits(stream, start, torch.empty(10))
        monkeypatch.setattr(_loops, "uniform_bits", None)
        assert bits(stream, start, 10).tolist() == fast.tolist() == there.tolist() == expected
        monkeypatch.undo()


def test_the_choices_of_a_seed_are_for_ever():
    stream = key(0, "model.embed_tokens.weight", 0)
    assert stream == (2278700530, 1646146568)
    assert bits(stream, 0, 3).tolist() == [491939910, 1146266730, 1069273025]


def test_any_part_can_be_drawn_on_its_own():
    whole = bits(STREAMS[0], 1000, 5000)
    parts = [bits(STREAMS[0], start, 625) for start in range(1000, 6000, 625)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_limits_are_exact_at_both_ends():
    # Bits are 0 ... 2^31 - 1.
    assert [limit(p) for p in (0.0, 0.25, 1.0)] == [0, 2**29, 2**31]


@pytest.mark.parametrize("probability", [0.0, 1e-3, 0.1, 0.5, 0.9, 1.0])
def test_as_many_are_kept_as_promised(probability):
    spread = np.sqrt(NUM * probability * (1 - probability))
    for stream in STREAMS:
        kept = (bits(stream) < limit(probability)).sum()
        assert abs(kept - NUM * probability) <= 4 * spread


def test_neighbours_models_tensors_and_seeds_have_nothing_in_common():
    # The correlation of independent draws has a standard deviation of 1 / sqrt(NUM).
    def correlation(one, two):
        return abs(np.corrcoef(one, two)[0, 1]) * np.sqrt(NUM)

    for stream in STREAMS:
        drawn = bits(stream, 0, NUM)
        for step in (1, 2, 64, 2048):
            assert correlation(drawn[:-step], drawn[step:]) < 4
    for p in (0.5, 0.1):
        masks = [bits(stream) < limit(p) for stream in STREAMS]
        for i, one in enumerate(masks):
            for two in masks[:i]:
                assert correlation(one, two) < 4
            for one_row, next_row in pairwise(one.reshape(8, -1)):
                assert correlation(one_row, next_row) < 4 * np.sqrt(8)


def test_every_byte_comes_as_often():
    # 255 degrees of freedom: mean 255, standard deviation sqrt(510) = 22.6.
    for stream in STREAMS:
        drawn = bits(stream)
        for shift in (0, 8, 16, 23):
            counts = np.bincount((drawn >> shift) & 255, minlength=256)
            chi_square = ((counts - NUM / 256) ** 2 / (NUM / 256)).sum()
            assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


def test_many_keys_give_many_means():
    # Each stream's mean over 4096 elements is normal around a half; so are their squares.
    means = np.array(
        [bits(key(0, f"layers.{i}.weight", i % 4), 0, 4096).mean() for i in range(400)]
    )
    scores = (means / 2**31 - 0.5) * np.sqrt(12 * 4096)
    assert abs(scores.mean()) < 4 / np.sqrt(400)
    assert abs(scores.var() - 1) < 4 * np.sqrt(2 / 400)
    assert np.abs(scores).max() < 4.5
