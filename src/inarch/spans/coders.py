"""Texts as tokens with offsets, and tokens as batches of a model, in one way for both encoders.

`WordCoder` is for the built-in encoder, `PieceCoder` for any fast Hugging Face tokenizer.

Shapes: B = rows, T = tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from inarch.errors import DataError, WeightsError
from inarch.spans.words import FormTable, WordVocabulary, split_words, writable

Ids = NDArray[np.int64]
WORD_WINDOW = 1024
"""Words that the built-in encoder reads at once."""
_MAX_FORMS = 2**16
"""Forms that are remembered from call to call."""

Spell = Callable[[FormTable], NDArray[np.float32]]
"""From forms to what a convolution finds in their characters."""


class Tokens(NamedTuple):
    """A text as tokens, without special ones."""

    ids: Ids
    """``[T]``."""
    offsets: list[tuple[int, int]]
    """Start and end of each in the text, in code points."""


class Coder(Protocol):
    """What training and tagging ask of either."""

    max_tokens: int
    """Tokens of a text that fit into one window of the model."""

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of texts; those of earlier calls are no longer good for `batch`."""

    def batch(self, rows: Sequence[Ids], tags: Sequence[Ids] | None = None) -> dict[str, Tensor]:
        """Return the inputs of the model for rows of at most ``max_tokens`` tokens.

        Args:
            rows: Ids of `encode`.
            tags: One per token, which become ``labels``.
        """

    def save(self, folder: Path) -> None:
        """Write what `load_coder` reads."""


class WordCoder:
    """Words of a regular expression; ids are places in a table of the forms met so far."""

    max_tokens = WORD_WINDOW

    def __init__(self, vocabulary: WordVocabulary, spell: Spell | None = None) -> None:
        """Hold a vocabulary.

        Args:
            vocabulary: Of the built-in encoder.
            spell: Works out the spelling of forms once, for an encoder that learns no more; its
                batches then hold that in place of characters.
        """
        self.vocabulary = vocabulary
        self._spell = spell
        self._forget()

    def _forget(self) -> None:
        self._ids: dict[str, int] = {}
        self._table = self.vocabulary.table([])
        self._spelling_UF = None if self._spell is None else self._spell(self._table)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """See `Coder`."""
        if self._spell is not None and len(self._ids) > _MAX_FORMS:
            self._forget()
        rows = []
        known = len(self._ids)
        for text in texts:
            forms, offsets = split_words(text)
            ids = [self._ids.setdefault(form, len(self._ids) + 1) for form in forms]
            rows.append(Tokens(np.array(ids, np.int64), offsets))
        new = self.vocabulary.table(list(self._ids)[known:])
        self._table = self._table.extended(new)
        if self._spell is not None and self._spelling_UF is not None:
            self._spelling_UF = np.concatenate([self._spelling_UF, self._spell(new)[1:]])
        return rows

    def batch(self, rows: Sequence[Ids], tags: Sequence[Ids] | None = None) -> dict[str, Tensor]:
        """See `Coder`."""
        lengths = [len(row) for row in rows]
        length = max(lengths, default=0)
        ids_BT = _padded(rows, length, 0, left=False)
        forms, index = np.unique(np.append(ids_BT.ravel(), 0), return_inverse=True)
        table = self._table.rows(forms)
        made: dict[str, NDArray[Any]] = {
            "input_ids": index[:-1].reshape(ids_BT.shape),
            "attention_mask": np.arange(length) < np.array(lengths, np.int64)[:, None],
            **table._asdict(),
        }
        if self._spelling_UF is not None:
            del made["chars_UC"]
            made["spelling_UF"] = self._spelling_UF[forms]
        if tags is not None:
            made["labels"] = _padded(tags, length, 0, left=False)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in made.items()}

    def save(self, folder: Path) -> None:
        """See `Coder`."""
        self.vocabulary.save(folder)


