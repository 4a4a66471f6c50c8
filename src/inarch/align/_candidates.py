"""Several scored answers to one prompt -> the triple of WRPO, or a pair of one source's answers.

Source:   WRPO, arXiv:2412.03187: the best answer of all sources and samples, the best and the worst
          of the target's own. FuseChat-3.0, arXiv:2503.04222: the best and the worst answer of one
          source, so that no difference in style between models is learnt, with a bounded gap.
Differs:  neither says what becomes of ties, of answers that are the same, nor, where the answers of
          several sources fit, whose make the pair. Here the first of equals wins, in the order of
          the sources; rows without a difference are left out; the pair is of the source whose best
          answer scores highest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from inarch.settings import Settings


class Candidate(NamedTuple):
    """One answer to a prompt, where it comes from, and how good it is."""

    model: str
    """Name of the model that wrote it."""
    sample: int
    """Which of the model's answers to this prompt, from 0."""
    seed: int
    """What the model was asked with."""
    text: str | None
    """None where there is no answer."""
    score: float | None
    """Higher is better. None where there is none."""
    failure: str = ""
    """Why there is no answer or no score."""


class Triple(NamedTuple):
    """What a row of WRPO is made of."""

    source: Candidate
    target: Candidate
    rejected: Candidate


class Pair(NamedTuple):
    """What a row of DPO is made of."""

    chosen: Candidate
    rejected: Candidate


class ChooseSettings(Settings):
    """Which answers make a row, and which rows are left out."""

    form: Literal["triples", "pairs"] = "triples"
    """``triples`` for WRPO: the sources' best, the target's best and worst. ``pairs`` for DPO: the
    best and the worst of one source, as FuseChat-3.0 has them."""
    min_gap: NonNegativeFloat = 0.0
    """Smallest difference between the scores of the two answers of one model."""
    max_gap: PositiveFloat | None = None
    """Largest one. FuseChat-3.0: 0.01 to 0.1, in scores of ArmoRM."""
    source_above_target: bool = False
    """Leave out triples whose source's answer does not score higher than the target's best."""
    drop_uniform: bool = False
    """Leave out prompts to which all answers of all sources are one text."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.max_gap is not None and self.max_gap <= self.min_gap:
            raise ValueError(f"found min_gap {self.min_gap} and max_gap {self.max_gap}")
        if self.form == "pairs" and self.source_above_target:
            raise ValueError("source_above_target has an effect with form: triples only")
        return self


def winner(sources: Sequence[Candidate], settings: ChooseSettings) -> Candidate | str:
    """Return the best answer of all sources, or the reason why a prompt is left out.

    Args:
        sources: All answers of all sources, in the order in which ties are decided.
        settings: What is left out.
    """
    found = best(sources)
    if found is None:
        return "prompts without a scored answer of a source"
    if settings.drop_uniform and is_uniform(sources):
        return "prompts to which all answers of all sources are one text"
    return found


def triple(
    sources: Sequence[Candidate], own: Sequence[Candidate], settings: ChooseSettings
) -> Triple | str:
    """Return the triple of a prompt, or the reason why there is none.

    Args:
        sources: All answers of all sources, in the order in which ties are decided.
        own: The target's answers.
        settings: What is left out.
    """
    source, gap = winner(sources, settings), _widest(own, settings)
    if isinstance(source, str):
        return source
    if isinstance(gap, str):
        return f"prompts {gap.format('the target')}"
    if settings.source_above_target and not value(source) > value(gap.chosen):
        return "prompts whose best answer of a source is not above the target's"
    return Triple(source, *gap)


def pair(sources: Sequence[Candidate], settings: ChooseSettings) -> Pair | str:
    """Return the pair of a prompt, both of one source, or the reason why there is none.

    Args:
        sources: All answers of all sources, in the order in which ties are decided.
        settings: What is left out.
    """
    top = winner(sources, settings)
    if isinstance(top, str):
        return top
    names = dict.fromkeys(candidate.model for candidate in sources)
    found = [_widest([c for c in sources if c.model == name], settings) for name in names]
    pairs = [gap for gap in found if not isinstance(gap, str)]
    if pairs:
        return max(pairs, key=lambda gap: value(gap.chosen))
    # The reason of the source that came the furthest.
    reasons = [gap for gap in found if isinstance(gap, str)]
    return f"prompts {max(reasons, key=_REASONS.index).format('any source')}"


_NO_TWO = "without two scored answers of {}"
_SAME_TEXT = "to which all answers of {} are one text"
_SAME_SCORE = "to which all answers of {} score the same"
_OUT_OF_BOUNDS = "to which the answers of {} have a gap out of bounds"
_REASONS = (_NO_TWO, _SAME_TEXT, _SAME_SCORE, _OUT_OF_BOUNDS)


def _widest(candidates: Sequence[Candidate], settings: ChooseSettings) -> Pair | str:
    """Return the best and the worst answer of one model, or why they do not do."""
    scored = usable(candidates)
    if len(scored) < 2:
        return _NO_TWO
    if is_uniform(scored):
        return _SAME_TEXT
    top, low = best(scored), worst(scored)
    if top is None or low is None or value(top) == value(low) or top.text == low.text:
        return _SAME_SCORE
    # Scores are decimals to those who set the bounds: 0.3 - 0.2 is less than 0.1 in binary.
    gap = round(value(top) - value(low), 12)
    if gap < settings.min_gap or (settings.max_gap is not None and gap > settings.max_gap):
        return _OUT_OF_BOUNDS
    return Pair(top, low)


def usable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the answers that have a score."""
    return [candidate for candidate in candidates if candidate.score is not None]


def best(candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the answer with the highest score, the first of equals; None if none has a score."""
    return max(usable(candidates), key=value, default=None)


def worst(candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the answer with the lowest score, the first of equals; None if none has a score."""
    return min(usable(candidates), key=value, default=None)


def value(candidate: Candidate) -> float:
    """Return the score of an answer that has one."""
    if candidate.score is None:
        raise ValueError(f"{candidate} has no score")
    return candidate.score


def is_uniform(candidates: Iterable[Candidate]) -> bool:
    """Return whether all answers, of which there are some, are one text."""
    return len({c.text for c in candidates if c.text is not None}) == 1


def is_tied(candidates: Iterable[Candidate], of: Callable[[Candidate], str]) -> bool:
    """Return whether the highest score is shared by answers that differ in something.

    Args:
        candidates: Answers.
        of: What they are to differ in, such as the model.
    """
    scored = usable(candidates)
    top = max(map(value, scored), default=None)
    return len({of(c) for c in scored if c.score == top}) > 1


def first_part(num_rows: int, share: float, seed: int) -> frozenset[int]:
    """Return the numbers of a random share of rows, rounded to whole rows, 0 <= n < num_rows."""
    order = np.random.default_rng(seed).permutation(num_rows)
    return frozenset(order[: round(share * num_rows)].tolist())
