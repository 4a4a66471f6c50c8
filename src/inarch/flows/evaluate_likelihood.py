"""Texts to the surprise of one model or several."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transformers import AutoConfig

from inarch.errors import SettingsError
from inarch.evaluate._texts import read_texts
from inarch.evaluate.likelihood import (
    DEFAULT_WINDOW,
    Likelihood,
    LikelihoodSettings,
    check,
    score_texts,
)
from inarch.evaluate.protocol import OTHER_TOKENS, save_results
from inarch.io.files import digest_file
from inarch.io.models import DTYPES, load_model, max_positions, pick_device
from inarch.io.tokenizers import load_tokenizer

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
        out: Folder for results to compare, by unit and model.

    Raises:
        SettingsError: A window is too long for a model, or perplexity per token, all that joined
            texts give, does not compare.
        DataError: The file is no text.
        WeightsError: There is no such model.
    """
    check(settings)
    texts, skipped = read_texts(text)
    if skipped:
        logger.warning("%s: left out: %s", text, _counts(skipped))
    settings = settings.model_copy(update={"window": _window(models, settings)})
    check(settings)
    device = pick_device(settings.device)
    data = f"{text.name} {digest_file(text)}"
    found: dict[str, Likelihood] = {}
    for name, path in zip(names_of(models), models, strict=True):
        hf = load_tokenizer(path).hf
        model = load_model(path, dtype=DTYPES.get(settings.dtype), device=device)
        one = score_texts(model, hf, texts, settings)
        found[name] = one._replace(num_skipped=dict(skipped + Counter(one.num_skipped)))
        del model
        _check_tokens(found, settings)
        for unit, result in found[name].results(name, data).items():
            if out is not None:
                save_results(out / unit, [result])
    same = len({one.tokens for one in found.values()}) == 1
    if not same:
        logger.warning("perplexity per token is left out: %s", OTHER_TOKENS)
    return Scored(found, same)


def _check_tokens(found: dict[str, Likelihood], settings: LikelihoodRun) -> None:
    if settings.joined and len({one.tokens for one in found.values()}) > 1:
        raise SettingsError(
            f"joined texts give perplexity per token only, but {OTHER_TOKENS}, without --joined"
        )


def _window(models: Sequence[str], settings: LikelihoodRun) -> int:
    """Return the window that is asked for, or the longest that all models take."""
    limits = {path: limit for path in models if (limit := _positions(path)) is not None}
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


def _positions(path: str) -> int | None:
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
