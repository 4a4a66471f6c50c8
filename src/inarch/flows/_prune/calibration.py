"""The rows that a pruned model is judged by, and others of the same file that no choice is made on.

Source:  BlockPruner, arXiv:2406.10594, section 4.1 and its code: a random sample of rows of text,
         joined by blank lines, read as one, cut in rows of one length, the rest dropped.
Differs: chats are rows of their own, in which the answers count.

Shapes: S = rows, T = tokens of the longest row.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from inarch.data import DataSettings, Reader, documents, read, read_raw, usable
from inarch.data.corpus import Raw
from inarch.errors import DataError
from inarch.flows._search.judge import split_rows
from inarch.io.tokenizers import Tokenizer
from inarch.prune._rows import Rows
from inarch.records import Document
from inarch.settings import Settings

logger = logging.getLogger(__name__)

_PAD = 0
"""What stands in padding; nothing ever looks at it."""
_SHARE_HELD_OUT = 0.25
"""At least so much of a file."""


class CalibrationSettings(Settings):
    """Texts or chats that the importance of a block is measured on. A bare string is their path."""

    short = "path"

    path: str
    """A .jsonl, .json, .parquet or .txt file, or the id of a dataset of the hub."""
    split: str = "train"
    """Split of a hub dataset; files have none."""
    samples: PositiveInt = 256
    """Rows of the file that are drawn, as the paper counts them: 256 rows of Alpaca are about 16
    rows of 2048 tokens. At most three in four: the others check the result."""
    length: int = Field(2048, ge=2)
    """Tokens of a row."""
    seed: NonNegativeInt = 42
    """Of the draw."""
    bos: bool = True
    """The text begins with the model's begin token, once, where its tokenizer names one."""


class Calibration(NamedTuple):
    """What a search may look at, and what it may not."""

    rows: Rows
    held_out: Rows | None
    """As many documents that were not drawn, or fewer; None where there are none."""
    digest: str
    """Of all tokens and of which of them count, 32 hex digits."""
    facts: dict[str, int]
    """Documents, rows and tokens that count."""


def calibrate(
    settings: CalibrationSettings, tokenizer: Tokenizer, limit: int | None
) -> Calibration:
    """Return the calibration rows of a model.

    Args:
        settings: Where the texts are and how many are drawn.
        tokenizer: Of the model.
        limit: Longest row that the model can read; None: any.

    Raises:
        DataError: The file has no usable row, or less than two tokens are left.
    """
    length = min(settings.length, limit or settings.length)
    kept, others = _draw(settings)
    rows = _rows(kept, tokenizer, length, bos=settings.bos)
    if rows is None:
        raise DataError(
            f"{settings.path}: found less than two tokens in {len(kept)} usable rows; expected"
            f" texts or chats that make rows of {length} tokens; give more text"
        )
    if rows.ids_ST.shape[1] < length and not any(document.messages for document in kept):
        logger.warning(
            "%s: its %d tokens do not fill a row of %d; the model is judged on these few",
            settings.path,
            rows.ids_ST.numel(),
            length,
        )
    held_out = _rows(others, tokenizer, length, bos=settings.bos)
    if held_out is None:
        logger.warning("%s: nothing is left to check the result on", settings.path)
    facts = {
        "num_documents": len(kept),
        "num_rows": len(rows.ids_ST),
        "num_tokens": int(rows.supervised_ST.sum()),
    }
    return Calibration(rows, held_out, _digest(rows), facts)


def _draw(settings: CalibrationSettings) -> tuple[list[Document], list[Document]]:
    """Return the documents that are drawn, in the order of the draw, and others; one is cut."""
    raws = list(read_raw(DataSettings(path=settings.path, split=settings.split)))
    if len(raws) == 1:
        drawn, others = split_rows(raws, _SHARE_HELD_OUT, settings.seed)
        if not drawn or not others:  # a text without a place to cut it at
            drawn, others = raws, []
    else:
        num = min(settings.samples, max(1, round(len(raws) * (1 - _SHARE_HELD_OUT))))
        order = Random(settings.seed).sample(range(len(raws)), len(raws))
        chosen = Random(settings.seed).sample(range(len(raws)), num)
        rest = [i for i in order if i not in set(chosen)][: settings.samples]
        drawn, others = ([raws[i] for i in some] for some in (chosen, rest))
    skipped: Counter[str] = Counter()
    kept, spared = ([d for raw in part if (d := usable(raw, skipped))] for part in (drawn, others))
    for why, number in (+skipped).items():
        logger.warning("%s: %d %s", settings.path, number, why)
    return kept, spared


def _rows(kept: Sequence[Document], tokenizer: Tokenizer, length: int, *, bos: bool) -> Rows | None:
    """Return documents as rows; None where they have no two tokens."""
    if any(document.messages for document in kept):
        return _separate(kept, Reader(tokenizer, tokenizer, bos=bos), length)
    text = "\n\n".join(document.text or "" for document in kept)
    begin = [tokenizer.roles["bos"]] if bos and "bos" in tokenizer.roles else []
    ids = np.concatenate([begin, tokenizer.encode(text).ids]).astype(np.int64)
    length = min(length, len(ids))
    if not text or length < 2:
        return None
    ids_ST = torch.from_numpy(ids[: len(ids) // length * length].reshape(-1, length))
    supervised_ST = torch.ones_like(ids_ST, dtype=torch.bool)
    supervised_ST[:, -1] = False
    return Rows(ids_ST, supervised_ST)


def _separate(kept: Sequence[Document], reader: Reader, length: int) -> Rows | None:
    """Return a row per document, padded right; chats lose exchanges that do not fit."""
    skipped: Counter[str] = Counter()
    raws = [Raw("", document.text, document.messages, "") for document in kept]
    cut = list(documents(raws, [reader], length, skipped))
    for why, number in (+skipped).items():
        logger.warning("%d %s", number, why)
    found = [row for row in read(reader, cut) if row.supervised.any()]
    if not found:
        return None
    longest = max(len(row.ids) for row in found)
    ids_ST = torch.full((len(found), longest), _PAD)
    supervised_ST = torch.zeros(len(found), longest, dtype=torch.bool)
    for s, row in enumerate(found):
        ids_ST[s, : len(row.ids)] = torch.from_numpy(row.ids)
        supervised_ST[s, : len(row.ids)] = torch.from_numpy(row.supervised)
    return Rows(ids_ST, supervised_ST)


def _digest(rows: Rows) -> str:
    total = hashlib.blake2b(str(tuple(rows.ids_ST.shape)).encode(), digest_size=16)
    for values in rows:
        total.update(values.numpy().tobytes())
    return total.hexdigest()
