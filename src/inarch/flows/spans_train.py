"""``spans train``: posts with spans in, a tagger out.

The house's trainer does the training, as the loss is a sum over tokens like any other: clipping,
decay of matrices only, resumption and several processes are its own. What is particular to spans
is a callback, which scores the development set after every epoch and keeps the best one's weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows._plan import operations_per_s
from inarch.flows._spans.card import write_card
from inarch.flows._spans.dev import ChooseEpoch, discard_best, write_dev
from inarch.flows._spans.scored import Scores, read_scores
from inarch.flows._spans.settings import SpansRun, result_settings
from inarch.io.files import digest_file, digest_folder
from inarch.io.models import max_positions, pick_device, quiet_transformers
from inarch.io.runs import Stage, is_first_process, stage
from inarch.records import LossOut
from inarch.settings import to_dict
from inarch.spans.coders import Coder, PieceCoder, WordCoder, load_tokenizer
from inarch.spans.encoder import WordEncoder
from inarch.spans.examples import collator, examples_of
from inarch.spans.model import SpanConfig, SpanModel
from inarch.spans.read import Post, read_posts, without
from inarch.spans.tagger import Tagger
from inarch.spans.words import WordVocabulary, split_words
from inarch.train.plan import num_steps
from inarch.train.trainer import train

logger = logging.getLogger(__name__)

__all__ = ["SpansRun", "plan", "run"]

_MOST_TOKENS = 512
"""Window of an encoder that sets no smaller one."""


def run(settings: SpansRun, out: Path) -> Scores | None:
    """Train the tagger of a recipe; the result is ``out/model``, by epochs ``out/dev.jsonl``.

    Returns:
        How the kept epoch does on the development set, which `inarch.flows._spans.scored` keeps;
        None without one, and in other processes than the first.
    """
    data, encoder = settings.data, settings.encoder
    inputs = {"train": digest_file(data.train)}
    if data.dev is not None:
        inputs["dev"] = digest_file(data.dev)
    for name, path in (("encoder", encoder.path), ("tokenizer", encoder.tokenizer)):
        if path is not None:
            inputs[name] = digest_folder(path)
    with stage(out, "spans", result_settings(settings), inputs) as opened:
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
        else:
            opened.wait_for("prepared")
            _run(settings, out, opened)
    if not is_first_process():
        return None
    discard_best(out)
    return read_scores(out)


def _run(settings: SpansRun, out: Path, opened: Stage) -> None:
    posts, dev = read_data(settings)
    coder = new_coder(settings, posts)
    examples = examples_of(posts, coder)
    facts = {"num_posts": len(posts), "num_rows": len(examples), "num_dev": len(dev)}
    opened.note(**facts, prepared=True)
    model = new_span_model(settings, coder).to(pick_device(settings.device))
    opened.note(num_weights=sum(weight.numel() for weight in model.parameters()))
    choose = ChooseEpoch(out, dev, coder, len(examples), settings.train) if dev else None
    result = train(
        model,
        examples,
        # A chain says how probable the tags of a whole row are, the others speak of each token.
        collator(coder, "rows" if settings.loss_name == "crf" else "tokens"),
        token_sums,
        settings.train,
        out,
        callbacks=[choose] if choose else [],
    )
    if is_first_process():
        coder.save(result.model)
        if choose:
            device = pick_device(settings.device)
            write_dev(out, Tagger.from_pretrained(result.model, device=device), posts, dev)
            opened.note(**choose.facts)
        write_card(result.model, settings, opened.facts)
    opened.note(num_steps=result.num_steps)


def read_data(settings: SpansRun) -> tuple[list[Post], list[Post]]:
    """Return the posts to train on and those to choose by, which are none of the former.

    Raises:
        DataError: A file cannot be read, or there is nothing to train on or to choose by.
    """
    dev = [] if settings.data.dev is None else read_posts(settings.data.dev)
    if settings.data.dev is not None and not dev:
        raise DataError(f"{settings.data.dev}: found no post to choose by; take data.dev out")
    posts = read_posts(settings.data.train)
    kept = without(posts, dev)
    if len(kept) < len(posts):
        logger.info("%d posts are in both files, and left out of training", len(posts) - len(kept))
    if not kept:
        raise DataError(f"{settings.data.train}: found no post to train on")
    return kept, dev


def new_coder(settings: SpansRun, posts: list[Post]) -> Coder:
    """Return how texts become tokens: the encoder's own way, or the words of the posts."""
    own = settings.encoder
    if own.words is not None:
        forms = (form for post in posts for form in split_words(post.text)[0])
        return WordCoder(WordVocabulary.of(forms, own.words.min_count))
    tokenizer = load_tokenizer(own.tokenizer or own.path or "")
    window = min(tokenizer.model_max_length, _MOST_TOKENS, _positions(settings))
    if own.window is not None and own.window > window:
        raise SettingsError(
            f"found encoder.window {own.window}, but the encoder and its tokenizer take at most"
            f" {window} tokens; lower it"
        )
    return PieceCoder(tokenizer, own.window or window)


