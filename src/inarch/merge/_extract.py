"""LoRA extraction: what fine-tuning changed, as an adapter that PEFT loads.

The change of each matrix, ``finetuned - base`` in float32, is split into ``B A`` of low rank; see
`low_rank`. What is no matrix, norms and biases, is brought whole or left out; embeddings and heads
are matrices, brought whole where their rows differ in number, or left out. Weights of experts have
no modules of their own in transformers, and are left out. The report counts all of it.

Source:   LoRA, arXiv:2106.09685; the files of PEFT.
"""

import math
import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from inarch.errors import WeightsError
from inarch.io.dtypes import Floats, dtype_from, is_float
from inarch.merge._jobs import Source
from inarch.merge._low_rank import LowRank, low_rank
from inarch.merge._names import is_buffer, is_embedding, is_head
from inarch.merge._peft import Kind, write_adapter
from inarch.merge._plan import Model
from inarch.merge._stack import spans
from inarch.settings import Settings

_TABLE = re.compile(
    r"(^|\.)(wpe|embed_positions|position_embeddings|token_type_embeddings)\.weight$"
)
_EXPERT = re.compile(r"\.experts?\.|\.(router|gate)\.weight$")
_TURNED = ("gpt2", "openai-gpt")
"""Kinds of models whose layers hold their matrices as ``[in, out]``."""

Way = Literal["low_rank", "whole", "skipped"]


class ExtractSettings(Settings):
    """How much of a change an adapter keeps."""

    rank: PositiveInt = 32
    """The greatest rank."""
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Take the least rank that keeps this share of a matrix's squared change, if it is smaller."""
    embeddings: Literal["low_rank", "skip"] = "low_rank"
    """Embeddings and heads: matrices like others, or left out."""
    rest: Literal["whole", "skip"] = "whole"
    """Norms and biases that changed: brought whole, or left out."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The format of the factors; what is brought whole keeps its own."""


class Extracted(NamedTuple):
    """What became of one tensor that fine-tuning changed."""

    name: str
    way: Way
    rank: int
    """Of its update; 0 unless it has one."""
    change: float
    """The sum of squares of ``finetuned - base``."""
    kept: float
    """Share of that which the adapter keeps, in [0, 1]."""


class ExtractReport(NamedTuple):
    """What an adapter keeps of a change."""

    tensors: tuple[Extracted, ...]
    """All that changed, in the order of the base model."""
    unchanged: int
    """Tensors that did not change."""

    @property
    def kept(self) -> float:
        """Return the share of all squared change that the adapter keeps."""
        kept = math.fsum(tensor.change * tensor.kept for tensor in self.tensors)
        return kept / math.fsum(tensor.change for tensor in self.tensors)


def extract(
    finetuned: Model,
    base: Model,
    settings: ExtractSettings,
    out: Path,
    advance: Callable[[int], None] = lambda elements: None,
) -> ExtractReport:
    """Write the change between two models as a PEFT folder; return what it keeps.

    Args:
        finetuned: The model that changed.
        base: What it was; the adapter is for it.
        settings: Ranks, and what is done with what is no matrix.
        out: Folder of the adapter.
        advance: Told the number of elements of each tensor that is done.

    Raises:
        WeightsError: The models have other tensors or shapes, or NaN or infinity; or no matrix
            changed.
        DataError: The folder cannot be written, or the disk is full.
    """
    updates: dict[str, tuple[Kind, LowRank]] = {}
    whole: dict[str, Source] = {}
    rows = []
    names = _names(finetuned, base)
    for name in names:
        new, old = _source(finetuned, name), _source(base, name)
        change = _difference(name, new, old)
        flat = change.reshape(-1)
        if squares := float(np.einsum("i,i->", flat, flat, dtype=np.float64)):
            way, rank, kept = _way(name, new, old, settings), 0, 0.0
            if way == "low_rank":
                made = low_rank(change, settings.rank, settings.share, _seed(name))
                updates[_loaded(name, base)] = _kind(name, base), made
                rank, kept = len(made.right), made.kept
            elif way == "whole":
                whole[_loaded(name, base)], kept = new, 1.0
            rows.append(Extracted(name, way, rank, squares, kept))
        new.release()
        old.release()
        advance(change.size)
    if not updates:
        raise WeightsError(
            f"no matrix of {_label(finetuned)} differs from {_label(base)}; expected a model that "
            "was fine-tuned from it"
        )
    tied = {
        _loaded(alias, base): _loaded(kept, base)
        for alias, kept in base.aliases.items()
        if finetuned.aliases.get(alias) == kept
    }
    write_adapter(out, _label(base), updates, whole, tied, dtype_from(settings.dtype))
    return ExtractReport(tuple(rows), len(names) - len(rows))


