"""A baseline of words: those that stand inside a span at least as often as outside.

Source:   the ratio lexicon of docs/methods/spans.md: test .6442, with nothing chosen on any file.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import PositiveInt

from inarch.errors import WeightsError
from inarch.io.files import make_folder, write_json
from inarch.settings import Settings, UnitFloat
from inarch.spans.offsets import Span, token_shares, tokens_to_spans
from inarch.spans.read import Post
from inarch.spans.words import split_words

FILE = "lexicon.json"
_HALF = 0.5
"""Share of a word's characters from which it counts as inside a span."""


class LexiconSettings(Settings):
    """Which words are toxic."""

    min_count: PositiveInt = 2
    """Occurrences inside spans."""
    min_ratio: UnitFloat = 0.5
    """Share of all occurrences that are inside spans."""


class LexiconTagger:
    """Words that are toxic wherever they stand, each with its share of occurrences in spans."""

    def __init__(self, ratios: Mapping[str, float], cpu_s: float = 0.0) -> None:
        self.ratios = dict(ratios)
        """By word in lower case, in (0, 1]."""
        self.cpu_s = cpu_s
        """Processor seconds that it took to make."""

    @classmethod
    def fit(cls, posts: Sequence[Post], settings: LexiconSettings | None = None) -> Self:
        """Return the lexicon of labelled posts."""
        settings = settings or LexiconSettings()
        begun = time.process_time()
        inside: Counter[str] = Counter()
        everywhere: Counter[str] = Counter()
        for post in posts:
            words, offsets = split_words(post.text)
            is_inside = token_shares(post.text, offsets, post.offsets) >= _HALF
            everywhere.update(map(str.lower, words))
            inside.update(words[i].lower() for i in np.flatnonzero(is_inside))
        shares = {word: num / everywhere[word] for word, num in inside.items()}
        kept = {
            word: share
            for word, share in sorted(shares.items())
            if inside[word] >= settings.min_count and share >= settings.min_ratio
        }
        return cls(kept, time.process_time() - begun)

    def tag(self, text: str) -> list[Span]:
        """Return the spans of a text; the score is the mean share of their words."""
        words, offsets = split_words(text)
        shares = [self.ratios.get(word.lower(), 0.0) for word in words]
        return tokens_to_spans(text, offsets, [share > 0 for share in shares], shares)

    def tag_batch(self, texts: Sequence[str], batch_size: int = 1) -> list[list[Span]]:
        """Return the spans of each text; batches make no difference here."""
        return list(self.tag_stream(texts))

    def tag_stream(self, texts: Iterable[str]) -> Iterator[list[Span]]:
        """Yield the spans of each text, in order."""
        return map(self.tag, texts)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``lexicon.json``."""
        make_folder(Path(folder))
        write_json(Path(folder) / FILE, {"cpu_s": self.cpu_s, "ratios": self.ratios})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what `save_pretrained` wrote.

        Raises:
            WeightsError: ``lexicon.json`` is absent or something else.
        """
        path = Path(folder) / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls({str(w): float(r) for w, r in content["ratios"].items()}, content["cpu_s"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(
                f"cannot read {path} ({error!r}); expected the lexicon that `inarch spans score"
                " --train` writes"
            ) from None
