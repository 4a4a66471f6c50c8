"""Documents as the token rows of one model, with their coordinates in the shared stream.

The coordinates are those of ``inarch.records``: one segment for a text, one per answer of a chat.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from inarch.data.chats import Rendering, render
from inarch.io.tokenizers import Encoded, Tokenizer
from inarch.records import NO_BOUNDARY, Document, TokenRow


class Reader(NamedTuple):
    """How one model reads documents."""

    tokenizer: Tokenizer
    template: Tokenizer
    """Whose chat template renders the chats: the model's own, or another's."""
    bos: bool = True
    eos: bool = True


def read(reader: Reader, documents: Sequence[Document]) -> list[TokenRow]:
    """Return one token row per document, all texts or all chats alike.

    Raises:
        UnreadableChat: A chat template does not show an answer as it is.
    """
    renderings = [
        None if d.messages is None else render(reader.template.hf, d.messages) for d in documents
    ]
    texts = [d.text or "" for d, r in zip(documents, renderings, strict=True) if r is None]
    chats = [r.text for r in renderings if r is not None]
    of_text = iter(reader.tokenizer.encode_many(texts))
    of_chat = iter(reader.tokenizer.encode_many(chats, specials=True))
    return [
        _text_row(reader, document, next(of_text))
        if rendering is None
        else _chat_row(reader.tokenizer, document, rendering, next(of_chat))
        for document, rendering in zip(documents, renderings, strict=True)
    ]


def _text_row(reader: Reader, document: Document, encoded: Encoded) -> TokenRow:
    roles = reader.tokenizer.roles
    bos = [roles["bos"]] if reader.bos and "bos" in roles else []
    eos = [roles["eos"]] if reader.eos and document.ends_here and "eos" in roles else []
    num_bytes = len((document.text or "").encode())
    ids = np.concatenate([bos, encoded.ids, eos]).astype(np.int32)
    ends = np.concatenate(
        [[-1 if encoded.pending_first else 0] * len(bos), encoded.ends, [num_bytes + 1] * len(eos)]
    ).astype(np.int32)
    supervised = np.arange(len(ids)) < len(ids) - 1
    return TokenRow(ids, ends, supervised, encoded.exact)


def _chat_row(
    tokenizer: Tokenizer, document: Document, rendering: Rendering, encoded: Encoded
) -> TokenRow:
    num_tokens = len(encoded.ids)
    ends = np.full(num_tokens, NO_BOUNDARY, np.int32)
    supervised = np.zeros(num_tokens, np.bool_)
    closing = [*tokenizer.special_ids, tokenizer.roles.get("eot", -1)]
    special = np.isin(encoded.ids, closing)
    known = encoded.ends != NO_BOUNDARY
    located = known[:-1] & known[1:]
    begins = np.maximum.accumulate(encoded.ends)[:-1]
    after = np.where(known, encoded.ends, np.iinfo(np.int32).max)
    finishes = np.minimum.accumulate(after[::-1])[::-1][1:]
    rendered = rendering.text.encode()
    contents = [m.content for m in document.messages or () if m.role == "assistant"]
    base = 0
    for answer, content in zip(rendering.answers, contents, strict=True):
        num_bytes = len(content.encode())
        start, end = answer.start, answer.end
        first = base + answer.num_trimmed_left
        spaced = rendered[start - 1 : start] == b" "

        inside = (encoded.ends >= start) & (encoded.ends <= end)
        ends[inside] = encoded.ends[inside] - start + first
        if not answer.num_trimmed_left:
            # The next token spells a space that only this tokenizer or template has.
            ends[(encoded.ends == start) & encoded.pending] = base - 1
            if spaced:
                ends[encoded.ends == start - 1] = base - 1

        # Token t + 1 is learnt if it holds a byte of the answer or the space put in front of it,
        # or is the special that ends the turn.
        holds = (begins < end) & (finishes > start)
        holds &= located | ((begins >= start) & (finishes <= end))
        opens = (begins == start) & encoded.pending[:-1]
        opens |= spaced & (begins == start - 1) & (finishes == start)
        closes = (begins == end) & special[1:]
        supervised[:-1] |= holds | opens | closes
        if answer.num_trimmed_right:
            # Here this model ends the turn where one that keeps the white space goes on.
            ends[encoded.ends == end] = NO_BOUNDARY
        else:
            ends[1:][closes] = base + num_bytes + 1
        base += num_bytes + 3
    return TokenRow(encoded.ids, ends, supervised, encoded.exact)