def _label(model: Model) -> str:
    return model.source(next(iter(model.tensors))).label


def _names(finetuned: Model, base: Model) -> list[str]:
    """Return the tensors that are compared, in the order of the base, and then of the other."""
    stored = [*base.tensors, *(name for name in finetuned.tensors if name not in base.tensors)]
    for model, other in ((finetuned, base), (base, finetuned)):
        for name in stored:
            if name not in model.tensors and name not in model.aliases:
                raise WeightsError(
                    f"{_label(model)} has no {name}, which {_label(other)} has; expected a model "
                    "and what was fine-tuned from it"
                )
    return [name for name in stored if not is_buffer(name, _source(base, name).shape)]


def _source(model: Model, name: str) -> Source:
    return model.source(name if name in model.tensors else model.aliases[name])


def _difference(name: str, new: Source, old: Source) -> Floats:
    """Return a tensor less the old one, in float32; of rows that are new, themselves.

    Raises:
        WeightsError: Their shapes do not fit, or a number is not finite.
    """
    may_grow = is_embedding(name) or is_head(name)
    if new.shape[may_grow:] != old.shape[may_grow:]:
        raise WeightsError(
            f"{name} has the shape {list(new.shape)} in {new.label} and {list(old.shape)} in "
            f"{old.label}; expected a model and what was fine-tuned from it"
        )
    change = np.empty(new.shape, np.float32)
    flat = change.reshape(-1)
    finite = new.fill(0, flat)
    for start, end in spans(min(new.shape, old.shape)):
        part = np.empty(end - start, np.float32)
        finite &= old.fill(start, part)
        flat[start:end] -= part
    if not finite:
        raise WeightsError(
            f"{name} of {new.label} or {old.label} holds NaN or infinity; expected finite numbers"
        )
    return change


def _way(name: str, new: Source, old: Source, settings: ExtractSettings) -> Way:
    """Return what becomes of a tensor that changed."""
    if is_embedding(name) or is_head(name):
        if settings.embeddings == "skip":
            return "skipped"
        return "low_rank" if new.shape == old.shape else "whole"
    if _EXPERT.search(name) or not is_float(new.dtype) or not name.endswith((".weight", ".bias")):
        return "skipped"
    if len(new.shape) == 2:
        return "low_rank"
    return "whole" if len(new.shape) == 1 and settings.rest == "whole" else "skipped"


def _kind(name: str, base: Model) -> Kind:
    """Return how the module of a matrix holds it."""
    if is_embedding(name) or _TABLE.search(name):
        return "table"
    is_turned = base.config.get("model_type") in _TURNED and not is_head(name)
    return "turned" if is_turned else "linear"


def _loaded(name: str, base: Model) -> str:
    """Return what a tensor is called in a model that transformers has loaded."""
    kind = base.config.get("model_type")
    if kind == "gpt_neox":
        return re.sub(r"^embed_out\.", "lm_head.", name)
    if kind == "gpt2":  # which may have been saved without its head
        return re.sub(r"^(h|ln_f|wpe|wte)\.", r"transformer.\1.", name)
    return name


def _seed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
