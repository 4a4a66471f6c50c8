"""``align train``: a model learns from preferences, by any method of the table."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from inarch.align._examples import PreferenceData, collator
from inarch.align._layout import PADDED, Layout
from inarch.align._objective import (
    ROUGH_TOLERANCE,
    START_TOLERANCE,
    preference_loss,
)
from inarch.align._reference import (
    Products,
    Reference,
    adapter_off,
    frozen,
    reference_logps,
    stored,
)
from inarch.align._rows import Dropped, PreferenceSettings, answer_rows
from inarch.align._store import AnswerRows, write_rows
from inarch.align._trial import layout_for
from inarch.errors import DataError, WeightsError
from inarch.flows._align.fit import fitted
from inarch.flows._align.held_out import means
from inarch.flows._align.plan import plan
from inarch.flows._align.settings import AlignRun, result_settings
from inarch.flows._corpus import data_digest, short_digest, tokenizer_at
from inarch.flows.teach import device_of, model_digest
from inarch.io.models import DTYPES, head_width, load_model, new_model
from inarch.io.progress import track
from inarch.io.runs import Stage, is_first_process, stage
from inarch.io.tokenizers import Tokenizer
from inarch.settings import to_dict
from inarch.train.trainer import train

logger = logging.getLogger(__name__)

__all__ = ["AlignRun", "plan", "run"]


def run(settings: AlignRun, out: Path) -> None:
    """Train the model of a recipe on preferences; the result is ``out/model``."""
    settings = fitted(settings)
    inputs = {"model": model_digest(settings.model), "data": data_digest(settings.data.path)}
    if settings.held_out is not None:
        inputs["held_out"] = data_digest(settings.held_out.path)
    with stage(out, "align", result_settings(settings), inputs) as opened:
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
            return
        opened.wait_for("prepared")
        _run(settings, out, opened)


def _run(settings: AlignRun, out: Path, opened: Stage) -> None:
    method, own = settings.method.method, settings.method.own()
    tokenizer = tokenizer_at(settings.model.tokenizer_path)
    data = rows_of(settings, settings.data, tokenizer, out)
    model = _load(settings, tokenizer)
    held_out = None
    if settings.held_out is not None:
        held_out = rows_of(settings, settings.held_out, tokenizer, out)
    layout = _layout(settings, model, data, held_out)
    if settings.reference_kind == "stored":
        folder = Path(settings.cache) if settings.cache else out
        _add_stored(settings, settings.data, data, (model, layout), folder / "reference")
    if settings.held_out is not None and held_out is not None:
        if method.reference:
            where = out / "held_out-reference"
            _add_stored(settings, settings.held_out, held_out, (model, layout), where)
        before = means(settings, held_out, model, _products(settings), layout)
        opened.note(held_out_before=before)
    opened.note(num_rows=len(data), layouts=layout.kinds, prepared=True)
    # Of stored numbers, other batches round otherwise, which tells where products have few bits.
    rough = settings.train.precision != "float32" or model.dtype != torch.float32
    loss = preference_loss(
        method,
        own,
        _reference(settings, model),
        tolerance=ROUGH_TOLERANCE if rough else START_TOLERANCE,
        in_step=True,
    )
    result = train(
        model,
        data,
        collator(method.items, layout),
        loss,
        settings.train,
        out,
        tokenizer=tokenizer.hf,
    )
    opened.note(num_steps=result.num_steps)
    if held_out is not None and is_first_process():  # it alone has written the model
        trained = load_model(result.model, device=model.device)
        after = means(settings, held_out, trained, _products(settings), layout)
        opened.note(held_out_after=after)


def rows_of(
    settings: AlignRun, source: PreferenceSettings, tokenizer: Tokenizer, out: Path
) -> PreferenceData:
    """Return the rows of a file, tokenised once and kept in the run folder.

    Raises:
        DataError: No row is usable, or one is not of the method's form.
    """
    form = settings.method.method.data
    own: dict[str, Any] = to_dict(source) | {"form": form}
    inputs = {"data": data_digest(source.path), **_tokenizer_digests(tokenizer)}
    folder = out / f"rows-{short_digest(own, inputs)}"
    with stage(folder, "rows", own, inputs) as opened:
        path = folder / "rows.arrow"
        if not opened.done:
            dropped = Dropped()
            with track("reading the preferences", None, "rows") as advance:
                found = answer_rows(source, form, tokenizer, dropped)
                write_rows(path, (_counted(row, advance) for row in found))
            rows = AnswerRows(path)
            opened.note(num_rows=len(rows), dropped=dict(dropped), digest=rows.digest())
            if not len(rows):
                path.unlink()
                reasons = ", ".join(f"{n} {why}" for why, n in dropped.items())
                raise DataError(
                    f"{source.path}: found no usable row ({reasons or 'the file is empty'})"
                )
        for why, number in opened.facts["dropped"].items():
            logger.warning("%s: %d %s are left out", source.path, number, why)
        digest = opened.facts["digest"]
    try:
        return PreferenceData(AnswerRows(path), form, source.max_tokens, digest)
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from None


def _counted(row: Any, advance: Callable[[int], None]) -> Any:
    advance(1)
    return row


def _tokenizer_digests(tokenizer: Tokenizer) -> dict[str, str]:
    template = str(tokenizer.hf.chat_template or "")
    return {"tokenizer": tokenizer.digest, "template": short_digest({"template": template}, {})}


def _load(settings: AlignRun, tokenizer: Tokenizer) -> Any:
    """Return the model on its device, as the trainer will have it."""
    model, device = settings.model, device_of(settings)
    if model.scratch is not None:
        network = new_model(model.scratch, tokenizer.size, settings.train.seed).to(device)
    else:
        dtype = None if model.dtype == "auto" else DTYPES[model.dtype]
        network = load_model(model.path or "", dtype=dtype, device=device)
    if tokenizer.size > head_width(network):
        raise WeightsError(
            f"{model.label}: its tokenizer has {tokenizer.size} ids, its head "
            f"{head_width(network)}; resize the embeddings, or give the tokenizer of the model"
        )
    if settings.method.method.reference:
        switch_off_dropout(network)
    return network if settings.train.lora else network.float()


def _layout(
    settings: AlignRun, model: Any, data: PreferenceData, held_out: PreferenceData | None
) -> Layout:
    """Return how answers are to lie in rows, after a trial with the longest ones."""
    if settings.layout == "padded":
        return PADDED
    shapes = [rows.longest() for rows in (data, held_out) if rows is not None]
    return layout_for(settings.layout, model, shapes)


def switch_off_dropout(model: torch.nn.Module) -> None:
    """Set every rate of dropout in a model to 0: with it, a model is not its own reference."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _products(settings: AlignRun) -> Products:
    precision = settings.train.precision
    return Products(None if precision == "float32" else DTYPES[precision])


def _reference(settings: AlignRun, model: Any) -> Reference | None:
    match settings.reference_kind:
        case "copy":
            return frozen(copy.deepcopy(model), _products(settings))
        case "adapter":
            return adapter_off()
        case "stored":
            return stored
        case _:
            return None


def _add_stored(
    settings: AlignRun,
    source: PreferenceSettings,
    data: PreferenceData,
    how: tuple[Any, Layout],
    folder: Path,
) -> None:
    """Give rows their log-probs under the model that training begins with."""
    model, layout = how
    own: dict[str, object] = {
        "form": settings.method.method.data,
        "max_tokens": source.max_tokens,
        "max_prompt_tokens": source.max_prompt_tokens,
        "precision": settings.train.precision,
        "dtype": settings.model.dtype if settings.train.lora else "float32",
    }
    if settings.model.scratch is not None:
        own |= {"scratch": settings.model.scratch, "seed": settings.train.seed}
    inputs = {"weights": model_digest(settings.model), "data": data.digest}
    inputs |= _tokenizer_digests(tokenizer_at(settings.model.tokenizer_path))
    products = _products(settings)
    data.reference_RK = reference_logps(folder, (own, inputs), data, model, products, layout)
