"""Byte-exact tokenizers: which bytes each token spells, and at which byte of a text it ends.

A `Tokenizer` is a record around a Hugging Face one. Nothing here knows model families: the byte
alphabet is read from the tokenizer's own pipeline, a dummy space is seen from the bytes, and the
token that ends a turn is found by rendering a probe chat.

Shapes: T = tokens, V = ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tokenizers
from jinja2 import TemplateError
from transformers import AutoTokenizer

from inarch.errors import DataError, WeightsError
from inarch.io.spelling import Alphabet, Cuts, alphabet_of, canonical_bytes, lay, lay_by_characters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_SENTINEL = "inarchprobe"


class Encoded(NamedTuple):
    """The tokens of one text; no token is added at either end."""

    ids: NDArray[np.int32]
    """Token ids, ``[T]``."""
    ends: NDArray[np.int32]
    """Byte of the text's UTF-8 at which each token ends, or NO_BOUNDARY, ``[T]``."""
    pending: NDArray[np.bool_]
    """The next token spells a space in front that the text does not have, ``[T]``."""
    pending_first: bool
    """The same before the first token."""
    exact: bool
    """The tokens spell the text byte for byte, such spaces aside."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A Hugging Face tokenizer and what is known about its bytes."""

    hf: Any
    """The tokenizer that was loaded."""
    name: str
    """Where it was loaded from."""
    backend: tokenizers.Tokenizer | None
    """An own copy of the fast tokenizer without truncation and padding, if there is one."""
    digest: str
    """Digest of vocabulary, pipeline and roles."""
    alphabet: Alphabet
    """How the vocabulary writes bytes."""
    names: list[str | None]
    """The vocabulary's own string of each id, V; None for holes."""
    pieces: list[bytes | None]
    """Canonical bytes of each id; None for special tokens, the unknown token and holes; V."""
    cuts: Cuts
    """Which ids are added tokens, cut out of a text before the pipeline sees the rest, ``[V]``."""
    roles: dict[str, int]
    """Ids of ``bos``, ``eos``, ``eot`` (ends a turn), ``unk`` and ``pad``, where present."""
    special_ids: frozenset[int]
    """Ids of tokens that are never part of plain text."""

    @property
    def size(self) -> int:
        """Return the number of ids, added tokens and holes included."""
        return len(self.pieces)

    @cached_property
    def special(self) -> NDArray[np.bool_]:
        """Return which ids are special, ``[V]``."""
        special = np.zeros(self.size, np.bool_)
        special[list(self.special_ids)] = True
        return special

    @cached_property
    def _literal(self) -> list[bytes]:
        """Return the bytes of each id where special tokens count as what they are written as."""
        return [
            piece if piece is not None else (name or "").encode()
            for piece, name in zip(self.pieces, self.names, strict=True)
        ]

    def encode(self, text: str, *, specials: bool = False) -> Encoded:
        """Return the tokens of one text; see `encode_many`."""
        return self.encode_many([text], specials=specials)[0]

    def encode_many(self, texts: Sequence[str], *, specials: bool = False) -> list[Encoded]:
        """Return the tokens of each text.

        Args:
            texts: Any texts.
            specials: Special tokens spelled in a text (a rendered chat) are read as such, and
                their written form counts as their bytes. Otherwise they are plain text.

        Raises:
            DataError: A text holds half a surrogate pair and so has no UTF-8.
        """
        return [
            self._laid(ids, text, specials)
            for ids, text in zip(self._ids(texts, specials), texts, strict=True)
        ]

    def _ids(self, texts: Sequence[str], specials: bool) -> Iterable[Sequence[int]]:
        for number, text in enumerate(texts):
            if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                msg = (
                    f"text {number} of this batch holds half of a surrogate pair, which has no "
                    "UTF-8; expected valid Unicode. Clean the text or drop the row"
                )
                raise DataError(msg)
        if self.backend is None:
            return (
                self.hf.encode(text, add_special_tokens=False, split_special_tokens=not specials)
                for text in texts
            )
        self.backend.encode_special_tokens = not specials
        batch = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return (encoding.ids for encoding in batch)

    def _laid(self, ids: Sequence[int], text: str, specials: bool) -> Encoded:
        ids_T = np.asarray(ids, np.int32)
        table = self._literal if specials else self.pieces
        pieces = [table[token] for token in ids]
        laid = None
        if None not in pieces:
            laid = lay([piece or b"" for piece in pieces], self.cuts.of(ids_T), text.encode())
        exact = laid is not None
        if laid is None:
            unk = self.roles.get("unk")
            unknown = [None if t == unk else p for t, p in zip(ids, pieces, strict=True)]
            laid = lay_by_characters(unknown, text)
        return Encoded(ids_T, *laid, exact)


