"""What a model believes about documents: its most probable next tokens, and how surprised it was.

Shapes: B = rows of a batch, T = their padded length, D = hidden width, N = supervised positions of
a batch, k = kept candidates.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inarch.data import pad
from inarch.errors import WeightsError
from inarch.numerics import Head, run_with_head, token_logps, top_beliefs
from inarch.records import Beliefs, TokenRow
from inarch.teach.settings import TeachSettings

_CHUNK = 1024
"""Positions whose logits exist at once."""


@torch.no_grad()
def capture(
    model: Any,
    rows: Sequence[TokenRow],
    settings: TeachSettings,
    numbers: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda num_rows: None,
) -> list[Beliefs]:
    """Return the model's beliefs at every supervised position of each row, in the rows' order.

    The log-softmax runs in float32 over the full head. ``temperature`` divides the logits of the
    kept candidates and the tail; ``next_logps`` are always at temperature 1.

    Args:
        model: A causal language model, on its device.
        rows: Documents as this model's tokens.
        settings: How many candidates are kept, and how large a batch is.
        numbers: What messages call the rows; by default their place here.
        advance: Told how many rows each batch held.

    Raises:
        WeightsError: The model gives NaN or infinity, or a token id has no embedding.
    """
    found: list[Beliefs | None] = [None] * len(rows)
    _check_ids(model, rows)
    for batch in _batches(rows, settings.batch_tokens):
        for index, beliefs in zip(
            batch, _run(model, [rows[i] for i in batch], settings), strict=True
        ):
            if not np.isfinite(beliefs.logps[:, 0]).all():
                raise WeightsError(
                    f"{model.name_or_path or 'teacher'}: gives NaN or infinity at row "
                    f"{numbers[index] if numbers else index} of the corpus; expected finite "
                    "log-probs. Load it in float32 or bf16 (dtype), or check the file"
                )
            found[index] = beliefs
        advance(len(batch))
    return [beliefs for beliefs in found if beliefs is not None]


def _batches(rows: Sequence[TokenRow], batch_tokens: int) -> Iterator[list[int]]:
    """Yield row numbers, longest rows first, so that a batch pads little and memory peaks early."""
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -len(rows[i].ids)):
        if batch and (len(batch) + 1) * len(rows[batch[0]].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _run(model: Any, rows: Sequence[TokenRow], settings: TeachSettings) -> Iterator[Beliefs]:
    batch = pad(rows)
    device = next(model.parameters()).device
    ids_BT, mask_BT, flat_N, next_N = (torch.from_numpy(x).to(device) for x in batch)

    def at_head(hidden_BTD: Tensor, head: Head) -> list[NDArray[Any]]:
        hidden_ND = hidden_BTD.flatten(0, 1)[flat_N]
        chunks = zip(hidden_ND.split(_CHUNK), next_N.split(_CHUNK), strict=True)
        parts = [_believe(head.logits(hidden_nD), next_n, settings) for hidden_nD, next_n in chunks]
        return [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]

    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    ids, logps, tail, next_logps = run_with_head(model, inputs, at_head)

    start = 0
    for row in rows:
        at_P = np.flatnonzero(row.supervised)
        part = slice(start, start + len(at_P))
        yield Beliefs(
            ends=row.ends[at_P],
            next_ends=row.ends[at_P + 1],
            next_ids=row.ids[at_P + 1],
            next_logps=next_logps[part],
            ids=ids[part].astype(np.int32),
            logps=logps[part],
            tail=tail[part],
            exact=row.exact,
        )
        start = part.stop


def _believe(logits_NV: Tensor, next_N: Tensor, settings: TeachSettings) -> tuple[Tensor, ...]:
    if settings.temperature == 1.0:
        return top_beliefs(logits_NV, settings.top_k, next_N)
    ids_Nk, logps_Nk, tail_N, _ = top_beliefs(
        logits_NV / settings.temperature, settings.top_k, next_N
    )
    return ids_Nk, logps_Nk, tail_N, token_logps(logits_NV, next_N)


def _check_ids(model: Any, rows: Sequence[TokenRow]) -> None:
    largest = max((int(row.ids.max()) for row in rows if len(row.ids)), default=-1)
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    if largest >= num_embeddings:
        raise WeightsError(
            f"{model.name_or_path}: its tokenizer gives id {largest}, its embedding has "
            f"{num_embeddings} rows; are they of one model?"
        )
