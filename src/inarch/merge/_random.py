"""Random choices that depend on where an element is, and on nothing else.

The bits of an element are a hash of its flat index under a key, so that any part can be drawn on
its own: the number of threads, the size of the parts and the order of tensors change nothing.
The hash is for ever: another one would give every seed other choices.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from inarch.merge import _loops
from inarch.merge._loops import FIRST, NUM_BITS, SECOND
from inarch.merge._stack import Array, namespace

MASK = 0xFFFFFFFF


class Key(NamedTuple):
    """What tells one stream of choices from another: two numbers of 32 bits."""

    before: int
    within: int


def key(seed: int, tensor: str, model: int) -> Key:
    """Return the key of one model's choices in one tensor."""
    digest = hashlib.blake2b(f"{seed}\n{model}\n{tensor}".encode(), digest_size=8).digest()
    return Key(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))


def limit(probability: float) -> int:
    """Return the number that `uniform_bits` are below with the given probability, 0 to 2^31."""
    return round(probability * (1 << NUM_BITS))


def uniform_bits(stream: Key, start: int, like_N: Array) -> Array:
    """Return 31 uniform bits for each element from flat index `start` on, ``[N]``.

    Behind 2^32 elements the choices of a tensor repeat.

    Args:
        stream: Whose.
        start: Flat index of the first element.
        like_N: An array of the length that is wanted, of the library and on the device wanted.
    """
    if isinstance(like_N, np.ndarray) and _loops.uniform_bits is not None:
        bits_N = np.empty(len(like_N), np.uint32)
        _loops.uniform_bits(np.uint32(start & MASK), *map(np.uint32, stream), bits_N)
        return bits_N
    return _bits_plain(stream, start, like_N)


def _bits_plain(stream: Key, start: int, like_N: Array) -> Array:
    xp = namespace(like_N)
    bits_N = xp.arange(start, start + len(like_N), dtype=xp.int64)
    if xp is not np:
        bits_N = bits_N.to(like_N.device)
    # products of two numbers below 2^32 wrap in int64, which leaves their lower 32 bits as they are
    bits_N = (bits_N & MASK) ^ stream.before
    bits_N = bits_N ^ (bits_N >> 16)
    bits_N = (bits_N * FIRST + stream.within) & MASK
    bits_N = bits_N ^ (bits_N >> 15)
    bits_N = (bits_N * SECOND) & MASK
    bits_N = bits_N ^ (bits_N >> 16)
    return bits_N >> (32 - NUM_BITS)
