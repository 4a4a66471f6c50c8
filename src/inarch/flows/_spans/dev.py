"""The epoch that is kept: scored on a development set by the task's own measure, character F1."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from inarch.flows._spans.baselines import baselines
from inarch.flows._spans.scored import Calibration, Scores, write_scored
from inarch.io.files import append_metrics, read_metrics, write_atomic
from inarch.io.runs import is_first_process
from inarch.spans.calibration import Reliability, reliability
from inarch.spans.coders import Coder
from inarch.spans.errors import error_kinds
from inarch.spans.metric import micro_character_f1, micro_word_f1, score
from inarch.spans.model import SpanModel
from inarch.spans.offsets import spans_to_offsets, token_labels
from inarch.spans.read import Labels, Post
from inarch.spans.tagger import Tagger
from inarch.train.plan import num_steps
from inarch.train.settings import TrainSettings

logger = logging.getLogger(__name__)

_BEST = "best.safetensors"
_ROWS = "dev.jsonl"
_AT_ONCE = 1024
"""Texts whose tokens are held."""


class ChooseEpoch(TrainerCallback):
    """Scores the model after every epoch, and gives it the best one's weights at the end."""

    def __init__(
        self, out: Path, dev: Sequence[Post], coder: Coder, num_rows: int, settings: TrainSettings
    ) -> None:
        self._out, self._dev, self._coder = out, dev, coder
        per_epoch = num_rows / settings.batch_size
        whole = range(1, math.ceil(num_steps(num_rows, settings) / per_epoch))
        self._ends = {math.ceil(epoch * per_epoch) for epoch in whole}
        self._best: dict[str, Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget what a killed run scored after the checkpoint that this one goes on from."""
        path = self._out / _ROWS
        rows = read_metrics(path) if path.exists() else []
        kept = [row for row in rows if row["step"] <= state.global_step]
        if is_first_process():
            with write_atomic(path) as temp:
                temp.write_text("".join(json.dumps(row) + "\n" for row in kept))
        best = max(rows, key=lambda row: row["f1"], default=None)
        is_there = best in kept and (self._out / _BEST).exists()
        self._best = best if is_there else None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score the model where an epoch ends."""
        step, last = state.global_step, state.global_step >= state.max_steps
        if (step in self._ends or last) and is_first_process():
            self._score(_unwrapped(kwargs["model"]), step)

    def _score(self, model: SpanModel, step: int) -> None:
        found = dev_score(model, self._coder, self._dev)
        row = {"step": step, **found}
        logger.info("after step %d: dev F1 %.4f", step, row["f1"])
        append_metrics(self._out / _ROWS, row)
        if self._best is None or row["f1"] > self._best["f1"]:
            self._best = row
            with write_atomic(self._out / _BEST) as temp:
                weights = {name: value.contiguous() for name, value in model.state_dict().items()}
                save_file(weights, temp)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the best epoch's weights into the model, before it is saved."""
        if self._best is not None and is_first_process():
            model = _unwrapped(kwargs["model"])
            weights = load_file(self._out / _BEST, device=str(model.device))
            model.load_state_dict(weights)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the best epoch's scores, for the manifest."""
        return {} if self._best is None else {"dev": self._best}


def discard_best(out: Path) -> None:
    """Remove the best epoch's weights, which a run that is not done may still go on from."""
    (out / _BEST).unlink(missing_ok=True)


def dev_score(model: SpanModel, coder: Coder, posts: Sequence[Post]) -> dict[str, float]:
    """Return the official scores of a model, which is left in the mode that it was in."""
    was_training = model.training
    tagger = Tagger(model, coder)
    spans = tagger.tag_batch([post.text for post in posts])
    model.train(was_training)
    found = score([spans_to_offsets(row) for row in spans], [post.offsets for post in posts])
    return found._asdict()


def write_dev(out: Path, tagger: Tagger, posts: Sequence[Post], dev: Sequence[Post]) -> None:
    """Write what is known of a tagger on the development set, and keep the baselines beside it.

    Args:
        out: Run folder.
        tagger: With the weights that were kept.
        posts: That it learnt from, and the baselines learn from.
        dev: The development set.
    """
    texts, want = [post.text for post in dev], [post.offsets for post in dev]
    spans = tagger.tag_batch(texts)
    mine = [tuple(spans_to_offsets(row)) for row in spans]
    if any(want) and not any(mine):
        logger.warning(
            "the tagger finds no span at all in %d posts of the development set, of which %d have"
            " some; train longer (train.epochs), or on more posts with spans",
            len(dev),
            sum(map(bool, want)),
        )
    found = Scores(
        score(mine, want),
        micro_character_f1(mine, want),
        micro_word_f1(texts, mine, want),
        error_kinds(mine, want),
        tuple(baselines(posts, dev, mine, out)),
        {},
        Calibration("tokens", token_reliability(tagger, dev)),
    )
    gold = [Labels(str(i), post.text, post.offsets, "") for i, post in enumerate(dev)]
    scored = [tuple((span.start, span.end, span.score) for span in row) for row in spans]
    predicted = [
        row._replace(offsets=offsets, scored=of_row)
        for row, offsets, of_row in zip(gold, mine, scored, strict=True)
    ]
    write_scored(out, found, predicted, gold)


def token_reliability(tagger: Tagger, posts: Sequence[Post]) -> Reliability:
    """Return how far the marginals of tokens are from the share that overlaps a gold span."""
    scores: list[float] = []
    toxic: list[bool] = []
    for first in range(0, len(posts), _AT_ONCE):
        chunk = posts[first : first + _AT_ONCE]
        encoded = tagger.coder.encode([post.text for post in chunk])
        for post, tokens, tagged in zip(chunk, encoded, tagger.mark(encoded), strict=True):
            scores += tagged.probability_T.tolist()
            toxic += token_labels(post.text, tokens.offsets, post.offsets).tolist()
    return reliability(scores, toxic)


def _unwrapped(model: Any) -> SpanModel:
    return getattr(model, "module", model)
