"""Texts to the surprise of one model or several."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from transformers import AutoConfig

from inarch.errors import SettingsError
from inarch.evaluate.lm._texts import Text, digest_tokens, encode, join_texts, read_texts
from inarch.evaluate.lm.likelihood import (
    DEFAULT_WINDOW,
    Likelihood,
    LikelihoodSettings,
    TextScore,
    check,
    score_texts,
)
from inarch.evaluate.protocol import OTHER_TOKENS, made_of, save_results
from inarch.io.files import digest_file, write_json
from inarch.io.models import DTYPES, digest_model, load_model, max_positions, pick_device
from inarch.io.runs import stage
from inarch.io.tokenizers import load_tokenizer
from inarch.settings import Settings, to_dict

logger = logging.getLogger(__name__)


class LikelihoodRun(LikelihoodSettings):
    """How texts are cut, and how models run."""

    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of the weights in memory; by default the one that they are stored in."""
    device: Literal["auto", "cpu"] = "auto"
    """Where models run; by default this machine's accelerator, if it has one."""


class Scored(NamedTuple):
    """The models, under one protocol."""

    models: dict[str, Likelihood]
    """By name."""
    same_tokens: bool
    """They score the same tokens, so that perplexity per token compares."""

    def numbers(self) -> Iterator[dict[str, object]]:
        """Yield what ``--json`` prints, an object per model."""
        note = {} if self.same_tokens else {"token_perplexity_left_out": OTHER_TOKENS}
        for name, found in self.models.items():
            yield {"model": name} | found.numbers(per_token=self.same_tokens) | note


def run(
    models: Sequence[str], text: Path, settings: LikelihoodRun, out: Path | None = None
) -> Scored:
    """Return how surprised models are by the texts of a file.

    Args:
        models: Folders or hub ids. All read in windows of the same length, the longest that each
            of them takes where none is set.
        text: See `read_texts`.
        settings: How texts are cut, and how models run.
        out: Folder for results to compare, by unit and model. A killed run is gone on with.

    Raises:
        SettingsError: The folder holds scores of a model with other settings, a window is too long
            for a model, or perplexity per token, all that joined texts give, does not compare.
        DataError: The file is no text.
        WeightsError: There is no such model.
    """
    check(settings)
    texts, skipped = read_texts(text)
    if skipped:
        logger.warning("%s: left out: %s", text, _counts(skipped))
    settings = settings.model_copy(update={"window": _window(models, settings)})
    check(settings)
    if settings.joined and len(models) > 1:
        _check_tokens(models, texts)
    found: dict[str, Likelihood] = {}
    for name, path in zip(names_of(models), models, strict=True):

        def score(journal: Path | None = None, path: str = path) -> Likelihood:
            model, hf = load_for(path, settings.dtype, settings.device)
            one = score_texts(model, hf, texts, settings, journal)
            skips = dict(skipped + Counter(one.num_skipped))
            return one._replace(num_skipped=skips, made=made_with(model, {"text": text}))

        found[name] = score() if out is None else _kept(score, settings, (name, path, text), out)
        data = f"{text.name} {digest_file(text)}"
        for unit, result in found[name].results(name, data).items():
            if out is not None:
                save_results(out / unit, [result])
    same = len({one.tokens for one in found.values()}) == 1
    if not same:
        logger.warning("perplexity per token is left out: %s", OTHER_TOKENS)
    return Scored(found, same)


def _kept(
    score: Callable[[Path], Likelihood],
    settings: LikelihoodRun,
    what: tuple[str, str, Path],
    out: Path,
) -> Likelihood:
    """Return a model's scores, those of an earlier run in the folder if it was whole."""
    name, path, text = what
    inputs = {"model": digest_model(path), "text": digest_file(text)}
    own = result_settings(settings)
    with stage(run_folder(out, "texts", name), "evaluate likelihood", own, inputs) as opened:
        scores = opened.folder / "scores.json"
        if opened.done:
            logger.info("%s is complete; nothing to do", opened.folder)
        else:
            write_json(scores, score(opened.folder / "windows.jsonl")._asdict())
    content = json.loads(scores.read_text(encoding="utf-8"))
    return Likelihood(**content | {"texts": tuple(TextScore(*row) for row in content["texts"])})


# ------------------------------------------------------------------- shared with evaluate_tasks


def run_folder(out: Path, task: str, model: str) -> Path:
    """Return the folder of the run of one model on one task."""
    return out / "runs" / task.replace("/", "-") / (model.replace("/", "-").strip(".") or "model")


def result_settings(settings: Settings) -> dict[str, object]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, object] = to_dict(settings)
    return {name: value for name, value in own.items() if name not in _COSTS_ONLY}


_COSTS_ONLY = ("batch_tokens", "batch_size", "device")


def load_for(path: str, dtype: str, device: str) -> tuple[Any, Any]:
    """Return a model, in evaluation mode on its device, and its Hugging Face tokenizer."""
    hf = load_tokenizer(path).hf
    return load_model(path, dtype=DTYPES.get(dtype), device=pick_device(device)), hf


def made_with(model: Any, files: Mapping[str, Path | None], **more: object) -> dict[str, Any]:
    """Return how a result came about: versions, format of the weights, device, files."""
    return made_of(
        files,
        torch=torch.__version__,
        transformers=transformers.__version__,
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        **more,
    )


def _check_tokens(models: Sequence[str], texts: Sequence[Text]) -> None:
    """Refuse models that score different tokens, before any of them does."""
    joined = join_texts(texts)
    tokenizers = (load_tokenizer(path).hf for path in models)
    if len({digest_tokens(hf, encode(hf, [joined])) for hf in tokenizers}) > 1:
        raise SettingsError(
            f"joined texts give perplexity per token only, but {OTHER_TOKENS}, without --joined"
        )


def _window(models: Sequence[str], settings: LikelihoodRun) -> int:
    """Return the window that is asked for, or the longest that all models take."""
    limits = {path: limit for path in models if (limit := positions_of(path)) is not None}
    least = min(limits.values(), default=None)
    if settings.window is None:
        at_most = [DEFAULT_WINDOW] if settings.joined or least is None else []
        return min([*at_most, *limits.values()])
    for path, limit in limits.items():
        if settings.window > limit:
            raise SettingsError(
                f"found --window {settings.window}, but {path} has {limit} positions; give at most"
                " that"
            )
    return settings.window


def positions_of(path: str) -> int | None:
    """Return how many tokens a model's rows may have; None where its config sets no limit."""
    try:
        config: Any = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError):
        config = load_model(path).config  # which says what is wrong
    return max_positions(config)


def names_of(models: Sequence[str]) -> list[str]:
    """Return the last part of each path, or all of it where that is not unique."""
    last = [Path(path).name or path for path in models]
    if len(set(models)) < len(models):
        raise SettingsError("found a model twice; give each --model once")
    return last if len(set(last)) == len(last) else list(models)


def _counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{number} {why}" for why, number in skipped.items())
