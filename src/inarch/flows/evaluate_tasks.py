"""Tasks, of files and of lm-evaluation-harness, to the scores of one model or several."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from inarch.errors import SettingsError
from inarch.evaluate.lm import choices, exact_match
from inarch.evaluate.lm._examples import as_chat, as_text, with_examples
from inarch.evaluate.lm._questions import FewshotForm, Question, TaskSettings, read_questions
from inarch.evaluate.lm._reader import Reader
from inarch.evaluate.lm.harness import Harness, HarnessSettings
from inarch.evaluate.lm.harness import results as harness_results
from inarch.evaluate.lm.harness import rows as harness_rows
from inarch.evaluate.lm.likelihood import DEFAULT_WINDOW
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, save_results
from inarch.flows.evaluate_likelihood import (
    load_for,
    made_with,
    names_of,
    positions_of,
    result_settings,
    run_folder,
)
from inarch.io.files import digest_file, write_json
from inarch.io.models import digest_model
from inarch.io.runs import stage
from inarch.settings import Settings, load, to_dict

logger = logging.getLogger(__name__)

Row = dict[str, object]


class TasksRun(Settings):
    """How models run on tasks."""

    window: PositiveInt | None = None
    """Tokens that are read together; by default the model's positions, or 2048 without a limit."""
    limit: PositiveInt | None = None
    """Only this many questions per task."""
    num_fewshot: NonNegativeInt | None = None
    """Examples in front of each question; by default the task's own."""
    chat: bool = False
    """Put prompts into the tokenizer's chat template, examples as turns; as in lm-eval, a choice
    then follows without a delimiter."""
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
    inputs: Mapping[str, str]
    """Digests of the questions, and of examples from another file."""


class _Scores(NamedTuple):
    """Of one model on one task, or on those of a group."""

    rows: list[Row]
    results: list[tuple[str, Result]]
    """By task and metric."""


_Opened = Callable[[], tuple[Any, Any]]
"""Gives a model and its tokenizer, loaded when it is first called."""


def run(
    models: Sequence[str], tasks: Sequence[str], settings: TasksRun, out: Path | None = None
) -> list[Row]:
    """Return the scores of models on tasks, a row per model and task.

    Args:
        models: Folders or hub ids.
        tasks: YAML files, see `TaskSettings`, or names that lm-eval knows.
        settings: How models run.
        out: Folder for results to compare, by task, metric and model. A killed run goes on with the
            next model or task.

    Raises:
        SettingsError: A task is none, or a setting has no effect.
        DataError: The questions of a task cannot be read.
        WeightsError: There is no such model.
        MissingExtra: A named task needs lm-eval, which is absent.
    """
    files = [name for name in tasks if name.endswith((".yaml", ".yml"))]
    local = [_read(Path(name), settings) for name in files]
    named = [name for name in tasks if name not in files]
    _check(tasks, local, named, settings)
    options = HarnessSettings(
        settings.window, settings.limit, settings.num_fewshot, settings.batch_size, settings.chat
    )
    harness = Harness(named, options) if named else None
    found: list[Row] = []
    for name, path in zip(names_of(models), models, strict=True):
        window = _window(path, settings)
        opened = cache(partial(load_for, path, settings.dtype, settings.device))
        for task in local:
            score = partial(_score_local, task, settings, name, window, opened)
            where = _Where(task.name, name, path, task.inputs)
            found += _kept(out, where, _own(task, settings), score)
        if harness is not None:
            for known in harness.tasks:
                score = partial(_score_named, harness, known, options, name, opened)
                where = _Where(known, name, path, {"lm-eval": harness.version})
                found += _kept(out, where, result_settings(settings), score)
    return found


class _Where(NamedTuple):
    """A model and a task."""

    task: str
    name: str
    path: str
    inputs: Mapping[str, str]
    """Names and digests of what the task reads."""


def _kept(
    out: Path | None,
    where: _Where,
    own: Mapping[str, object],
    score: Callable[[], _Scores],
) -> list[Row]:
    """Return the rows of one model on one task, those of an earlier run if it was whole."""
    if out is None:
        return score().rows
    inputs = {"model": digest_model(where.path), **where.inputs}
    with stage(run_folder(out, where.task, where.name), "evaluate tasks", own, inputs) as opened:
        kept = opened.folder / "scores.json"
        if opened.done:
            logger.info("%s is complete; nothing to do", opened.folder)
        else:
            found = score()
            for place, result in found.results:
                save_results(out / place, [result])
            write_json(kept, found.rows)
    rows: list[Row] = json.loads(kept.read_text(encoding="utf-8"))
    return rows


