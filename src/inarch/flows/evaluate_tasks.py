"""Tasks, of files and of lm-evaluation-harness, to the scores of one model or several."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from inarch.errors import SettingsError
from inarch.evaluate import choices, exact_match
from inarch.evaluate._questions import Question, TaskSettings, read_questions
from inarch.evaluate.harness import Harness, HarnessSettings
from inarch.evaluate.harness import results as harness_results
from inarch.evaluate.harness import rows as harness_rows
from inarch.evaluate.likelihood import DEFAULT_WINDOW
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, save_results
from inarch.flows.evaluate_likelihood import names_of
from inarch.io.files import digest_file
from inarch.io.models import DTYPES, load_model, max_positions, pick_device
from inarch.io.tokenizers import load_tokenizer
from inarch.settings import Settings, load

logger = logging.getLogger(__name__)

Row = dict[str, object]


class TasksRun(Settings):
    """How models run on tasks."""

    window: PositiveInt | None = None
    """Tokens that are read together; by default the model's positions, or 2048 without a limit."""
    limit: PositiveInt | None = None
    """Only this many questions per task."""
    num_fewshot: NonNegativeInt | None = None
    """Examples in front of the questions of named tasks; by default the task's own."""
    batch_tokens: PositiveInt = 4096
    """Tokens that run together; changes speed and memory only."""
    batch_size: PositiveInt = 8
    """The same for named tasks, in rows."""
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of the weights in memory; by default the one that they are stored in."""
    device: Literal["auto", "cpu"] = "auto"
    """Where models run; by default this machine's accelerator, if it has one."""


class _Local(NamedTuple):
    name: str
    settings: TaskSettings
    questions: list[Question]
    data: str


def run(
    models: Sequence[str], tasks: Sequence[str], settings: TasksRun, out: Path | None = None
) -> list[Row]:
    """Return the scores of models on tasks, a row per model and task.

    Args:
        models: Folders or hub ids.
        tasks: YAML files, see `TaskSettings`, or names that lm-eval knows.
        settings: How models run.
        out: Folder for results to compare, by task, metric and model.

    Raises:
        SettingsError: A task is none, or a setting has no effect.
        DataError: The questions of a task cannot be read.
        WeightsError: There is no such model.
        MissingExtra: A named task needs lm-eval, which is absent.
    """
    files = [name for name in tasks if name.endswith((".yaml", ".yml"))]
    local = [_read(Path(name), settings.limit) for name in files]
    named = [name for name in tasks if name not in files]
    _check(tasks, local, named, settings)
    options = HarnessSettings(
        settings.window, settings.limit, settings.num_fewshot, settings.batch_size
    )
    harness = Harness(named, options) if named else None
    device = pick_device(settings.device)
    found: list[Row] = []
    for name, path in zip(names_of(models), models, strict=True):
        hf = load_tokenizer(path).hf
        model = load_model(path, dtype=DTYPES.get(settings.dtype), device=device)
        limit = max_positions(model.config)
        if settings.window and limit and settings.window > limit:
            raise SettingsError(
                f"found window: {settings.window}, but {path} has {limit} positions; give at most"
                " that"
            )
        window = settings.window or limit or DEFAULT_WINDOW
        for task in local:
            scores = _score(model, hf, task, window, settings.batch_tokens)
            found.append({"model": name} | _row(task, scores))
            _save(out, _results(task, scores, name, window))
        if harness is not None:
            answered = harness.run(model, hf)
            found += [{"model": name} | row for row in harness_rows(answered)]
            _save(out, harness_results(answered, name, options, harness.version))
        del model
    return found


def _read(path: Path, limit: int | None) -> _Local:
    settings = load(TaskSettings, path)
    questions = read_questions(settings, limit)
    return _Local(
        path.stem, settings, questions, f"{settings.data.name} {digest_file(settings.data)}"
    )


def _check(
    tasks: Sequence[str], local: Sequence[_Local], named: Sequence[str], settings: TasksRun
) -> None:
    names = [*(task.name for task in local), *named]
    if not names or not all(names):
        raise SettingsError(
            "found an empty name in --tasks; give files or names with commas between"
        )
    if len(set(names)) < len(names):
        raise SettingsError(f"found a task twice in {', '.join(tasks)}; give each once")
    dead = {"num_fewshot", "batch_size"} & settings.model_fields_set
    if dead and not named:
        raise SettingsError(
            f"{min(dead)} has no effect on tasks of files, whose prompts are as they are written;"
            " leave it out"
        )


def _score(
    model: Any, hf: Any, task: _Local, window: int, batch_tokens: int
) -> dict[str, list[float]]:
    """Return a score per question, by metric."""
    choice, form = task.settings.multiple_choice, task.settings.generate
    if choice is not None:
        chosen = choices.choose(model, hf, task.questions, choice.delimiter, window, batch_tokens)
        return {name: [getattr(row, name) for row in chosen] for name in choices.METRICS}
    if form is None:
        raise TypeError("a task has one of two kinds")
    written = exact_match.write(model, hf, task.questions, form, window, batch_tokens)
    return {"exact_match": [row.exact_match for row in written]}


def _row(task: _Local, scores: Mapping[str, Sequence[float]]) -> Row:
    row: Row = {"task": task.name, "kind": _kind(task)}
    for name, values in scores.items():
        row |= {name: _mean(values), f"{name}_stderr": _stderr(values)}
    categories = list(dict.fromkeys(question.category for question in task.questions))
    row["n"] = len(task.questions)
    if len(categories) > 1:
        row["by_category"] = {
            one: {name: _mean(list(_of(one, task, values))) for name, values in scores.items()}
            for one in categories
        }
    return row


def _of(category: str, task: _Local, values: Sequence[float]) -> Iterator[float]:
    for question, value in zip(task.questions, values, strict=True):
        if question.category == category:
            yield value


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _stderr(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean, from the sample's deviation; None of one value."""
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _kind(task: _Local) -> Literal["multiple_choice", "generate"]:
    return "multiple_choice" if task.settings.multiple_choice is not None else "generate"


def _results(
    task: _Local, scores: Mapping[str, Sequence[float]], model: str, window: int
) -> Iterator[tuple[str, Result]]:
    form = task.settings.model_dump_json(exclude={"data", "skip"})
    for metric, values in scores.items():
        record = ProtocolRecord(
            benchmark=_kind(task),
            version="as lm-eval 0.4.13",
            score=f"{metric}, share right",
            data=f"{task.data}, {len(values)} questions",
            reading=f"window {window}, {form}",
        )
        rows = tuple(
            PromptScore(question.name, question.category, value)
            for question, value in zip(task.questions, values, strict=True)
        )
        yield f"{task.name}/{metric}", Result(record, model, rows)


def _save(out: Path | None, found: Iterator[tuple[str, Result]]) -> None:
    for place, result in found:
        if out is not None:
            save_results(out / place, [result])
