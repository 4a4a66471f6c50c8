"""What spans mean for training a language model: tokens not to learn, reward to take away.

Shapes: T = tokens of the language model.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from inarch.settings import Settings
from inarch.spans.offsets import Span, TokenOffsets


class PenaltySettings(Settings):
    """What toxic characters cost."""

    per: Literal["count", "ratio"] = "count"
    """``count``: per toxic character, whatever else is written. ``ratio``: per share of the text
    that is toxic, which a model can lower by writing more; see `reward_penalty`."""
    weight: PositiveFloat = 0.01
    """Reward per toxic character, or for a text that is toxic throughout."""
    cap: PositiveFloat | None = None
    """Most that one text can cost."""


def reward_penalty(
    text: str, spans: Sequence[Span], settings: PenaltySettings | None = None
) -> float:
    """Return what is to be subtracted from the reward of a text, at least 0.

    With c characters in spans, of a text of n: ``weight * c``, or ``weight * c / n`` for ``ratio``,
    and at most ``cap``. No span costs 0, and more spans never cost less. Clean text that is added
    does not change the ``count``; it lowers the ``ratio``, so that a model which is trained on that
    learns to pad.

    Args:
        text: An answer.
        spans: What a tagger found in it; they may overlap.
        settings: The kind and the price.
    """
    settings = settings or PenaltySettings()
    toxic = len({offset for span in spans for offset in range(span.start, span.end)})
    if not toxic:
        return 0.0
    share = toxic / len(text) if settings.per == "ratio" else toxic
    cost = settings.weight * share
    return cost if settings.cap is None else min(settings.cap, cost)


def loss_mask(spans: Sequence[Span], token_offsets: TokenOffsets) -> NDArray[np.bool_]:
    """Return which tokens of a language model are learnt: those that overlap no span, ``[T]``.

    Args:
        spans: Disjoint, in order, as taggers give them.
        token_offsets: Ranges of the tokens in the same text; those with an empty range, which are
            special tokens, are learnt.
    """
    starts_S = np.array([span.start for span in spans], np.int64)
    ends_S = np.array([span.end for span in spans], np.int64)
    ranges = np.array(token_offsets, np.int64).reshape(-1, 2)
    first_T, last_T = ranges.T
    # Spans are disjoint, so those that begin before a token's end and end behind its start are
    # as many as the difference of two counts.
    begun_T = np.searchsorted(starts_S, last_T, side="left")
    over_T = np.searchsorted(ends_S, first_T, side="right")
    return ~((begun_T > over_T) & (first_T < last_T))
