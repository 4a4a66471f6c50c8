"""What the policy answers and what the reviser makes of it, kept line by line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inarch.align._prompts import PromptRow
from inarch.flows._corpus import tokenizer_at
from inarch.flows._seft.reviser import Reviser
from inarch.flows._seft.settings import SeftRun
from inarch.flows._seft.write import Writer, write
from inarch.flows.recipe import ModelSettings
from inarch.flows.teach import device_of
from inarch.io.files import append_metrics, read_metrics
from inarch.io.generation import read_prompts
from inarch.io.models import DTYPES, load_model
from inarch.io.progress import track
from inarch.io.sampling import sample

Line = dict[str, Any]
_BATCHES = 4
"""Batches between two writes: what a kill costs, and how many rows are sorted by length."""


def answers(
    settings: SeftRun,
    policy: ModelSettings,
    rows: Sequence[PromptRow],
    keys: Sequence[int],
    path: Path,
) -> list[str | None]:
    """Return one answer of the policy to each prompt, None where it cannot read it.

    Args:
        settings: How it answers, and how many at once.
        policy: The policy of this round.
        rows: The prompts.
        keys: A number per prompt, from which its answer is drawn.
        path: Where the answers are kept.
    """

    def begin() -> Callable[[range], list[Line]]:
        tokenizer, model = tokenizer_at(policy.tokenizer_path), _load(policy, settings)

        def make(numbers: range) -> list[Line]:
            read = read_prompts(model, tokenizer, [rows[i].messages for i in numbers])
            problems = [ids if isinstance(ids, str) else "" for ids in read]
            good = [i for i, problem in zip(numbers, problems, strict=True) if not problem]
            texts = sample(
                model,
                tokenizer,
                [rows[i].messages for i in good],
                settings.sampling,
                keys=[keys[i] for i in good],
            )
            found = {i: text for i, (text,) in zip(good, texts, strict=True)}
            return [
                {"where": rows[i].where, "answer": found.get(i), "problem": problem}
                for i, problem in zip(numbers, problems, strict=True)
            ]

        return make

    lines = continued(path, len(rows), settings.sampling.batch_size * _BATCHES, "answers", begin)
    return [line["answer"] for line in lines]


def written(
    settings: SeftRun,
    reviser: Reviser,
    rows: Sequence[PromptRow],
    originals: Sequence[str],
    path: Path,
) -> list[str | None]:
    """Return what a reviser writes about each answer, None where it cannot read it.

    Args:
        settings: How it decides, and how many at once.
        reviser: The reviser of this round.
        rows: The prompts.
        originals: The answers to them.
        path: Where it is kept.
    """

    def begin() -> Callable[[range], list[Line]]:
        tokenizer = tokenizer_at(reviser.model.tokenizer_path)
        model = _load(reviser.model, settings)
        writer = Writer(model, tokenizer, reviser.form, settings.decode)

        def make(numbers: range) -> list[Line]:
            place = slice(numbers.start, numbers.stop)
            texts = write(writer, [row.messages for row in rows[place]], originals[place])
            return [{"written": text} for text in texts]

        return make

    lines = continued(
        path, len(originals), settings.decode.batch_size * _BATCHES, "revisions", begin
    )
    return [line["written"] for line in lines]


def continued(
    path: Path,
    total: int,
    size: int,
    title: str,
    begin: Callable[[], Callable[[range], list[Line]]],
) -> list[Line]:
    """Return the lines of a file, made where they are missing; a killed run goes on with them.

    Args:
        path: A JSON Lines file; it need not be there.
        total: Lines of the whole file.
        size: Lines that are made and written together.
        title: What is going on.
        begin: Loads what makes lines, from their numbers; not called if none is missing.
    """
    lines = read_metrics(path) if path.exists() else []
    if len(lines) >= total:
        return lines
    make = begin()
    with track(title, total, title, len(lines)) as advance:
        while len(lines) < total:
            numbers = range(len(lines), min(len(lines) + size, total))
            for line in make(numbers):
                append_metrics(path, line)
                lines.append(line)
            advance(len(numbers))
    return lines


def _load(model: ModelSettings, settings: SeftRun) -> Any:
    dtype = None if model.dtype == "auto" else DTYPES[model.dtype]
    return load_model(model.path or "", dtype=dtype, device=device_of(settings))
