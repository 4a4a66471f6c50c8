"""Words of a text, and what the built-in encoder sees of each.

A *form* is a word as it is spelt. What the encoder sees depends on the form alone, so a batch
holds each of its forms once, and rows of indices into them.

Shapes: U = forms, C = characters of a form, F = flags.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import WeightsError
from inarch.io.files import write_json

WORD = re.compile(r"\w+(?:['’*@#$!]+\w+)*|[^\w\s]")
"""A word, with the marks that hide letters inside it (``f**k``), or one sign."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair, which JSON can spell and UTF-8 cannot."""

VOCABULARY = "words.json"
PADDING, UNKNOWN = 0, 1
NUM_RESERVED = 2
MAX_CHARS = 20
"""Characters of a form that the encoder reads."""
NUM_FLAGS = 7


class FormTable(NamedTuple):
    """What the encoder sees of some forms; the first stands for padding."""

    words_U: NDArray[np.int64]
    """Ids of the forms in lower case."""
    chars_UC: NDArray[np.int64]
    """Ids of the first characters, then PADDING."""
    flags_UF: NDArray[np.float32]
    """0 or 1; see `_flags`."""

    def extended(self, other: FormTable) -> FormTable:
        """Return these forms and then others, whose padding is left out."""
        return FormTable(
            np.concatenate([self.words_U, other.words_U[1:]]),
            np.concatenate([self.chars_UC, other.chars_UC[1:]]),
            np.concatenate([self.flags_UF, other.flags_UF[1:]]),
        )

    def rows(self, index: NDArray[np.int64]) -> FormTable:
        """Return some of the forms; their characters end with the longest."""
        chars_UC = self.chars_UC[index]
        width = max(1, int((chars_UC != PADDING).sum(1).max(initial=0)))
        return FormTable(self.words_U[index], chars_UC[:, :width], self.flags_UF[index])


def writable(text: str) -> str:
    """Return a text of the same length with U+FFFD for each half of a surrogate pair."""
    return _SURROGATE.sub("\ufffd", text)


def split_words(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the forms of a text, `writable`, and start and end of each."""
    text = writable(text)
    offsets = [found.span() for found in WORD.finditer(text)]
    return [text[start:end] for start, end in offsets], offsets


class WordVocabulary:
    """Ids of words in lower case and of characters, as ``words.json`` beside the weights."""

    def __init__(self, words: Sequence[str], characters: Sequence[str]) -> None:
        self.words = tuple(words)
        self.characters = tuple(characters)
        self._words = {word: i for i, word in enumerate(self.words, NUM_RESERVED)}
        self._characters = {char: i for i, char in enumerate(self.characters, NUM_RESERVED)}

    @classmethod
    def of(cls, forms: Iterable[str], min_count: int) -> WordVocabulary:
        """Return the words and characters that occur often enough, the commonest first."""
        counts = Counter(forms)
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for form, number in counts.items():
            words[form.lower()] += number
            for char in form[:MAX_CHARS]:
                characters[char] += number
        return cls(_common(words, min_count), _common(characters, min_count))

    @property
    def num_words(self) -> int:
        """Return how many ids of words there are, with the reserved ones."""
        return len(self.words) + NUM_RESERVED

    @property
    def num_characters(self) -> int:
        """Return how many ids of characters there are, with the reserved ones."""
        return len(self.characters) + NUM_RESERVED

    def table(self, forms: Sequence[str]) -> FormTable:
        """Return what the encoder sees of padding, and then of each form."""
        size = len(forms) + 1
        words_U = np.zeros(size, np.int64)
        chars_UC = np.zeros((size, MAX_CHARS), np.int64)
        flags_UF = np.zeros((size, NUM_FLAGS), np.float32)
        for i, form in enumerate(forms, 1):
            words_U[i] = self._words.get(form.lower(), UNKNOWN)
            known = [self._characters.get(char, UNKNOWN) for char in form[:MAX_CHARS]]
            chars_UC[i, : len(known)] = known
            flags_UF[i] = _flags(form)
        return FormTable(words_U, chars_UC, flags_UF)

    def save(self, folder: Path) -> None:
        """Write ``words.json``."""
        content = {"words": self.words, "characters": "".join(self.characters)}
        write_json(folder / VOCABULARY, content)

    @classmethod
    def load(cls, folder: Path) -> WordVocabulary:
        """Read ``words.json``.

        Raises:
            WeightsError: It is absent, or not what `save` writes.
        """
        path = folder / VOCABULARY
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["words"], content["characters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"cannot read {path} ({error}); expected the words of the built-in encoder, which"
                " `inarch spans train` writes beside the weights; copy the whole folder"
            ) from None


def _flags(form: str) -> list[bool]:
    return [
        form.islower(),
        form.isupper() and len(form) > 1,
        form[0].isupper(),
        any(char.isdigit() for char in form),
        not form[0].isalnum(),
        not form.isalnum() and len(form) > 1,
        not form.isascii(),
    ]


def _common(counts: Counter[str], min_count: int) -> list[str]:
    often = [(-number, name) for name, number in counts.items() if number >= min_count]
    return [name for _, name in sorted(often)]
