"""Log-probs under the reference: a frozen model, the model without its adapter, or stored ones.

Shapes: A = sequences of a batch, K = sequences of a row, R = rows of the data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inarch.align._examples import PreferenceData, collator
from inarch.align._layout import PADDED, Batch, Layout
from inarch.align._logps import answer_logps
from inarch.errors import DataError, WeightsError
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.io.tables import open_arrow, write_arrow

logger = logging.getLogger(__name__)

Reference = Callable[[Any, Batch], Tensor]
"""From the model in training and a batch to log-probs under the reference, in nats, ``[A]``."""

_SHARD_ROWS = 1024
_SCHEMA = pa.schema({"logps": pa.large_list(pa.float32())})


class Products(NamedTuple):
    """How the matrix products of a model are computed: the same for policy and reference."""

    dtype: torch.dtype | None = None
    """Format, or None for that of the weights."""

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Compute so, without gradients."""
        enabled = self.dtype is not None
        with torch.no_grad(), torch.autocast(device.type, self.dtype, enabled=enabled):
            yield


def frozen(reference: Any, products: Products) -> Reference:
    """Return the reference that another model is.

    Args:
        reference: A copy of the model that training begins with; it is frozen here, without
            dropout.
        products: As in training.

    Raises:
        WeightsError: By what is returned, if the model in training has weights of the reference.
    """
    reference.requires_grad_(False)
    reference.eval()
    own = {id(weight) for weight in reference.parameters()}

    def logps(model: Any, batch: Batch) -> Tensor:
        if any(id(weight) in own for weight in model.parameters()):
            raise WeightsError(
                "the model in training shares weights with its reference, so that the reference"
                " would move along; give it a copy of its own"
            )
        with products.on(batch["input_ids"].device):
            return answer_logps(reference, batch)

    return logps


def adapter_off() -> Reference:
    """Return the reference that the model in training is without its adapter and dropout.

    Raises:
        WeightsError: By what is returned, if the model has no adapter of peft's.
    """

    def logps(model: Any, batch: Batch) -> Tensor:
        bare = model
        while not hasattr(bare, "disable_adapter"):
            bare = getattr(bare, "module", None) or getattr(bare, "_orig_mod", None)
            if bare is None:
                raise WeightsError(
                    "found no adapter on the model in training, without which it would be its own"
                    " reference; train with lora, or take another reference"
                )
        with torch.no_grad(), _without_dropout(bare), bare.disable_adapter():
            return answer_logps(bare, batch)

    return logps


def stored(model: Any, batch: Batch) -> Tensor:
    """Return the reference log-probs that came with a batch."""
    return batch["reference_A"]


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def reference_logps(
    folder: Path,
    key: tuple[Mapping[str, object], Mapping[str, str]],
    data: PreferenceData,
    model: Any,
    products: Products,
    layout: Layout = PADDED,
) -> NDArray[np.float32]:
    """Return the log-probs of all rows under the reference, in nats, ``[R, K]``, from a folder.

    What the folder lacks is computed, shard by shard; a killed run goes on from the last one.

    Args:
        folder: The cache.
        key: Settings and digests that decide the numbers: of weights, tokenizer, cuts and data.
        data: The rows.
        model: What training begins with, in evaluation mode.
        products: As in training.
        layout: As in training.

    Raises:
        SettingsError: The folder was made with other weights, or anything else of the key; what
            differs is named.
    """
    with stage(folder, "reference", *key) as opened:
        opened.wait_for("whole")
        starts = range(0, len(data), _SHARD_ROWS)
        shards = {start: folder / f"shard-{start // _SHARD_ROWS:05d}.arrow" for start in starts}
        missing = [start for start, path in shards.items() if not path.exists()]
        if missing:
            num_open = sum(min(_SHARD_ROWS, len(data) - start) for start in missing)
            with track("reference", len(data), "rows", len(data) - num_open) as advance:
                for start in missing:
                    numbers = range(start, min(start + _SHARD_ROWS, len(data)))
                    _write(shards[start], _score(model, data, numbers, products, layout, advance))
        if not opened.done:
            opened.note(whole=True, num_rows=len(data))
    return np.concatenate([_read(path) for path in shards.values()])


def _score(
    model: Any,
    data: PreferenceData,
    numbers: range,
    products: Products,
    layout: Layout,
    advance: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the log-probs of some rows, ``[rows, K]``: those of one length together."""
    collate = collator("rows", layout)
    examples = [data[number]._replace(reference=None) for number in numbers]
    tokens = [sum(map(len, (*e.sequences.prompts, *e.sequences.answers))) for e in examples]
    order = np.argsort(tokens, kind="stable")[::-1]
    found = np.zeros((len(examples), len(examples[0].sequences.answers)), np.float32)
    num_rows = max(1, _BATCH_TOKENS // max(tokens))
    for at in range(0, len(order), num_rows):
        part = order[at : at + num_rows]
        batch = {
            name: value.to(model.device)
            for name, value in collate([examples[i] for i in part]).items()
        }
        with products.on(model.device):
            logps_A = answer_logps(model, batch)
        found[part] = logps_A.view(found.shape[1], -1).T.cpu().numpy()
        advance(len(part))
    return found


_BATCH_TOKENS = 2**14


def _write(path: Path, logps_RK: NDArray[np.float32]) -> None:
    if not np.isfinite(logps_RK).all():
        raise DataError(
            "found log-probs under the reference that are not finite, expected numbers; use"
            " precision bf16 or float32 instead of fp16, or look at the weights"
        )
    values = pa.array(logps_RK.tolist(), _SCHEMA.types[0])
    write_arrow(path, _SCHEMA, [pa.RecordBatch.from_arrays([values], schema=_SCHEMA)])


def _read(path: Path) -> NDArray[np.float32]:
    table = open_arrow(path, "delete it and run the same command again")
    return np.array(table["logps"].to_pylist(), np.float32)
