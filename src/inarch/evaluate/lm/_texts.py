"""Texts to score, as the tokens of a model, in the way of lm-evaluation-harness."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.data import file_rows
from inarch.errors import DataError
from inarch.io.models import quiet_transformers

logger = logging.getLogger(__name__)

Ids = NDArray[np.int32]


class Text(NamedTuple):
    """A document."""

    where: str
    text: str
    original: str
    """What words and bytes are counted in: the text before detokenising, if that is another."""
    category: str

    @property
    def num_words(self) -> int:
        """Return the words: what white space separates, as lm-eval counts them."""
        return len(re.split(r"\s+", self.original))

    @property
    def num_bytes(self) -> int:
        """Return the bytes of UTF-8."""
        return len(self.original.encode())


def read_texts(path: Path) -> tuple[list[Text], Counter[str]]:
    """Return the texts of a file, and why rows are left out.

    Args:
        path: A ``.txt``, which is one text, or rows with ``text``, and perhaps ``original`` (what
            words and bytes are counted in) and ``domain``: .jsonl, .json, .parquet.

    Raises:
        DataError: The file is absent or something else, a row has no text, or none is left.
    """
    if not path.is_file():
        raise DataError(f"found no file {path}; expected a .txt, .jsonl, .json or .parquet file")
    texts: list[Text] = []
    skipped: Counter[str] = Counter()
    for where, row in file_rows(str(path)):
        text = _text(where, row)
        if not text.text or not text.original:
            skipped["empty texts"] += 1
        elif not _is_utf8(text.text + text.original):
            skipped["texts with half of a surrogate pair"] += 1
        else:
            texts.append(text)
    if not texts:
        raise DataError(
            f"{path}: found no text ({dict(skipped) or 'no rows'}); expected at least 1"
        )
    return texts, skipped


def _text(where: str, row: Any) -> Text:
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        found = row if isinstance(row, Mapping) else type(row).__name__
        raise DataError(f"{where}: found {found!s:.80}; expected an object with a string `text`")
    original = row.get("original", row["text"])
    if not isinstance(original, str):
        raise DataError(f"{where}: original: found {original!r:.80}; expected a text")
    return Text(where, row["text"], original, str(row.get("domain") or ""))


def join_texts(texts: Sequence[Text]) -> str:
    """Return texts as one, with blank lines between."""
    return "\n\n".join(text.text for text in texts)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


# ---------------------------------------------------------------------------------------- tokens


def prefix_id(hf: Any) -> int | None:
    """Return the token that stands before a text: begin of text, else end of text, if any."""
    bos, eos = hf.bos_token_id, hf.eos_token_id
    return eos if bos is None else bos


def encode(hf: Any, texts: Sequence[str], *, specials: bool = True) -> list[Ids]:
    """Return the tokens of each text.

    Args:
        hf: A Hugging Face tokenizer.
        texts: Any texts.
        specials: Let the tokenizer add those that it adds by itself, but none to a text that
            begins with the begin token's string, as in lm-eval.
    """
    token = prefix_id(hf)
    start = "" if token is None else hf.decode([token])
    whole = [not specials or (bool(start) and text.startswith(start)) for text in texts]
    found: dict[int, Ids] = {}
    for kind in sorted(set(whole)):
        numbers = [number for number, own in enumerate(whole) if own == kind]
        with quiet_transformers():
            rows = hf([texts[number] for number in numbers], add_special_tokens=not kind)
        found |= {
            i: np.array(ids, np.int32) for i, ids in zip(numbers, rows["input_ids"], strict=True)
        }
    return [found[number] for number in range(len(texts))]


def digest_tokens(hf: Any, rows: Sequence[Ids]) -> str:
    """Return a digest of tokens and their names: equal if two models score the same tokens."""
    used = np.unique(np.concatenate(rows)).tolist()
    names = json.dumps([[token, hf.convert_ids_to_tokens(token)] for token in used])
    digest = blake2b(names.encode(), digest_size=8)
    for ids in rows:
        digest.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
    return digest.hexdigest()
