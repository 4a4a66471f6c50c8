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

from inarch.errors import DataError
from inarch.io.files import make_folder, write_json
from inarch.settings import Settings, validate

FORMAT = "inarch evaluation 1"

Benchmark = Literal[
    "alpaca_eval2", "arena_hard", "mt_bench", "likelihood", "multiple_choice", "generate", "lm_eval"
]


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
    names = Counter(_file_name(result.model) for result in results)
    for result in results:
        if names[_file_name(result.model)] > 1:
            raise DataError(
                f"found several models that would be {folder}/{_file_name(result.model)}.json;"
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
        write_json(folder / f"{_file_name(result.model)}.json", content)


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
        model = str(content["model"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: {error} is missing or something else; {remedy}") from None
    if not scores:
        raise DataError(f"{path}: found no scores; {remedy}")
    summary, made = content.get("summary", {}), content.get("made", {})
    return Result(protocol, model, scores, summary, made)


def _score(row: Mapping[str, Any], where: str) -> PromptScore:
    score = PromptScore(**row)
    numbers = score.score, score.weight
    if not all(isinstance(n, int | float) and abs(n) < float("inf") for n in numbers):
        raise DataError(f"{where}: found {numbers}, expected a score and a weight")
    if score.weight <= 0:
        raise DataError(f"{where}: weight: found {score.weight}, expected more than 0")
    return score


def _file_name(model: str) -> str:
    """Return a model's name without what leads to another folder."""
    name = "".join("-" if letter in "/\\:\0" else letter for letter in model)
    return name.strip(". ") or "model"
