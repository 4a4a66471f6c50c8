"""Random choices that depend on where an element is, and on nothing else.

The bits of an element are a hash of its flat index under a key, so that any part can be drawn on
its own: the number of threads, the size of the parts and the order of tensors change nothing.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from inarch.merge._stack import Array, namespace

NUM_BITS = 31
FIRST, SECOND = 0x7FEB352D, 0x846CA68B
"""The multipliers of Wellons' ``lowbias32``, whose output bits flip with each input bit at close
to even odds."""


class Key(NamedTuple):
    """What tells one stream of choices from another: two numbers of 32 bits."""

    before: int
    within: int


def key(seed: int, tensor: str, model: int) -> Key:
    """Return the key of one model's choices in one tensor."""
    digest = hashlib.blake2b(f"{seed}\n{model}\n{tensor}".encode(), digest_size=8).digest()
    return Key(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))


def uniform_bits(stream: Key, start: int, like_N: Array) -> Array:
    """Return 31 uniform bits for each element from flat index `start` on, int64 ``[N]``.

    Behind 2^32 elements the choices of a tensor repeat.

    Args:
        stream: Whose.
        start: Flat index of the first element.
        like_N: An array of the length that is wanted, of the library and on the device wanted.
    """
    xp = namespace(like_N)
    mask = 0xFFFFFFFF
    bits_N = xp.arange(start, start + len(like_N), dtype=xp.int64)
    if xp is not np:
        bits_N = bits_N.to(like_N.device)
    # products of two numbers below 2^32 wrap in int64, which leaves their lower 32 bits as they are
    bits_N = (bits_N & mask) ^ stream.before
    bits_N = bits_N ^ (bits_N >> 16)
    bits_N = (bits_N * FIRST + stream.within) & mask
    bits_N = bits_N ^ (bits_N >> 15)
    bits_N = (bits_N * SECOND) & mask
    bits_N = bits_N ^ (bits_N >> 16)
    return bits_N >> (32 - NUM_BITS)


def limit(probability: float) -> int:
    """Return the number that `uniform_bits` are below with the given probability, 0 to 2^31."""
    return round(probability * (1 << NUM_BITS))