def load_tokenizer(path_or_id: str) -> Tokenizer:
    """Return the tokenizer of a folder or hub id; code that comes with it is never run.

    Raises:
        WeightsError: There is no tokenizer that loads without running foreign code.
    """
    try:
        hf = AutoTokenizer.from_pretrained(path_or_id, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as problem:
        msg = (
            f"found no tokenizer at {path_or_id!r} ({str(problem).splitlines()[0]}); expected a "
            "folder with tokenizer.json or a hub id. Check the path, or log in if it is gated"
        )
        raise WeightsError(msg) from problem
    return wrap_tokenizer(hf, str(path_or_id))


def wrap_tokenizer(hf: Any, name: str) -> Tokenizer:
    """Return the record for a Hugging Face tokenizer that is loaded already.

    Args:
        hf: Fast, slow, or anything with their interface.
        name: What messages call it.
    """
    backend = _own_backend(hf)
    names = _names(hf)
    tokens = dict(hf.added_tokens_decoder)
    special = {token for token, added in tokens.items() if added.special} | set(hf.all_special_ids)
    alphabet = alphabet_of(backend.to_str() if backend else None, [n for n in names if n])
    pieces: list[bytes | None] = []
    for token, text in enumerate(names):
        if text is None or token in special:
            pieces.append(None)
        elif token in tokens:
            pieces.append(str(tokens[token].content).encode())
        else:
            pieces.append(canonical_bytes(text, alphabet))
    cuts = Cuts(*np.zeros((3, len(names)), np.bool_))
    for token, added in tokens.items():
        for flags, value in zip(cuts, (True, added.lstrip, added.rstrip), strict=True):
            flags[token] = value
    roles = {
        role: int(token)
        for role in ("bos", "eos", "unk", "pad")
        if (token := getattr(hf, f"{role}_token_id")) is not None
    }
    record = Tokenizer(
        hf=hf,
        name=name,
        backend=backend,
        digest="",
        alphabet=alphabet,
        names=names,
        pieces=pieces,
        cuts=cuts,
        roles=roles,
        special_ids=frozenset(int(token) for token in special),
    )
    if (eot := _end_of_turn(record)) is not None:
        roles["eot"] = eot
    return _with_digest(record)


def _own_backend(hf: Any) -> tokenizers.Tokenizer | None:
    if not getattr(hf, "is_fast", False):
        return None
    backend = tokenizers.Tokenizer.from_str(hf.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def _names(hf: Any) -> list[str | None]:
    """Return the token string of each id, None for ids without one."""
    vocabulary = hf.get_vocab()
    names: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for text, token in vocabulary.items():
        names[token] = text
    return names


def _end_of_turn(tokenizer: Tokenizer) -> int | None:
    """Return the token that the chat template writes behind an answer, else the end of text.

    It is the first special token behind the answer; where the template has none, the first
    added token there that is no white space.
    """
    eos = tokenizer.roles.get("eos")
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": _SENTINEL}]
    try:
        rendered = tokenizer.hf.apply_chat_template(chat, tokenize=False)
    except (TemplateError, ValueError, AttributeError):  # no template, or one with other demands
        return eos
    _, found, behind = rendered.rpartition(_SENTINEL)
    if not found:
        return eos
    ids = tokenizer.encode(behind, specials=True).ids.tolist()
    special = [token for token in ids if token in tokenizer.special_ids]
    added = [t for t in ids if tokenizer.cuts.alone[t] and (tokenizer.pieces[t] or b"x").strip()]
    return next(iter(special + added), eos)


def _with_digest(record: Tokenizer) -> Tokenizer:
    content = [record.names, sorted(record.roles.items()), sorted(record.special_ids)]
    text = json.dumps(content) + (record.backend.to_str() if record.backend else "")
    return replace(record, digest=blake2b(text.encode(), digest_size=16).hexdigest())
