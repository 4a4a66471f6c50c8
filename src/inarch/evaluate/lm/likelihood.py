"""How surprised a model is by texts: bits per byte, and perplexity per byte, word and token.

All four are one sum of log-probs over another count, both added up over the texts first:

    bits per byte = -LL / (bytes log 2),   perplexity = exp(-LL / units)

Only what is per byte or per word compares between models whose tokens differ: a tokenizer with
longer tokens has fewer of them to be surprised at.

Source:  lm-evaluation-harness 0.4.13, ``loglikelihood_rolling`` and its three metrics; for joined
         texts, see `inarch.evaluate.lm._windows`.
Differs: empty texts are left out and counted, where lm-eval counts a word for each; a log-prob is
         summed in float64.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import PositiveInt

from inarch.align._layout import Sequences
from inarch.errors import DataError, SettingsError
from inarch.evaluate.lm import _windows as windows
from inarch.evaluate.lm._sums import summed_logps
from inarch.evaluate.lm._texts import Ids, Text, digest_tokens, encode, join_texts, prefix_id
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result
from inarch.io.progress import track
from inarch.settings import Settings

logger = logging.getLogger(__name__)

DEFAULT_WINDOW = 2048
"""Of a model without a limit, as in lm-eval, and of joined texts, as in papers."""


class LikelihoodSettings(Settings):
    """How texts are cut, and what stands in front of them."""

    window: PositiveInt | None = None
    """Tokens that are read together; by default the model's positions, and 2048 for joined texts
    and for models without a limit."""
    stride: PositiveInt | Literal["chunked"] = "chunked"
    """New tokens per window, behind as much context as fits; ``chunked`` is a whole window."""
    joined: bool = False
    """Join all texts by blank lines: ``chunked`` is then what papers on pruning report, a stride
    what the guide of Hugging Face does. Such a score is per token only."""
    bos: Literal["lm-eval", "once"] = "lm-eval"
    """In front of a text: the begin token and what the tokenizer adds, so that some models must
    predict a second begin token, as in lm-eval; or it once, not predicted."""
    batch_tokens: PositiveInt = 4096
    """Tokens that run together; changes speed and memory only."""


class TextScore(NamedTuple):
    """Of one text, or one window of joined texts."""

    name: str
    category: str
    nats: float
    num_tokens: int
    num_words: int
    num_bytes: int


class Likelihood(NamedTuple):
    """A model's surprise at texts."""

    texts: tuple[TextScore, ...]
    reading: str
    """Window, stride, and what stands in front."""
    first_token: str
    """Whether the first token counts."""
    tokens: str
    """Digest of the tokens that are scored."""
    joined: bool
    num_skipped: Mapping[str, int]
    """Why texts were left out, and how many."""
    made: Mapping[str, Any] = {}
    """Versions, format of the weights, device."""

    def numbers(self, *, per_token: bool = True) -> dict[str, object]:
        """Return what ``--json`` prints; None for what does not apply or is beyond a float.

        Args:
            per_token: Give perplexity per token, which compares for the same tokens only.
        """
        nats = self.total("nats")
        whole = not self.joined
        counts = {
            "n_documents" if whole else "n_windows": len(self.texts),
            "n_tokens": round(self.total("num_tokens")),
        }
        if whole:
            counts |= {
                "n_words": round(self.total("num_words")),
                "n_bytes": round(self.total("num_bytes")),
            }
        bits = nats / self.total("num_bytes") / math.log(2) if whole else None
        return {
            "bits_per_byte": bits,
            "byte_perplexity": _exp(nats, self.total("num_bytes")) if whole else None,
            "word_perplexity": _exp(nats, self.total("num_words")) if whole else None,
            "token_perplexity": _exp(nats, self.total("num_tokens")) if per_token else None,
            "nats": nats,
            **counts,
            "reading": self.reading,
            "first_token": self.first_token,
            "left_out": dict(self.num_skipped),
        }

    def total(self, count: str) -> float:
        """Return a sum over the texts."""
        return math.fsum(getattr(text, count) for text in self.texts)

    def results(self, model: str, data: str) -> dict[str, Result]:
        """Return results that can be compared, by their unit.

        Args:
            model: Name of the model.
            data: Name and digest of the file.
        """
        units = {} if self.joined else {"byte": math.log(2), "word": 1.0}
        return {
            f"{'bits' if unit == 'byte' else 'nats'}_per_{unit}": Result(
                ProtocolRecord(
                    benchmark="likelihood",
                    version="joined" if self.joined else "lm-eval 0.4.13 rolling",
                    score=f"{'bits' if unit == 'byte' else 'nats'} per {unit}; less is better",
                    data=data,
                    reading=self.reading,
                    tokens=self.tokens if unit == "token" else "",
                ),
                model,
                tuple(_prompt_score(text, unit, size) for text in self.texts),
                self.numbers(per_token=unit == "token"),
                self.made,
            )
            for unit, size in (units | {"token": 1.0}).items()
        }