class PieceCoder:
    """A fast tokenizer; its special tokens stand around every window, as it puts them itself."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        if not tokenizer.is_fast:
            raise WeightsError(
                f"found the slow tokenizer {type(tokenizer).__name__}, which knows no offsets;"
                " expected one with a tokenizer.json"
            )
        self.tokenizer = tokenizer
        self._around = _specials(tokenizer)
        self.special_ids = sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
        """Ids that stand for no text, whoever wrote them; UNK is none of them."""
        self.window = max_length
        num_special = len(self._around[0].ids) + len(self._around[1].ids)
        self.max_tokens = max_length - num_special
        if self.max_tokens < 2:
            raise DataError(
                f"found a window of {max_length} tokens, expected at least {num_special + 2}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Return what the config of the model keeps of it."""
        return {"window": self.window, "special_ids": self.special_ids}

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """See `Coder`."""
        if not texts:
            return []
        made = self.tokenizer(
            [writable(text) for text in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            truncation=False,
            verbose=False,
        )
        pairs = zip(made["input_ids"], made["offset_mapping"], strict=True)
        return [self._without_specials(np.array(ids, np.int64), ends) for ids, ends in pairs]

    def _without_specials(self, ids: Ids, offsets: list[tuple[int, int]]) -> Tokens:
        """Leave out special tokens that a text spells, such as ``[SEP]``: the model does not."""
        real = ~np.isin(ids, self.special_ids)
        if real.all():
            return Tokens(ids, offsets)
        return Tokens(ids[real], [offsets[i] for i in np.flatnonzero(real)])

    def batch(self, rows: Sequence[Ids], tags: Sequence[Ids] | None = None) -> dict[str, Tensor]:
        """See `Coder`."""
        before, after = self._around
        full = [np.concatenate([before.ids, row, after.ids]) for row in rows]
        types = [np.concatenate([before.types, np.zeros_like(row), after.types]) for row in rows]
        length = max(map(len, full), default=0)
        left = self.tokenizer.padding_side == "left"
        pad = self.tokenizer.pad_token_id or 0
        made = {
            "input_ids": _padded(full, length, pad, left),
            "attention_mask": _padded([np.ones_like(row) for row in full], length, 0, left),
        }
        if "token_type_ids" in self.tokenizer.model_input_names:
            pad_type = getattr(self.tokenizer, "pad_token_type_id", 0)
            made["token_type_ids"] = _padded(types, length, pad_type, left)
        if tags is not None:
            around = np.zeros_like(before.ids), np.zeros_like(after.ids)
            labels = [np.concatenate([around[0], row, around[1]]) for row in tags]
            made["labels"] = _padded(labels, length, 0, left)
        return {name: torch.from_numpy(value) for name, value in made.items()}

    def save(self, folder: Path) -> None:
        """See `Coder`."""
        self.tokenizer.save_pretrained(folder)


class _Around(NamedTuple):
    ids: Ids
    types: Ids


def _specials(tokenizer: PreTrainedTokenizerBase) -> tuple[_Around, _Around]:
    """Return what a tokenizer puts before and after a text, found where it does so."""
    made = tokenizer("a", return_special_tokens_mask=True, return_token_type_ids=True)
    ids, types = np.array(made["input_ids"]), np.array(made["token_type_ids"])
    text = np.flatnonzero(np.array(made["special_tokens_mask"]) == 0)
    first, last = (int(text[0]), int(text[-1]) + 1) if len(text) else (len(ids), len(ids))
    return _Around(ids[:first], types[:first]), _Around(ids[last:], types[last:])


def _padded(rows: Sequence[Ids], length: int, fill: int, left: bool) -> Ids:
    made = np.full((len(rows), length), fill, np.int64)
    for i, row in enumerate(rows):
        start = length - len(row) if left else 0
        made[i, start : start + len(row)] = row
    return made


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder or of an id on the hub.

    Raises:
        WeightsError: There is none.
    """
    try:
        return AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot load the tokenizer of {name}: {str(error).splitlines()[0]}"
        ) from error
