"""Which layouts a model computes the same in: tried at the start, not looked up by its name.

A model that counts positions from the begin of a row (ALiBi), carries a state along it (recurrent
layers, convolutions) or takes no mask for each token gives other numbers, and is found out.

Shapes: N = tokens of answers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from inarch.align._layout import PADDED, Kind, Layout, Sequences, batch_of
from inarch.align._logps import token_logps_of
from inarch.align._masks import config_of, is_flash
from inarch.align._rows import Ids
from inarch.errors import SettingsError

logger = logging.getLogger(__name__)

TOLERANCE = 0.01
"""By how much a token's log-prob may differ, as a share of what another prompt changes in it."""
ROUGH_TOLERANCE = 0.1
"""The same where weights have few bits."""
LEAK = 1e-5
"""The same for what is beside an answer, which a mask makes exactly 0 whatever the precision."""


def layout_for(wish: Kind | Literal["auto"], model: Any, shapes: Sequence[Sequences]) -> Layout:
    """Return a layout in which a model computes what it computes of padded rows.

    Args:
        wish: A kind; or ``auto``, whichever of those that pass costs a batch least.
        model: A causal LM in evaluation mode.
        shapes: Rows as long as any that is to come; their ids are not looked at.

    Raises:
        SettingsError: The model does not, in the layout that is wished for.
    """
    if wish == "padded":
        return PADDED
    # What is carried over from a neighbour is strongest in the first tokens of a short one.
    short = Sequences((_ids(1),) * len(shapes[0].answers), (_ids(2),) * len(shapes[0].answers))
    shapes = [*shapes, short]
    config = config_of(model)
    passed: list[Kind] = ["padded"] if wish == "auto" else []
    widest = 0
    kinds: tuple[Kind, ...] = ("packed", "shared") if wish == "auto" else (wish,)
    for kind in kinds:
        reason = _objection(kind, model, shapes)
        if not reason:
            passed.append(kind)
            widest = max(
                widest, batch_of(shapes, Layout((kind,), one_row=True))["input_ids"].shape[1]
            )
        elif wish == kind:
            raise SettingsError(
                f"found layout: {kind}, but {config.model_type} {reason}; use layout: auto, which"
                " takes what a model can, or padded"
            )
        else:
            logger.info("answers are not %s: %s %s", kind, config.model_type, reason)
    flash = is_flash(config)
    return Layout(tuple(passed), config.hidden_size, flash, None if flash else widest)


def _objection(kind: Kind, model: Any, shapes: Sequence[Sequences]) -> str:
    """Return why a model cannot do with a layout, or nothing."""
    config = config_of(model)
    if kind == "shared" and is_flash(config):
        return "computes attention by flash-attn, which takes no mask for each token"
    rows, others = (_random_rows(shapes, config.vocab_size, seed) for seed in (0, 1))
    elsewhere = [_other_prompt(*pair) for pair in zip(rows, others, strict=True)]
    together = Layout((kind,), one_row=True)
    expected_N, other_N = _score(model, rows, PADDED), _score(model, elsewhere, PADDED)
    try:
        found_N = _score(model, rows, together)
        changed_N = _score(model, [*others[:-1], rows[-1]], together)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        return f"does not run so ({type(error).__name__}: {str(error).splitlines()[0]})"
    unit = (other_N - expected_N).abs().max().clamp(min=1e-6)
    off = (found_N - expected_N).abs().max() / unit
    answer_N = batch_of(rows)["answer_N"].to(model.device)
    leak = (changed_N - found_N)[answer_N % len(rows) == len(rows) - 1].abs().max() / unit
    rough = model.dtype != torch.float32
    if leak <= LEAK and off <= (ROUGH_TOLERANCE if rough else TOLERANCE):
        return ""
    return (
        "then gives other log-probs: it takes no mask for each token, counts positions from the"
        f" begin of a row, or carries a state along it (beside what another prompt does, {off:.2g}"
        f" off, {leak:.2g} by what is beside an answer)"
    )


@torch.no_grad()
def _score(model: Any, rows: Sequence[Sequences], layout: Layout) -> Tensor:
    batch = {name: value.to(model.device) for name, value in batch_of(rows, layout).items()}
    return token_logps_of(model, batch).float()


def _random_rows(shapes: Sequence[Sequences], num_ids: int, seed: int) -> list[Sequences]:
    random = np.random.default_rng(seed)

    def like(ids: Ids) -> Ids:
        return random.integers(0, num_ids, len(ids)).astype(np.int32)

    return [
        Sequences((like(shape.prompts[0]),) * len(shape.answers), tuple(map(like, shape.answers)))
        for shape in shapes
    ]


def _ids(number: int) -> Ids:
    return np.zeros(number, np.int32)


def _other_prompt(row: Sequences, other: Sequences) -> Sequences:
    """Return a row whose prompt is another, but for the token that speaks first."""
    prompt = np.append(other.prompts[0][:-1], row.prompts[0][-1:])
    return Sequences((prompt,) * len(row.answers), row.answers)