def _positions(settings: SpansRun) -> int:
    config = _encoder_config(settings)
    limit = max_positions(config)
    if limit is None or limit < 0:  # XLNet's is -1
        return _MOST_TOKENS
    # RoBERTa and its kin count positions from behind the padding's id.
    is_roberta = "roberta" in config.model_type or config.model_type == "camembert"
    return limit - (config.pad_token_id or 0) - 1 if is_roberta else limit


def _encoder_config(settings: SpansRun) -> Any:
    own = settings.encoder
    if own.scratch is not None:
        keys = dict(own.scratch)
        return AutoConfig.for_model(keys.pop("model_type", ""), **keys)
    try:
        return AutoConfig.from_pretrained(own.path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"found no encoder at {own.path!r} ({str(error).splitlines()[0]}); expected a folder"
            " with config.json, or an id on the hub"
        ) from error


def new_span_model(settings: SpansRun, coder: Coder) -> SpanModel:
    """Return the model before training; the seed is set before any weight is drawn."""
    own = settings.encoder
    common = {
        "aux": settings.aux,
        "head": settings.head,
        "loss": settings.loss_name,
        "dropout": settings.dropout,
    }
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(settings.train.seed)
        if isinstance(coder, WordCoder) and own.words is not None:
            vocabulary = coder.vocabulary
            sizes = {"num_words": vocabulary.num_words, "num_characters": vocabulary.num_characters}
            return SpanModel(SpanConfig(words=to_dict(own.words), **sizes, **common))
        encoder = _encoder(settings)
        pieces = {} if not isinstance(coder, PieceCoder) else coder.settings
        return SpanModel(SpanConfig(encoder=encoder.config.to_dict(), **pieces, **common), encoder)


def _encoder(settings: SpansRun) -> Any:
    own = settings.encoder
    if own.path is None:
        return AutoModel.from_config(_encoder_config(settings), dtype=torch.float32)
    try:
        return AutoModel.from_pretrained(
            own.path, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot load the encoder {own.path}: {str(error).splitlines()[0]}; expected a folder,"
            " or an id on the hub, with safetensors weights"
        ) from error


def token_sums(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
    """Return the loss of a batch, summed over its tokens."""
    inputs = {name: value for name, value in batch.items() if not name.startswith("num_")}
    loss = model(**inputs, only_loss=True).loss * batch["num_tokens"]
    return LossOut(loss, {})


def plan(settings: SpansRun) -> dict[str, object]:
    """Return what a run will take; what is not on this machine is unknown.

    Raises:
        DataError: A data file is there, but cannot be read, or there is nothing to train on.
    """
    facts: dict[str, object] = {
        "encoder": settings.encoder.path or ("words" if settings.encoder.words else "scratch"),
        "aux, head, loss": f"{settings.aux}, {settings.head}, {settings.loss_name}",
    }
    unknown = dict.fromkeys(("posts", "tokens", "steps", "memory", "time"), "unknown")
    given = [path for path in (settings.data.train, settings.data.dev) if path is not None]
    if absent := [path for path in given if not Path(path).is_file()]:
        for path in set(given) - set(absent):
            read_posts(path)
        return facts | {"files that are not there": ", ".join(absent)} | unknown
    posts, dev = read_data(settings)
    try:
        coder = new_coder(settings, posts)
        model = new_span_model(settings, coder)
    except WeightsError as error:
        logger.info("%s", error)
        return facts | unknown | {"posts": _told(posts, dev)}
    examples = examples_of(posts, coder)
    steps = num_steps(len(examples), settings.train)
    num_tokens = sum(examples.lengths) * steps * settings.train.batch_size // len(examples)
    num_weights = sum(w.numel() for name, w in model.named_parameters() if "embed" not in name)
    if isinstance(model.encoder, WordEncoder):  # an embedding costs no arithmetic
        num_weights -= model.encoder.words.weight.numel()
    seconds = 6 * num_weights * num_tokens / operations_per_s(pick_device(settings.device))
    size = 16 * sum(weight.numel() for weight in model.parameters()) / 2**30
    return facts | {
        "posts": _told(posts, dev),
        "tokens": sum(examples.lengths),
        "steps": steps,
        "memory": f"{size:.2g} GiB and activations",
        "time": f"{timedelta(seconds=round(seconds))} or more on {pick_device(settings.device)}",
    }


def _told(posts: list[Post], dev: list[Post]) -> str:
    return f"{len(posts)} to train on, {len(dev)} to choose by"
