"""A baseline that sees a word, its letters and two words on either side: logistic regression.

Features are hashed (CRC-32) into 2^20 weights: the word in lower case, how it is written, its
character n-grams of 2 to 5 with ``<`` and ``>`` around it; and, by their place, the two words
before and behind. As no feature joins two words, a logit is a sum with a term per word and place,
and terms are kept once they have been worked out.

Source:   the logistic regression of docs/methods/spans.md: test .6632.
Shapes:   T = words of a text, W = places of the window, N = words of all texts.
"""

import json
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from inarch.errors import MissingExtra, WeightsError
from inarch.io.files import make_folder, write_atomic, write_json
from inarch.settings import Settings
from inarch.spans.offsets import Span, token_labels, tokens_to_spans
from inarch.spans.read import Post
from inarch.spans.words import split_words

CONFIG, WEIGHTS = "logistic.json", "logistic.safetensors"
_BITS = 20
_PLACES = (-2, -1, 1, 2)
_REACH = max(_PLACES)
_NGRAMS = range(2, 6)
_LONGEST = 30
"""Characters of a word whose n-grams are seen."""
_MOST_FORMS = 200_000
"""Words whose terms are kept."""
_OUTSIDE = ""
"""The word before the first and behind the last; no word is empty."""


class LogisticSettings(Settings):
    """How the weights are found."""

    alpha: PositiveFloat = 2e-5
    """Weight of the L2 penalty, from which the learning rate follows too."""
    epochs: PositiveInt = 10
    """Passes over the words."""
    seed: int = 42
    """Of the order of the words."""


class _Terms(NamedTuple):
    """What a word adds to logits."""

    own: float
    """To its own."""
    window: tuple[float, ...]
    """To those of the words that have it at each place of `_PLACES`."""


