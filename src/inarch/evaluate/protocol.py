"""What a score was measured with, and the scores per prompt, so that only like is compared.

A result is one JSON file: a protocol record, the model, and a score per prompt. Two results compare
if their records are equal, field by field; a field that is not known is no agreement with one that
is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from inarch import __version__
from inarch.errors import DataError
from inarch.io.files import digest_file, digest_folder, make_folder, write_json
from inarch.settings import Settings, validate

FORMAT = "inarch evaluation 1"
CANARY = "null answer"
"""What results call the model that always says the same, which no judge should like."""

Benchmark = Literal[
    "alpaca_eval2", "arena_hard", "mt_bench", "likelihood", "multiple_choice", "generate", "lm_eval"
]

DIGEST_DIGITS = 16
"""Of a file's digest, in a record."""
OTHER_TOKENS = (
    "the models score different tokens, and a tokenizer with longer ones has fewer of them to be"
    " surprised at; compare bits per byte"
)


class ProtocolRecord(Settings):
    """All that must agree before two scores mean the same; ``""`` where it is not known."""

    benchmark: Benchmark
    version: str
    """Of the benchmark: ``v0.1`` of Arena-Hard scores other prompts in another way than ``v2``."""
    score: str
    """What the score of a prompt is, with its unit."""
    judge: str = ""
    """The judge as the file names it, an annotator's name with its prompt and parse included."""
    baseline: str = ""
    """Whose answers the model is compared with."""
    references: str = ""
    """Reference answers that the judge was shown."""
    data: str = ""
    """Name and digest of the texts or questions."""
    prompts: str = ""
    """Digests of what the judge is asked."""
    judging: str = ""
    """How the judge is asked and read: sampling, orders, parse."""
    reading: str = ""
    """How the model reads them: windows, tokens in front, prompts."""
    tokens: str = ""
    """Digest of the tokens that a score is per, where it is: it compares for the same ones only."""


class PromptScore(NamedTuple):
    """What a model got for one prompt, over all its games or turns."""

    prompt: str
    category: str
    score: float
    """Mean over the prompt's rows, in the unit that the record names."""
    weight: float = 1.0
    """Rows that the mean is of: what the prompt weighs in the benchmark's own mean."""
    length: int | None = None
    """Characters of the model's answer; None where it is not known."""
    baseline_length: int | None = None
    """Characters of the answer that it is compared with."""


class Result(NamedTuple):
    """One model under one protocol."""

    protocol: ProtocolRecord
    model: str
    scores: tuple[PromptScore, ...]
    summary: Mapping[str, Any] = {}
    """The benchmark's own numbers, as ``--json`` prints them."""
    made: Mapping[str, Any] = {}
    """How it came about, which need not agree: sampling of the answers, template, seeds, what the
    judge calls itself, counts of what is invalid, versions of libraries."""


def mean_score(scores: Sequence[PromptScore]) -> float:
    """Return the mean over prompts by weight: the benchmark's own."""
    total = sum(row.weight for row in scores)
    return sum(row.score * row.weight for row in scores) / total


def differences(a: ProtocolRecord, b: ProtocolRecord) -> list[str]:
    """Return in what two records differ, as texts."""
    one, other = a.model_dump(), b.model_dump()
    return [
        OTHER_TOKENS
        if name == "tokens"
        else f"{name}: {one[name] or 'unknown'} against {other[name] or 'unknown'}"
        for name in one
        if one[name] != other[name]
    ]


def save_results(folder: Path, results: Sequence[Result]) -> None:
    """Write one file per model, named after it."""
    make_folder(folder)
    names = Counter(file_name(result.model) for result in results)
    for result in results:
        if names[file_name(result.model)] > 1:
            raise DataError(
                f"found several models that would be {folder}/{file_name(result.model)}.json;"
                " score them apart"
            )
        content = {
            "format": FORMAT,
            "protocol": result.protocol.model_dump(),
            "model": result.model,
            "scores": [row._asdict() for row in result.scores],
            "summary": dict(result.summary),
            "made": dict(result.made),
        }
        write_json(folder / f"{file_name(result.model)}.json", content)


def load_result(path: Path) -> Result:
    """Return what `save_results` wrote.

    Raises:
        DataError: The file is absent, cut or something else; the row is named.
    """
    remedy = "write it with inarch evaluate alpaca|arena|mtbench|likelihood|tasks ... --out DIR"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); was the file cut? {remedy}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: found no result of inarch evaluate; {remedy}")
    try:
        protocol = validate(ProtocolRecord, content["protocol"], str(path))
        rows = content["scores"]
        scores = tuple(_score(row, f"{path} score {i}") for i, row in enumerate(rows))
        model = _text(content["model"], f"{path}: model")
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: {error} is missing or something else; {remedy}") from None
    if not scores:
        raise DataError(f"{path}: found no scores; {remedy}")
    twice = [name for name, number in Counter(row.prompt for row in scores).items() if number > 1]
    if twice:
        raise DataError(f"{path}: found prompt {twice[0]!r:.80} twice, expected a score each")
    summary, made = (_mapping(content.get(key, {}), f"{path} {key}") for key in _ABOUT)
    return Result(protocol, model, scores, summary, made)


def made_of(files: Mapping[str, Path | None], **more: object) -> dict[str, Any]:
    """Return how a result came about from files: this version, their digests, and ``more``.

    Args:
        files: By what they are; None where there is none, and it is left out.
        more: Counts and settings.
    """
    digests = {
        name: f"{path.name} {digest_folder(path) if path.is_dir() else digest_file(path)}"
        for name, path in files.items()
        if path is not None
    }
    return {"inarch": __version__, "files": digests} | more


_ABOUT = ("summary", "made")
_LARGEST = 1e300
"""JSON's whole numbers have no end, those of sums do."""


def _score(row: object, where: str) -> PromptScore:
    known = _mapping(row, where)
    strange = known.keys() - set(PromptScore._fields)
    if strange:
        names = ", ".join(PromptScore._fields)
        raise DataError(f"{where}: found {min(strange)!r:.80}, expected {names}")
    score = PromptScore(
        _text(known.get("prompt"), f"{where}: prompt"),
        _text(known.get("category"), f"{where}: category"),
        known.get("score", "none"),
        *(known.get(name, default) for name, default in PromptScore._field_defaults.items()),
    )
    for name in ("score", "weight"):
        number = getattr(score, name)
        if not _is_finite(number):
            raise DataError(f"{where}: {name}: found {number!r:.80}, expected a number")
    if score.weight <= 0:
        raise DataError(f"{where}: weight: found {score.weight}, expected more than 0")
    for name in ("length", "baseline_length"):
        length = getattr(score, name)
        if length is not None and (not _is_whole(length) or length < 0):
            raise DataError(
                f"{where}: {name}: found {length!r:.80}, expected a number of characters, or null"
            )
    return score


def _text(found: object, where: str) -> str:
    if not isinstance(found, str):
        raise DataError(f"{where}: found {found!r:.80}, expected a text")
    return found


def _mapping(found: object, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: found {found!r:.80}, expected an object of names and values")
    return found


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _is_finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return abs(number) < _LARGEST


def file_name(model: str) -> str:
    """Return a model's name without what leads to another folder."""
    name = "".join("-" if letter in "/\\:\0" else letter for letter in model)
    return name.strip(". ") or "model"
