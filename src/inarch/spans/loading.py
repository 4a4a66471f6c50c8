"""Any tagger from its folder, or several that vote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inarch.errors import SettingsError
from inarch.spans import lexicon, logistic
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.logistic import LogisticTagger
from inarch.spans.onnx_model import ABOUT
from inarch.spans.vote import Ensemble, StreamTagger

if TYPE_CHECKING:
    from inarch.spans.tagger import Decode


class Decoding(NamedTuple):
    """How models, but not baselines, decide; see `inarch.spans.tagger.Tagger`."""

    decode: Decode = "viterbi"
    threshold: float = 0.5
    device: str = "cpu"
    """Looked at by models that are not ONNX."""


def is_baseline(folder: str | Path) -> bool:
    """Return whether a folder holds one of the baselines."""
    return any((Path(folder) / name).is_file() for name in (lexicon.FILE, logistic.CONFIG))


def load_tagger(folder: str | Path, decoding: Decoding | None = None) -> StreamTagger:
    """Return the tagger of a folder: a model, one as ONNX, or a baseline, by the files in it.

    Raises:
        WeightsError: There is none, or a file of it is absent or something else.
        MissingExtra: It is one as ONNX, and onnxruntime is not installed.
    """
    if (Path(folder) / lexicon.FILE).is_file():
        return LexiconTagger.from_pretrained(folder)
    if (Path(folder) / logistic.CONFIG).is_file():
        return LogisticTagger.from_pretrained(folder)
    from inarch.spans.tagger import Tagger  # loads torch, which the baselines do without

    decode, threshold, device = decoding or Decoding()
    if (Path(folder) / ABOUT).is_file():
        return Tagger.from_onnx(folder, decode=decode, threshold=threshold)
    return Tagger.from_pretrained(folder, decode=decode, threshold=threshold, device=device)


def load_taggers(
    folders: Sequence[str | Path],
    min_votes: int | None = None,
    decoding: Decoding | None = None,
) -> StreamTagger:
    """Return the tagger of one folder, or those of several, which vote.

    Args:
        folders: At least one.
        min_votes: How many must agree; None for a strict majority, which one folder needs.
        decoding: Of the models among them.

    Raises:
        SettingsError: There is no folder, or ``min_votes`` does not suit their number.
        WeightsError: A folder holds no tagger.
    """
    if len(folders) != 1:
        return Ensemble([load_tagger(folder, decoding) for folder in folders], min_votes)
    if min_votes is not None:
        raise SettingsError(
            f"found min_votes {min_votes} with one model; expected several that vote, or no"
            " min_votes"
        )
    return load_tagger(folders[0], decoding)