class LogisticTagger:
    """A word is toxic where its probability is at least one half."""

    def __init__(self, weights: NDArray[np.float32], bias: float, cpu_s: float = 0.0) -> None:
        self.weights = weights
        """``[2^20]``."""
        self.bias = bias
        self.cpu_s = cpu_s
        """Processor seconds that it took to make."""
        self._terms: dict[str, _Terms] = {}

    @classmethod
    def fit(cls, posts: Sequence[Post], settings: LogisticSettings | None = None) -> Self:
        """Return the tagger that stochastic gradient descent finds on labelled posts.

        Where no word is toxic, or all are, the tagger says the same of every word.

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        settings = settings or LogisticSettings()
        try:
            from scipy.sparse import csr_matrix
            from sklearn.linear_model import SGDClassifier
        except ImportError:
            raise MissingExtra(
                "the logistic regression is trained by scikit-learn; pip install 'inarch[spans]'"
            ) from None
        begun = time.process_time()
        starts, indices, labels_N = _examples(posts)
        num_toxic, num_words = int(labels_N.sum()), len(labels_N)
        if num_toxic in (0, num_words):  # scikit-learn wants two kinds
            bias = math.log((num_toxic + 0.5) / (num_words - num_toxic + 1))
            return cls(np.zeros(1 << _BITS, np.float32), bias, time.process_time() - begun)
        ones = np.ones(len(indices))
        features = csr_matrix((ones, indices, starts), shape=(num_words, 1 << _BITS))
        features.sum_duplicates()
        model = SGDClassifier(
            loss="log_loss",
            alpha=settings.alpha,
            max_iter=settings.epochs,
            tol=None,
            average=True,
            random_state=settings.seed,
        )
        model.fit(features, labels_N)
        weights = model.coef_[0].astype(np.float32)
        return cls(weights, float(model.intercept_[0]), time.process_time() - begun)

    def tag(self, text: str) -> list[Span]:
        """Return the spans of a text; the score is the mean probability of their words."""
        words, offsets = split_words(text)
        probs_T = 1 / (1 + np.exp(-self._logits(words)))
        return tokens_to_spans(text, offsets, probs_T >= 0.5, probs_T)

    def tag_batch(self, texts: Sequence[str], batch_size: int = 1) -> list[list[Span]]:
        """Return the spans of each text; batches make no difference here."""
        return list(self.tag_stream(texts))

    def tag_stream(self, texts: Iterable[str]) -> Iterator[list[Span]]:
        """Yield the spans of each text, in order."""
        return map(self.tag, texts)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``logistic.safetensors`` and ``logistic.json``."""
        from safetensors.numpy import save

        folder = Path(folder)
        make_folder(folder)
        with write_atomic(folder / WEIGHTS) as temp:
            temp.write_bytes(save({"weights": self.weights}))
        write_json(folder / CONFIG, {"bias": self.bias, "cpu_s": self.cpu_s})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what `save_pretrained` wrote.

        Raises:
            WeightsError: A file is absent or something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            weights = load_file(folder / WEIGHTS)["weights"]
            content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            made = cls(weights, float(content["bias"]), float(content["cpu_s"]))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(
                f"cannot read {CONFIG} and {WEIGHTS} in {folder} ({error!r}); expected the logistic"
                " regression that `inarch spans score --train` writes"
            ) from None
        if weights.shape != (1 << _BITS,) or weights.dtype != np.float32:
            raise WeightsError(
                f"{folder / WEIGHTS}: found weights {list(weights.shape)} of {weights.dtype};"
                f" expected [{1 << _BITS}] of float32"
            )
        return made

    def _logits(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Return the logit of every word, ``[T]``."""
        if len(self._terms) > _MOST_FORMS:
            self._terms.clear()
        padding = [_OUTSIDE] * _REACH
        terms = [self._terms_of(word) for word in (*padding, *words, *padding)]
        window_WT = np.array([term.window for term in terms]).T
        logits_T = self.bias + np.array([t.own for t in terms[_REACH : _REACH + len(words)]])
        for place, row_T in zip(_PLACES, window_WT, strict=True):
            logits_T = logits_T + row_T[_REACH + place : _REACH + place + len(words)]
        return logits_T

    def _terms_of(self, word: str) -> _Terms:
        found = self._terms.get(word)
        if found is None:
            own, window = _hashed(word)
            weights = self.weights[own].astype(np.float64), self.weights[window].tolist()
            found = self._terms[word] = _Terms(float(weights[0].sum()), tuple(weights[1]))
        return found


def _hashed(word: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the features of a word itself, and its feature at each place of the window."""
    lower = word.lower()
    bounded = f"<{lower[:_LONGEST]}>"
    own = {f"w{lower}", f"s{_shape(word)}"}
    for size in _NGRAMS:
        own.update(f"n{bounded[i : i + size]}" for i in range(len(bounded) - size + 1))
    window = [f"{place}{lower}" for place in _PLACES]
    return _indices(sorted(own)), _indices(window)


def _shape(word: str) -> str:
    """Return how a word is written: its kinds of characters, repetitions left out."""
    kinds = [
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word
    ]
    return "".join(kind for i, kind in enumerate(kinds[:_LONGEST]) if kinds[i - 1 : i] != [kind])


def _indices(features: Sequence[str]) -> NDArray[np.int32]:
    hashes = [zlib.crc32(feature.encode("utf-8", "surrogatepass")) for feature in features]
    return np.array(hashes, np.int64).astype(np.int32) & np.int32((1 << _BITS) - 1)


def _examples(
    posts: Sequence[Post],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Return where the features of each word start, the features, and which words are toxic."""
    hashed: dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
    rows: list[NDArray[np.int32]] = []
    labels = [np.zeros(0, np.bool_)]  # so that no words are an empty array
    padding = [_OUTSIDE] * _REACH
    for post in posts:
        words, offsets = split_words(post.text)
        labels.append(token_labels(post.text, offsets, post.offsets))
        padded = [*padding, *words, *padding]
        for word in padded:
            if word not in hashed:
                hashed[word] = _hashed(word)
        for at in range(_REACH, _REACH + len(words)):
            window = [hashed[padded[at + p]][1][i] for i, p in enumerate(_PLACES)]
            rows.append(np.append(hashed[padded[at]][0], window))
    starts = np.array([0, *map(len, rows)], np.int64).cumsum()
    return starts, np.concatenate([np.zeros(0, np.int32), *rows]), np.concatenate(labels)
