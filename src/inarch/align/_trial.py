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
from inarch.align._reference import Products
from inarch.errors import SettingsError

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""By how much a token's log-prob may differ, as a share of the spread of all of them."""
ROUGH_TOLERANCE = 0.2
"""The same where matrix products have few bits."""


def layout_for(
    wish: Kind | Literal["auto"], model: Any, shapes: Sequence[Sequences], products: Products
) -> Layout:
    """Return a layout in which a model computes what it computes of padded rows.

    Args:
        wish: A kind; or ``auto``, whichever of those that pass costs a batch least.
        model: A causal LM in evaluation mode.
        shapes: Rows as long as any that is to come, and others; their ids are not looked at.
        products: As in training.

    Raises:
        SettingsError: The model does not, in the layout that is wished for.
    """
    if wish == "padded":
        return PADDED
    config = config_of(model)
    passed: list[Kind] = ["padded"] if wish == "auto" else []
    kinds: tuple[Kind, ...] = ("packed", "shared") if wish == "auto" else (wish,)
    for kind in kinds:
        reason = _objection(kind, model, shapes, products)
        if not reason:
            passed.append(kind)
        elif wish == kind:
            raise SettingsError(
                f"found layout: {kind}, but {config.model_type} {reason}; use layout: auto, which"
                " takes what a model can, or padded"
            )
        else:
            logger.info("answers are not %s: %s %s", kind, config.model_type, reason)
    return Layout(tuple(passed), config.hidden_size, is_flash(config))


def _objection(kind: Kind, model: Any, shapes: Sequence[Sequences], products: Products) -> str:
    """Return why a model cannot do with a layout, or nothing."""
    config = config_of(model)
    if kind == "shared" and is_flash(config):
        return "computes attention by flash-attn, which takes no mask for each token"
    rows = _random_rows(shapes, config.vocab_size)
    # However wide, one row costs least: so that all answers of the trial are neighbours.
    together = Layout((kind,), hidden=2**40, flash=is_flash(config))
    rough = products.dtype is not None or model.dtype != torch.float32
    tolerance = ROUGH_TOLERANCE if rough else TOLERANCE
    expected_N = _score(model, rows, PADDED, products)
    try:
        found_N = _score(model, rows, together, products)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        return f"does not run so ({type(error).__name__}: {str(error).splitlines()[0]})"
    off = (found_N - expected_N).abs().max() / expected_N.std().clamp(min=1e-6)
    if off <= tolerance:
        return ""
    return (
        "then gives other log-probs: it takes no mask for each token, counts positions from the"
        f" begin of a row, or carries a state along it (off by {off:.2g} of their spread)"
    )


def _score(model: Any, rows: Sequence[Sequences], layout: Layout, products: Products) -> Tensor:
    batch = {name: value.to(model.device) for name, value in batch_of(rows, layout).items()}
    with products.on(model.device):
        return token_logps_of(model, batch).float()


def _random_rows(shapes: Sequence[Sequences], num_ids: int) -> list[Sequences]:
    random = np.random.default_rng(0)

    def ids(like: Any) -> Any:
        return random.integers(0, num_ids, len(like)).astype(np.int32)

    rows = []
    for shape in shapes:
        prompt = ids(shape.prompts[0])
        rows.append(Sequences((prompt,) * len(shape.answers), tuple(ids(a) for a in shape.answers)))
    return rows
