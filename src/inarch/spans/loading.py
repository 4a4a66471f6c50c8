"""Any tagger from its folder, or several that vote."""

from collections.abc import Sequence
from pathlib import Path

from inarch.errors import SettingsError
from inarch.spans import lexicon, logistic
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.logistic import LogisticTagger
from inarch.spans.vote import Ensemble, StreamTagger


def load_tagger(folder: str | Path) -> StreamTagger:
    """Return the tagger of a folder: a model, or one of the baselines, by the files in it.

    Raises:
        WeightsError: There is none, or a file of it is absent or something else.
    """
    if (Path(folder) / lexicon.FILE).is_file():
        return LexiconTagger.from_pretrained(folder)
    if (Path(folder) / logistic.CONFIG).is_file():
        return LogisticTagger.from_pretrained(folder)
    from inarch.spans.tagger import Tagger  # loads torch, which the baselines do without

    return Tagger.from_pretrained(folder)


def load_taggers(folders: Sequence[str | Path], min_votes: int | None = None) -> StreamTagger:
    """Return the tagger of one folder, or those of several, which vote.

    Args:
        folders: At least one.
        min_votes: How many must agree; None for a strict majority, which one folder needs.

    Raises:
        SettingsError: There is no folder, or ``min_votes`` does not suit their number.
        WeightsError: A folder holds no tagger.
    """
    if len(folders) != 1:
        return Ensemble([load_tagger(folder) for folder in folders], min_votes)
    if min_votes is not None:
        raise SettingsError(
            f"found min_votes {min_votes} with one model; expected several that vote, or no"
            " min_votes"
        )
    return load_tagger(folders[0])
