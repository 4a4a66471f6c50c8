"""Texts and chats that are too long for any of the models, cut once for all of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inarch.data.chats import UnreadableChat
from inarch.data.corpus import Raw, digest, usable
from inarch.data.rows import Reader, read
from inarch.records import Document

_NUM_EXTRA = 3  # begin token, end token, and the space that a piece may gain in front


def documents(
    rows: Iterable[Raw], readers: Sequence[Reader], max_tokens: int, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the usable rows, cut so that no reader needs more than ``max_tokens`` tokens.

    A text is cut at byte positions where every tokenizer has a boundary, the last that fits, so
    that all models see the same bytes and nothing is decoded. A chat loses its last exchanges.

    Args:
        rows: Rows of a corpus.
        readers: Every model that will read the documents.
        max_tokens: Longest row, begin and end tokens included.
        skipped: Gains a count for each row left out, by reason.
    """
    index = 0
    for raw in rows:
        document = usable(raw, skipped)
        if document is None:
            continue
        cut = _cut_text if document.messages is None else _cut_chat
        for piece in cut(document, readers, max_tokens, skipped):
            yield piece._replace(index=index)
            index += 1


def _cut_text(
    document: Document, readers: Sequence[Reader], max_tokens: int, skipped: Counter[str]
) -> list[Document]:
    text = document.text or ""
    pieces = cut_text(text, readers, max_tokens)
    if not pieces:
        skipped["texts without a byte position to cut at"] += 1
        return []
    if len(pieces) == 1:
        return [document]
    skipped["texts cut (nothing is lost)"] += 1
    last = len(pieces) - 1
    return [
        document._replace(text=piece, digest=digest(piece, None), ends_here=i == last)
        for i, piece in enumerate(pieces)
    ]


def cut_text(text: str, readers: Sequence[Reader], max_tokens: int) -> list[str]:
    """Return the text in pieces that fit every reader; empty where no shared boundary allows it."""
    encoded = [reader.tokenizer.encode(text) for reader in readers]
    limit = max(max_tokens - _NUM_EXTRA, 1)
    if all(len(e.ids) <= limit for e in encoded):
        return [text]
    content = text.encode()
    # A piece tokenised anew may need a token or two more than in the text; so leave room if we can.
    ends, char_ends = [e.ends for e in encoded], _char_ends(content)
    cuts = _cut_points(ends, char_ends, max(limit - 2, 1)) or _cut_points(ends, char_ends, limit)
    if not cuts:
        return []
    edges = [0, *cuts, len(content)]
    pieces: list[str] = []
    for start, end in pairwise(edges):
        fitting = cut_text(content[start:end].decode(), readers, max_tokens)
        if not fitting:
            return []
        pieces += fitting
    return pieces


def _char_ends(content: bytes) -> NDArray[np.int64]:
    """Byte offsets at which a character of UTF-8 ends."""
    codes = np.frombuffer(content + b"\0", np.uint8)
    return np.flatnonzero((codes & 0xC0) != 0x80)[1:]


def _cut_points(
    ends: Sequence[NDArray[np.int32]], char_ends: NDArray[np.int64], limit: int
) -> list[int]:
    """Return the latest shared boundaries that keep each piece within ``limit`` tokens."""
    shared = char_ends
    for e in ends:
        shared = np.intersect1d(shared, e)
    filled = [np.maximum.accumulate(e) for e in ends]
    total = int(char_ends[-1])
    cuts: list[int] = []
    start = 0
    while True:
        reach = total
        for e in filled:
            # Tokens that end at a cut are before it; at 0 there is nothing before.
            first = int(np.searchsorted(e, start, side="right")) if start else 0
            last = first + limit - 1
            reach = min(reach, int(e[last]) if last < len(e) - 1 else total)
        if reach == total:
            return cuts
        last_fitting = int(np.searchsorted(shared, reach, side="right")) - 1
        if last_fitting < 0 or shared[last_fitting] <= start:
            return []
        start = int(shared[last_fitting])
        cuts.append(start)


def _cut_chat(
    document: Document, readers: Sequence[Reader], max_tokens: int, skipped: Counter[str]
) -> list[Document]:
    messages = document.messages or ()
    answers = [i + 1 for i, m in enumerate(messages) if m.role == "assistant"]
    for num_turns in reversed(answers):
        kept = messages[:num_turns]
        shorter = document._replace(messages=kept, digest=digest(None, kept))
        try:
            rows = [read(reader, [shorter])[0] for reader in readers]
        except UnreadableChat as error:
            skipped[str(error)] += 1
            return []
        if all(len(row.ids) <= max_tokens for row in rows):
            skipped["exchanges cut off long chats"] += len(answers) - answers.index(num_turns) - 1
            return [shorter]
    skipped["chats whose first exchange is too long"] += 1
    return []
