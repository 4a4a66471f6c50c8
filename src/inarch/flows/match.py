"""The flow behind ``inarch match``: how two tokenizers match on the texts of a file."""

from pathlib import Path

from inarch.data.corpus import DataSettings, read_raw
from inarch.errors import DataError
from inarch.flows._corpus import tokenizer_at
from inarch.match.report import MatchReport, ViewToken, match_report, view
from inarch.match.vocabulary import MatchSettings, build_map

__all__ = ["MatchReport", "MatchSettings", "ViewToken", "look", "run", "sentence_of"]

_DEFAULTS = MatchSettings()
_CORPORA = {".jsonl", ".json", ".parquet"}


def run(target: str, source: str, text: Path, settings: MatchSettings = _DEFAULTS) -> MatchReport:
    """Return how ``source`` matches onto ``target`` on the texts of a file.

    Args:
        target: Folder or hub id of the tokenizer that takes over distributions.
        source: Folder or hub id of the tokenizer that they come from.
        text: A corpus (.jsonl, .json, .parquet) or any UTF-8 file, which is one text.
        settings: How ids are matched; mapping statistics are counted on the same texts.

    Raises:
        DataError: The file is absent or holds no text.
        WeightsError: A tokenizer is absent.
    """
    texts = _texts(text)
    mine, theirs = tokenizer_at(target), tokenizer_at(source)
    pairs = zip(mine.encode_many(texts), theirs.encode_many(texts), strict=True)
    return match_report(mine, theirs, build_map(mine, theirs, settings, pairs), texts)


def look(target: str, source: str, text: str) -> list[ViewToken]:
    """Return the target's tokens of a sentence and what the source says after each.

    Args:
        target: Folder or hub id of the tokenizer that takes over distributions.
        source: Folder or hub id of the tokenizer that they come from.
        text: One sentence.
    """
    return view(tokenizer_at(target), tokenizer_at(source), text)


def sentence_of(text: Path, max_chars: int = 200) -> str:
    """Return the first line of a file with at least five words, or with any, cut to a length."""
    lines = [line for part in _texts(text) for line in part.splitlines() if line.strip()]
    return next((line for line in lines if len(line.split()) >= 5), (lines or [""])[0])[:max_chars]


def _texts(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"--text: found no file {path}; expected a text file or a corpus")
    if path.suffix in _CORPORA:
        rows = list(read_raw(DataSettings(path=str(path))))
        contents = [
            [row.text] if row.text else [m.content for m in row.messages or ()] for row in rows
        ]
        texts = [content for parts in contents for content in parts]
    else:
        try:
            texts = [path.read_bytes().decode("utf-8-sig")]
        except UnicodeDecodeError as problem:
            msg = f"{path}: byte {problem.start} is not UTF-8; convert it: iconv -t UTF-8"
            raise DataError(msg) from problem
    if not any(texts):
        raise DataError(f"{path}: found no text; expected at least one character to match on")
    return texts