def _window(path: str, settings: TasksRun) -> int:
    limit = positions_of(path)
    if settings.window and limit and settings.window > limit:
        raise SettingsError(
            f"found window: {settings.window}, but {path} has {limit} positions; give at most that"
        )
    return settings.window or limit or DEFAULT_WINDOW


def _score_named(
    harness: Harness, task: str, options: HarnessSettings, name: str, opened: _Opened
) -> _Scores:
    model, hf = opened()
    answered = harness.run(model, hf, task)
    made = made_with(model, {}, lm_eval=harness.version)
    rows = [{"model": name} | row for row in harness_rows(answered)]
    return _Scores(rows, list(harness_results(answered, name, options, made)))


def _score_local(
    task: _Local, settings: TasksRun, name: str, window: int, opened: _Opened
) -> _Scores:
    model, hf = opened()
    questions = (
        as_chat(hf, task.questions) if settings.chat else as_text(task.settings, task.questions)
    )
    reader = Reader(model, hf, window, settings.batch_tokens)
    scores = _score(reader, task.settings, questions, chat=settings.chat)
    row = {"model": name} | _row(task, scores)
    made = made_with(model, {"questions": task.settings.data})
    results = _results(task, scores, f"window {window}{', chat' * settings.chat}")
    return _Scores([row], [(p, Result(r, name, s, row, made)) for p, r, s in results])


def _read(path: Path, settings: TasksRun) -> _Local:
    task = load(TaskSettings, path)
    if settings.num_fewshot is not None:
        form = task.fewshot or FewshotForm(num=0)
        examples = form.model_copy(update={"num": settings.num_fewshot})
        task = task.model_copy(update={"fewshot": examples})
    questions = with_examples(task, read_questions(task, settings.limit))
    inputs = {"questions": digest_file(task.data)}
    if task.fewshot and task.fewshot.num and task.fewshot.data:
        inputs["examples"] = digest_file(task.fewshot.data)
    return _Local(path.stem, task, questions, inputs)


def _own(task: _Local, settings: TasksRun) -> dict[str, object]:
    """Return the settings that decide the scores of a task."""
    run = result_settings(settings)
    return {"task": to_dict(task.settings)} | {
        name: run[name] for name in ("window", "limit", "chat", "dtype")
    }


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
    if "batch_size" in settings.model_fields_set and not named:
        raise SettingsError(
            "batch_size has no effect on tasks of files; set batch_tokens, or leave it out"
        )


def _score(
    reader: Reader, task: TaskSettings, questions: Sequence[Question], *, chat: bool
) -> dict[str, list[float]]:
    """Return a score per question, by metric."""
    if task.multiple_choice is not None:
        delimiter = "" if chat else task.multiple_choice.delimiter  # as in lm-eval
        chosen = choices.choose(reader, questions, delimiter)
        return {name: [getattr(row, name) for row in chosen] for name in choices.METRICS}
    if task.generate is None:
        raise TypeError("a task has one of two kinds")
    written = exact_match.write(reader, questions, task.generate)
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
    task: _Local, scores: Mapping[str, Sequence[float]], reading: str
) -> Iterator[tuple[str, ProtocolRecord, tuple[PromptScore, ...]]]:
    """Yield what is compared, by task and metric."""
    form = task.settings.model_dump_json(exclude={"data": True, "skip": True, "fewshot": {"data"}})
    examples = f", examples {task.inputs['examples']}" if "examples" in task.inputs else ""
    for metric, values in scores.items():
        record = ProtocolRecord(
            benchmark=_kind(task),
            version="as lm-eval 0.4.13",
            score=f"{metric}, share right",
            data=f"{task.settings.data.name} {task.inputs['questions']}, {len(values)} questions",
            reading=f"{reading}, {form}{examples}",
        )
        rows = tuple(
            PromptScore(question.name, question.category, value)
            for question, value in zip(task.questions, values, strict=True)
        )
        yield f"{task.name}/{metric}", record, rows