def score_texts(
    model: Any,
    hf: Any,
    texts: Sequence[Text],
    settings: LikelihoodSettings,
    journal: Path | None = None,
) -> Likelihood:
    """Return how surprised a model is by texts.

    Args:
        model: A causal LM in evaluation mode, on its device.
        hf: Its Hugging Face tokenizer.
        texts: From `read_texts`.
        settings: With a window.
        journal: File that keeps what is scored; see `summed_logps`.

    Raises:
        SettingsError: The stride is longer than the window, or has no effect.
        DataError: The tokenizer has no token to stand in front, or there is nothing to score.
    """
    check(settings)
    if settings.joined:
        streams, cuts, first = _joined(hf, texts, settings)
    else:
        streams, cuts, first = _apart(hf, texts, settings)
    owners = [number for number, cut in enumerate(cuts) for _ in cut]
    rows = [
        Sequences((stream[w.begin : w.end - w.num + 1],), (stream[w.end - w.num + 1 : w.end + 1],))
        for stream, cut in zip(streams, cuts, strict=True)
        for w in cut
    ]
    with track("scoring texts", len(rows), "windows") as advance:
        found = [
            float(sums_K[0])
            for sums_K in summed_logps(model, rows, settings.batch_tokens, advance, journal)
        ]
    if settings.joined:
        scores = [
            TextScore(f"window {i}", "", -logp, len(row.answers[0]), 0, 0)
            for i, (row, logp) in enumerate(zip(rows, found, strict=True))
        ]
    else:
        nats = [0.0] * len(texts)
        for owner, logp in zip(owners, found, strict=True):
            nats[owner] -= logp
        scores = [
            TextScore(str(i), t.category, n, len(s) - 1, t.num_words, t.num_bytes)
            for i, (t, n, s) in enumerate(zip(texts, nats, streams, strict=True))
            if len(s) > 1
        ]
    if not scores:
        raise DataError("found no token in any text; expected at least one")
    skipped = {"texts without a token": len(texts) - len(scores)} if not settings.joined else {}
    scored = [row.answers[0] for row in rows]
    return Likelihood(
        tuple(scores),
        _reading(settings),
        first,
        digest_tokens(hf, scored),
        settings.joined,
        {why: number for why, number in skipped.items() if number},
    )


def check(settings: LikelihoodSettings) -> None:
    """Refuse a stride that leaves tokens out.

    Raises:
        SettingsError: It is longer than the window.
    """
    window, stride = settings.window, settings.stride
    if window is not None and stride != "chunked" and stride > window:
        raise SettingsError(
            f"found --stride {stride} and --window {window}; expected a stride of at most the"
            " window, as tokens between two windows would be left out"
        )
    if settings.joined and settings.bos == "once":
        raise SettingsError(
            "bos: once has no effect on joined texts, which are read as the tokenizer makes them;"
            " leave it out"
        )


def _apart(
    hf: Any, texts: Sequence[Text], settings: LikelihoodSettings
) -> tuple[list[Ids], list[list[windows.Window]], str]:
    """Return a stream of tokens per text with one in front, and its windows."""
    token = prefix_id(hf)
    if token is None:
        raise DataError(
            f"{hf.name_or_path}: found neither a begin nor an end token, but the first token of a"
            " text is predicted from one; set tokenizer.bos_token and save the tokenizer, or give"
            " --joined, which does not score the first token"
        )
    name = hf.convert_ids_to_tokens(token)
    rows = encode(hf, [text.text for text in texts], specials=settings.bos == "lm-eval")
    if settings.bos == "lm-eval":
        doubled = sum(
            ids[:1].tolist() == [token] and not text.text.startswith(name)
            for ids, text in zip(rows, texts, strict=True)
        )
        if doubled:
            logger.warning(
                "%d of %d texts have %s twice in front, the second one predicted and counted, as in"
                " lm-eval; --set bos=once reads and counts none but the first",
                *(doubled, len(texts), name),
            )
    streams = [np.concatenate([[token], ids]).astype(np.int32) for ids in rows]
    window = settings.window or DEFAULT_WINDOW
    stride = window if settings.stride == "chunked" else settings.stride
    cuts = [windows.rolling(len(ids), window, stride) for ids in rows]
    return streams, cuts, f"counted, predicted from {name}"


def _joined(
    hf: Any, texts: Sequence[Text], settings: LikelihoodSettings
) -> tuple[list[Ids], list[list[windows.Window]], str]:
    """Return all texts as one stream of tokens, and its windows."""
    with_specials = encode(hf, [join_texts(texts)])
    num_tokens, window = len(with_specials[0]), settings.window or DEFAULT_WINDOW
    if settings.stride == "chunked":
        cut = windows.chunks(num_tokens, window)
        first = "not counted in any window"
    else:
        cut = windows.strided(num_tokens, window, settings.stride)
        first = "not counted"
    if window < 2 or not cut:
        raise DataError(
            f"the joined texts have {num_tokens} tokens, which is not one window of {window}; give"
            " a smaller --window of at least 2, or more text"
        )
    return with_specials, [cut], first


def _reading(settings: LikelihoodSettings) -> str:
    stride = settings.stride if settings.stride == "chunked" else f"stride {settings.stride}"
    front = "as the tokenizer makes it" if settings.joined else f"begin token {settings.bos}"
    return f"window {settings.window or DEFAULT_WINDOW}, {stride}, {front}"


def _prompt_score(text: TextScore, unit: str, size: float) -> PromptScore:
    number = {"byte": text.num_bytes, "word": text.num_words, "token": text.num_tokens}[unit]
    return PromptScore(text.name, text.category, text.nats / number / size, float(number))


def _exp(nats: float, number: float) -> float | None:
    try:
        return math.exp(nats / number)
    except OverflowError:
        return None
