"""What tells a good model from a better one: bits per byte of a text, or right answers.

The text is in two parts: one on which a search compares models, and one that it never looks at, on
which the winner is reported.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator
from transformers import AutoConfig

from inarch.data import DataSettings, Reader, documents, read, read_raw, usable
from inarch.data.corpus import Raw
from inarch.errors import DataError
from inarch.evaluate import bits_per_byte, score_answers
from inarch.io.generation import answer_greedily
from inarch.io.models import DTYPES, load_model, max_positions
from inarch.io.tokenizers import Tokenizer, load_tokenizer
from inarch.records import Document
from inarch.settings import Settings

logger = logging.getLogger(__name__)

_FEW_BYTES = 2000
"""Below this, differences between good merges are mostly chance."""


class ScoreSettings(Settings):
    """How models are compared: on the bits per byte of a text, or on answers."""

    bits_per_byte: DataSettings | None = None
    """Texts or chats; the model that is the least surprised by them is the best."""
    answers: DataSettings | None = None
    """Chats that end with the right answer; the best model writes most of it, piece by piece."""
    max_new_tokens: PositiveInt = 64
    """Of an answer; a longer one is cut."""
    held_out: float = Field(0.25, ge=0.0, lt=1.0)
    """Share of the rows, or of a single text, on which models are not compared but reported."""
    dtype: Literal["float32", "bf16", "fp16"] = "float32"
    """Format of the weights in memory. In bf16, small differences are lost."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.bits_per_byte is None) == (self.answers is None):
            raise ValueError("expected either bits_per_byte or answers")
        if self.answers is None and "max_new_tokens" in self.model_fields_set:
            raise ValueError("max_new_tokens has no effect on bits_per_byte")
        if self.data.template != "own":
            raise ValueError("template has no effect: each model is asked under its own")
        return self

    @property
    def data(self) -> DataSettings:
        """Return where the rows are."""
        found = self.bits_per_byte or self.answers
        assert found is not None, "one of them is given"  # noqa: S101
        return found

    @property
    def lower_is_better(self) -> bool:
        """Return whether a better model has a smaller score."""
        return self.bits_per_byte is not None

    @property
    def unit(self) -> str:
        """Return what a score is."""
        return "bits per byte" if self.lower_is_better else "share of right pieces"


class Scores(NamedTuple):
    """Of one model."""

    score: float | None
    """On the part on which models are compared; None of a trial that failed."""
    held_out: float | None
    """On the other one; None where nothing is held out."""


class Judge:
    """The rows of both parts, read once, and how models are asked about them."""

    def __init__(self, settings: ScoreSettings, models: Sequence[Path], seed: int) -> None:
        """Read the rows.

        Args:
            settings: Where they are, and what is asked.
            models: Folders of the inputs; texts are cut so that all of them can read them.
            seed: For which rows are held out.

        Raises:
            DataError: There are too few rows, or one that cannot be asked about.
        """
        self.settings = settings
        configs = [AutoConfig.from_pretrained(m, trust_remote_code=False) for m in models]
        limits = (settings.data.max_tokens, *filter(None, map(max_positions, configs)))
        self._max_tokens = min(limits)
        tokenizers = {t.digest: t for t in map(load_tokenizer, map(str, models))}
        rows = split_rows(list(read_raw(settings.data)), settings.held_out, seed)
        self._parts = tuple(self._documents(part, list(tokenizers.values())) for part in rows)
        if not self._parts[0] or (settings.held_out and not self._parts[1]):
            raise DataError(
                f"{settings.data.path}: found no usable row, or too few to hold some out; give "
                "more text, or score.held_out: 0"
            )
        self.num_bytes = _num_bytes(self._parts[0])
        """Of the part on which models are compared."""
        if self.num_bytes < _FEW_BYTES:
            logger.warning(
                "%s: models are compared on %d bytes; differences may be chance",
                settings.data.path,
                self.num_bytes,
            )

    def score(self, model: Path, device: str = "cpu", *, held_out: bool = True) -> Scores:
        """Return the scores of the model in a folder.

        Args:
            model: Its folder, with a tokenizer.
            device: Where it runs.
            held_out: Ask about the other part, too.

        Raises:
            WeightsError: The folder is no model, or the model gives NaN.
        """
        network = load_model(model, dtype=DTYPES[self.settings.dtype], device=device)
        tokenizer = load_tokenizer(str(model))
        search, other = self._parts
        ask = self._bits if self.settings.lower_is_better else self._right
        first = ask(network, tokenizer, search)
        return Scores(first, ask(network, tokenizer, other) if other and held_out else None)

    def _documents(self, rows: Sequence[Raw], tokenizers: Sequence[Tokenizer]) -> list[Document]:
        skipped: Counter[str] = Counter()
        if self.settings.lower_is_better:
            readers = [self._reader(tokenizer) for tokenizer in tokenizers]
            found = list(documents(rows, readers, self._max_tokens, skipped))
        else:
            found = [d for d in (usable(row, skipped) for row in rows) if d is not None]
            _check_answers(found, self.settings.data.path)
        for why, number in (+skipped).items():
            logger.warning("%s: %d %s", self.settings.data.path, number, why)
        return found

    def _reader(self, tokenizer: Tokenizer) -> Reader:
        return Reader(tokenizer, tokenizer, self.settings.data.bos, self.settings.data.eos)

    def _bits(self, network: Any, tokenizer: Tokenizer, texts: Sequence[Document]) -> float:
        return bits_per_byte(network, read(self._reader(tokenizer), texts), _num_bytes(texts))

    def _right(self, network: Any, tokenizer: Tokenizer, asked: Sequence[Document]) -> float:
        """Return the share of the pieces of the right answers that a model writes."""
        chats = [document.messages or () for document in asked]
        answers = answer_greedily(
            network,
            tokenizer,
            [chat[:-1] for chat in chats],
            max_new_tokens=self.settings.max_new_tokens,
        )
        return score_answers(answers, [chat[-1].content for chat in chats]).piece_frac


def _num_bytes(texts: Sequence[Document]) -> int:
    """Return the bytes that are predicted: of texts, or of the answers of chats."""
    contents = (
        [d.text or ""] if d.messages is None else [m.content for m in d.messages if _is_answer(m)]
        for d in texts
    )
    return sum(len(content.encode()) for each in contents for content in each)


def _is_answer(message: Any) -> bool:
    return bool(message.role == "assistant")


def _check_answers(found: Sequence[Document], path: str) -> None:
    for document in found:
        if document.messages is None or not document.messages[:-1]:
            raise DataError(
                f"score.answers: {path} has a row without a question; expected `messages` that end "
                "with the right answer. Texts are for score.bits_per_byte"
            )


def split_rows(rows: Sequence[Raw], held_out: float, seed: int) -> tuple[list[Raw], list[Raw]]:
    """Return the rows to compare on, and those held out; a single text is cut in two."""
    if held_out == 0:
        return list(rows), []
    if len(rows) == 1 and rows[0].text:
        text = rows[0].text
        at = round(len(text) * (1 - held_out))
        cut = max(text.rfind("\n", 0, at), text.rfind(" ", 0, at)) + 1
        halves = [rows[0]._replace(text=part) for part in (text[:cut], text[cut:])]
        return [half for half in halves[:1] if half.text], halves[1:]
    num = max(1, round(held_out * len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = set(order[:num].tolist())
    kept = [row for number, row in enumerate(rows) if number not in chosen]
    return kept, [row for number, row in enumerate(rows) if number in chosen]
