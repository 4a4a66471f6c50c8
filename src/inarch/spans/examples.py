"""Posts as rows to train on: tokens of at most one window, and a tag for each.

Shapes: T = tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inarch.spans.coders import Coder, Ids
from inarch.spans.offsets import token_labels
from inarch.spans.read import Post
from inarch.spans.windows import windows


class Example(NamedTuple):
    """Tokens and their tags: 1 where a token overlaps a span, 0 elsewhere."""

    ids: Ids
    """``[T]``."""
    tags: Ids
    """``[T]``."""


class Examples(list[Example]):
    """Rows that know their lengths."""

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each row."""
        return [len(example.ids) for example in self]


def examples_of(posts: Sequence[Post], coder: Coder) -> Examples:
    """Return the rows of posts; one longer than a window is several, one without tokens none."""
    made = Examples()
    encoded = coder.encode([post.text for post in posts])
    for post, tokens in zip(posts, encoded, strict=True):
        tags_T = token_labels(post.text, tokens.offsets, post.offsets).astype(np.int64)
        for start, end in windows(len(tokens.ids), coder.max_tokens):
            made.append(Example(tokens.ids[start:end], tags_T[start:end]))
    return made


def collator(
    coder: Coder, items: Literal["rows", "tokens"]
) -> Callable[[list[Example]], dict[str, Tensor]]:
    """Return what makes a batch of rows, and counts what its loss is the mean over."""

    def collate(rows: list[Example]) -> dict[str, Tensor]:
        batch: dict[str, Any] = coder.batch([row.ids for row in rows], [row.tags for row in rows])
        num_tokens = torch.tensor(sum(len(row.ids) for row in rows))
        num_items = torch.tensor(len(rows)) if items == "rows" else num_tokens
        return batch | {"num_tokens": num_tokens, "num_items": num_items}

    return collate
