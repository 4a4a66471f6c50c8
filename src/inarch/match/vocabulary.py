"""Which id of the target each id of the source becomes, by the method that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from inarch.errors import DataError
from inarch.match.baselines import exact_map, min_edit_map
from inarch.match.homes import bytes_map, homes_in
from inarch.match.maps import VocabMap, cached
from inarch.match.statistics import count_pairs, statistics_map, statistics_released_map
from inarch.records import Coverage
from inarch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inarch.io.tokenizers import Encoded, Tokenizer

_FROM_STATISTICS = {
    "statistics": statistics_map,
    "statistics_released": statistics_released_map,
}


class MatchSettings(Settings):
    """How a source's positions and ids become the target's."""

    vocabulary: Literal["bytes", "exact", "min_edit", "statistics", "statistics_released"] = "bytes"
    """`bytes` compares what tokens spell. The others are published baselines."""
    coverage: Coverage = "prefix"
    """`boundary` uses the source only where both have read the same bytes; `prefix` also inside its
    tokens, given what was spelled of them, and follows it where one target token is several of
    its tokens."""


def build_map(
    target: Tokenizer,
    source: Tokenizer,
    settings: MatchSettings,
    corpus: Iterable[tuple[Encoded, Encoded]] | None = None,
) -> VocabMap:
    """Return the vocabulary map, from the cache where the method needs no corpus.

    Args:
        target: The tokenizer whose ids come out.
        source: The tokenizer whose ids go in.
        settings: Which method.
        corpus: Pairs (target's tokens, source's tokens) of the same texts, for the statistics.

    Raises:
        DataError: The method needs a corpus and none is given.
        MissingExtra: The method needs rapidfuzz.
    """
    method = settings.vocabulary
    if method in _FROM_STATISTICS:
        if corpus is None:
            msg = f"vocabulary {method!r} counts tokens in a corpus and found none; pass a corpus"
            raise DataError(msg)
        return _FROM_STATISTICS[method](target, source, count_pairs(corpus))

    def build() -> VocabMap:
        if method == "bytes":
            return bytes_map(target, source, homes_in(target))
        return (exact_map if method == "exact" else min_edit_map)(target, source)

    return cached((method, target.digest, source.digest), build)
