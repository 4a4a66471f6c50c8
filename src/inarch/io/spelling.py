"""The bytes that tokens spell, and how they lie over the text that they were made from.

Tokenizers write bytes in different alphabets: byte-level ones as 256 printable characters (``Ġ`` is
a space), SentencePiece ones as text with ``▁`` for a space and ``<0x0A>`` for a lone byte.
`canonical_bytes` undoes them. `lay` finds at which byte of the text each token ends, exactly
where the tokens spell the text, and by `lay_by_characters` where a normaliser changed it.

Shapes: T = tokens, V = ids.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inarch.records import NO_BOUNDARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

METASPACE = "▁"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_UNKNOWN = b"\xff"
"""Stands for a token that spells nothing known (<unk>); no text has this byte."""
_UNMATCHED = -9
_WINDOW = 2048
"""Characters aligned at once."""
_WIDEST = 1 << 20
"""Characters of a text to look at for what is spelled next."""
_RUNS = (16, 8, 4)
"""Characters in a row that must agree where a window is left; fewer only if need be."""


class Alphabet(NamedTuple):
    """How a vocabulary writes bytes."""

    byte_level: bool
    """Every character of a token stands for one byte."""
    metaspace: bool
    """``▁`` is a space."""
    byte_fallback: bool
    """``<0x0A>`` is the byte 10."""
    continuation: str
    """Prefix of tokens inside a word (``##``), or ``""``."""


class Cuts(NamedTuple):
    """What a tokenizer cuts out of a text whole, before its pipeline sees the rest; each ``[V]``.

    The same of the tokens of a text, ``[T]``.
    """

    alone: NDArray[np.bool_]
    """The token is cut out."""
    strips_left: NDArray[np.bool_]
    """It takes the white space in front of it along."""
    strips_right: NDArray[np.bool_]
    """It takes the white space behind it along."""

    def of(self, ids: NDArray[np.int32]) -> Cuts:
        """Return the same for the tokens of a text, ``[T]``."""
        return Cuts(self.alone[ids], self.strips_left[ids], self.strips_right[ids])


class Laid(NamedTuple):
    """Tokens over a text; the fields are those of `inarch.io.tokenizers.Encoded`."""

    ends: NDArray[np.int32]
    pending: NDArray[np.bool_]
    pending_first: bool


def alphabet_of(backend: str | None, vocabulary: Sequence[str]) -> Alphabet:
    """Return how a vocabulary writes bytes, decided by its structure.

    Args:
        backend: The fast tokenizer's own JSON, or None where there is none.
        vocabulary: All token strings, the evidence where there is no JSON.
    """
    if backend is None:
        tokens = set(vocabulary)
        return Alphabet(
            byte_level=set(byte_characters()) <= tokens,
            metaspace=any(token.startswith(METASPACE) for token in tokens),
            byte_fallback=all(f"<0x{byte:02X}>" in tokens for byte in range(256)),
            continuation="##" if any(t.startswith("##") and len(t) > 2 for t in tokens) else "",
        )
    pipeline = json.loads(backend)
    steps = list(_steps(pipeline["normalizer"]))
    steps += [*_steps(pipeline["pre_tokenizer"]), *_steps(pipeline["decoder"])]
    kinds = {step["type"] for step in steps}
    replaced = {
        str(step.get("pattern")) + step["content"] for step in steps if step["type"] == "Replace"
    }
    model = pipeline["model"]
    return Alphabet(
        byte_level="ByteLevel" in kinds,
        metaspace="Metaspace" in kinds or any(METASPACE in text for text in replaced),
        byte_fallback=bool(model.get("byte_fallback")) or "ByteFallback" in kinds,
        continuation=model.get("continuing_subword_prefix") or "",
    )


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the steps of a pipeline part, sequences unrolled."""
    if part is None:
        return
    inner = part.get("normalizers") or part.get("pretokenizers") or part.get("decoders")
    if part["type"] != "Sequence":
        yield part
    for step in inner or ():
        yield from _steps(step)


@cache
def byte_characters() -> dict[str, int]:
    """Return the byte that each character of the byte-level alphabet stands for.

    Printable Latin-1 stands for itself; the other 68 bytes take the characters from U+0100 on, in
    order, so that a space is ``Ġ``.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {
        chr(256 + n): byte for n, byte in enumerate(hidden)
    }


def canonical_bytes(token: str, alphabet: Alphabet) -> bytes:
    """Return the bytes that a token of the vocabulary (no added token) spells."""
    if alphabet.byte_level:
        table = byte_characters()
        if all(character in table for character in token):
            return bytes(table[character] for character in token)
        return token.encode()
    if alphabet.byte_fallback and (lone := _BYTE_TOKEN.fullmatch(token)):
        return bytes([int(lone[1], 16)])
    if alphabet.continuation:
        return token.removeprefix(alphabet.continuation).encode()
    return (token.replace(METASPACE, " ") if alphabet.metaspace else token).encode()


def lay(pieces: Sequence[bytes], cuts: Cuts, text: bytes) -> Laid | None:
    """Return where tokens end that spell ``text`` byte for byte, or None if they do not.

    A tokenizer may put one space in front of each segment, that is, at the start and after each
    token that it cuts out of the text before anything else. Whether it did is seen from the bytes.

    Args:
        pieces: Bytes of each token, T of them.
        cuts: Which tokens were cut out of the text whole, ``[T]``.
        text: What was tokenised.
    """
    num = len(pieces)
    lengths = np.fromiter(map(len, pieces), np.int64, num)
    ends = np.cumsum(lengths)
    pending = np.zeros(num, np.bool_)
    pending_first = False
    spelled = b"".join(pieces)
    if spelled == text:
        return Laid(ends.astype(np.int32), pending, pending_first)
    at, start = 0, 0
    for first, last in _segments(cuts.alone):
        if cuts.strips_left[first]:
            at = _past_space(text, at)
        segment = spelled[start : start + int(lengths[first:last].sum())]
        dummy = 0
        if not text.startswith(segment, at):
            dummy = int(segment[:1] == b" " and not cuts.alone[first])
            if not (dummy and text.startswith(segment[1:], at)):
                return None
        ends[first:last] += at - start - dummy
        if dummy and first:
            pending[first - 1] = True
        pending_first |= bool(dummy and not first)
        start += len(segment)
        at += len(segment) - dummy
        if cuts.strips_right[last - 1]:
            at = _past_space(text, at)
            ends[last - 1] = at
    return Laid(ends.astype(np.int32), pending, pending_first) if at == len(text) else None


def _past_space(text: bytes, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _segments(alone: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the runs of tokens between those that stand alone, and those, as [first, last)."""
    changes = alone[1:] | alone[:-1]
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(alone)]
    yield from ((first, last) for first, last in pairwise(borders) if first < last)


def lay_by_characters(pieces: Sequence[bytes | None], text: str) -> Laid:
    """Return where tokens end whose bytes differ from the text's, as far as that is certain.

    The characters that are spelled are aligned with those of the text. A token's end gets a byte
    only where the characters on both of its sides are the same, and neighbours, in the text as
    well; inside a character only where that character is the same. All others get NO_BOUNDARY.

    Args:
        pieces: Bytes of each token, None where it spells nothing known, T of them.
        text: What was tokenised.
    """
    known = [_UNKNOWN if piece is None else piece for piece in pieces]
    spelled = b"".join(known).decode("utf-8", "surrogateescape")
    starts_spelled = _byte_starts(spelled)
    starts_text = _byte_starts(text)
    match = _same_characters(spelled, text)
    pending_first = spelled[:1] == " " and match[1] == _UNMATCHED and match[2] == 0
    if pending_first:
        match[0], match[1] = _UNMATCHED, -1

    ends = np.cumsum([len(piece) for piece in known], dtype=np.int64)
    cut = np.searchsorted(starts_spelled, ends, side="right") - 1  # character that is cut, or next
    inside = ends - starts_spelled[cut]
    before, after = match[cut], match[cut + 1]
    between = (inside == 0) & (before != _UNMATCHED) & (after == before + 1)
    certain = between | ((inside > 0) & (after != _UNMATCHED))
    coordinates = starts_text[np.where(certain, after, 0)] + inside
    laid = np.where(certain, coordinates, NO_BOUNDARY).astype(np.int32)
    return Laid(laid, np.zeros(len(known), np.bool_), bool(pending_first))


def _byte_starts(text: str) -> NDArray[np.int64]:
    """Return the byte at which each character starts, and the length in bytes at the end."""
    lengths = [1 if "\udc80" <= c <= "\udcff" else len(c.encode()) for c in text]
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _same_characters(left: str, right: str) -> NDArray[np.int64]:
    """Return the index in ``right`` of each character of ``left``, or _UNMATCHED.

    Shifted by one, since both edges count: the first entry is -1, the last ``len(right)``. The
    alignment is made on decomposed, case-folded characters, so that what a normaliser did does not
    mislead it, and without white space, which may be any of many; a pair is kept only where the
    characters themselves are equal.
    """
    match = np.full(len(left) + 2, _UNMATCHED, np.int64)
    folded_left, owner_left = _folded(left)
    folded_right, owner_right = _folded(right)
    for i, j in _aligned(folded_left, folded_right):
        a, b = owner_left[i], owner_right[j]
        if left[a] == right[b] and match[a + 1] == _UNMATCHED:
            match[a + 1] = b
    spaces = [i for i, character in enumerate(left) if character.isspace()]
    for i in spaces:  # white space that follows what is matched
        j = int(match[i]) + 1
        if j > 0 and right[j : j + 1] == left[i]:
            match[i + 1] = j
    match[0], match[-1] = -1, len(right)
    before = np.maximum.accumulate(match)
    for i in reversed(spaces):  # and what is left of it in front of what is matched
        j = int(match[i + 2]) - 1
        if match[i + 1] == _UNMATCHED and j > before[i] and right[j] == left[i]:
            match[i + 1] = j
    return match


@cache
def _fold(character: str) -> str:
    return unicodedata.normalize("NFKD", character).casefold() or character


def _folded(text: str) -> tuple[str, list[int]]:
    """Return a text folded and without white space, and the character that each came from."""
    parts = ["" if character.isspace() else _fold(character) for character in text]
    return "".join(parts), [n for n, part in enumerate(parts) for _ in part]


def _aligned(left: str, right: str) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices of a longest common subsequence, found window by window.

    A window is left where enough characters in a row agree, since the match of what comes after
    may lie behind it. Where none do, ``right`` may have a long stretch that ``left`` has not, and
    its window is widened.
    """
    i = j = 0
    width = _WINDOW
    while i < len(left) and j < len(right):
        pairs = _longest_common(left[i : i + _WINDOW], right[j : j + width])
        whole = i + _WINDOW >= len(left) and j + width >= len(right)
        kept = len(pairs) if whole else _trusted(pairs)
        yield from ((i + a, j + b) for a, b in pairs[:kept])
        if kept:
            i, j = i + pairs[kept - 1][0] + 1, j + pairs[kept - 1][1] + 1
            width = _WINDOW
        elif j + width >= len(right) or width >= _WIDEST:
            return
        else:
            width *= 2


def _trusted(pairs: list[tuple[int, int]]) -> int:
    """Return how many pairs go up to the end of the last run of neighbours that is long enough."""
    for length in _RUNS:
        for last in range(len(pairs) - 1, length - 2, -1):
            first = last - length + 1
            if all(pairs[last][side] - pairs[first][side] == length - 1 for side in (0, 1)):
                return last + 1
    return 0


def _longest_common(left: str, right: str) -> list[tuple[int, int]]:
    """Return the index pairs of a longest common subsequence, leftmost in ``right``.

    Bit-parallel (Hyyrö 2004): bit j of row i is 0 where the common length grows from j to j + 1.
    """
    where: dict[str, int] = {}
    for j, character in enumerate(right):
        where[character] = where.get(character, 0) | (1 << j)
    full = (1 << len(right)) - 1
    row = full
    rows = [row]
    for character in left:
        common = row & where.get(character, 0)
        row = ((row + common) | (row - common)) & full
        rows.append(row)
    pairs = []
    i, j = len(left), len(right)
    while i and j:
        if rows[i] >> (j - 1) & 1:
            j -= 1
        elif not rows[i - 1] >> (j - 1) & 1:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
