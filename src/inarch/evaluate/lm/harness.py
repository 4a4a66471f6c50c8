"""Named public tasks, run by lm-evaluation-harness on a model in memory.

Its global seeding is switched off, and so is its cache, whose key does not name the model.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

from inarch.errors import DataError, MissingExtra, SettingsError
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result
from inarch.settings import nearest

logger = logging.getLogger(__name__)

_ERROR_DRAWS = 1000
"""For standard errors that have no formula; without any, lm-eval gives none that have one."""


class HarnessSettings(NamedTuple):
    """How lm-eval runs."""

    window: int | None = None
    """Tokens that the model reads at most; by default its positions."""
    limit: int | None = None
    """Questions per task."""
    num_fewshot: int | None = None
    """Examples in front of a question; by default the task's own."""
    batch_size: int = 8
    """Rows that run together."""
    chat: bool = False
    """Put prompts into the tokenizer's chat template."""


class Harness:
    """Named tasks, loaded once for all models.

    Args:
        names: Tasks, groups or tags of lm-eval.
        settings: How they run.
        manager: lm-eval's index of tasks; by default of all that it has.

    Raises:
        MissingExtra: lm-eval is not installed.
        SettingsError: There is no such task.
        DataError: Its questions cannot be read.
    """

    def __init__(
        self, names: Sequence[str], settings: HarnessSettings, manager: Any = None
    ) -> None:
        self._lm_eval = _import()
        self._settings = settings
        self.version: str = self._lm_eval.__version__
        if manager is None:
            logger.info("lm-eval looks through its tasks, which takes up to half a minute")
            manager = self._lm_eval.tasks.TaskManager()
        self._manager = manager
        self._tasks = _load(manager, names)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of groups and tasks, each of which runs alone."""
        return tuple(self._tasks)

    def run(self, model: Any, hf: Any, task: str) -> Mapping[str, Any]:
        """Return lm-eval's own results of a task, with all that it asked.

        Args:
            model: A causal LM in evaluation mode, on its device.
            hf: Its Hugging Face tokenizer.
            task: One of `tasks`.
        """
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(
            pretrained=model,
            tokenizer=hf,
            batch_size=self._settings.batch_size,
            max_length=self._settings.window,
            device=str(model.device),
        )
        with redirect_stdout(sys.stderr):  # where it prints what it draws, beside our JSON
            found: Mapping[str, Any] = self._lm_eval.simple_evaluate(
                model=lm,
                tasks=[self._tasks[task]],
                apply_chat_template=self._settings.chat,
                num_fewshot=self._settings.num_fewshot,
                limit=self._settings.limit,
                task_manager=self._manager,
                log_samples=True,
                bootstrap_iters=_ERROR_DRAWS,
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
            )
        return found


def rows(found: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """Yield what ``--json`` prints: an object per task, with lm-eval's numbers under its names."""
    counts = found.get("n-samples", {})
    for task, numbers in found["results"].items():
        values = {
            name.removesuffix(",none"): None if value == "N/A" else value
            for name, value in numbers.items()
            if name not in ("alias", "name", "sample_len", "sample_count")
        }
        effective = counts.get(task, {}).get("effective")
        yield {"task": task, "kind": "lm_eval"} | values | {"n": effective}


def results(
    found: Mapping[str, Any], model: str, settings: HarnessSettings, made: Mapping[str, Any]
) -> Iterator[tuple[str, Result]]:
    """Yield results that can be compared, by task and metric.

    A metric that is no mean over questions, such as a perplexity, has no score per question and is
    left out.

    Args:
        found: From `Harness.run`.
        model: Its name.
        settings: How lm-eval ran.
        made: How the results came about; ``lm_eval`` is its version.
    """
    summaries = {str(row["task"]): row for row in rows(found)}
    for task, samples in found.get("samples", {}).items():
        scores: dict[str, list[PromptScore]] = {}
        for sample in samples:
            for metric in sample.get("metrics", ()):
                if isinstance(sample.get(metric), int | float):
                    name = f"{metric}.{sample.get('filter', 'none')}".removesuffix(".none")
                    score = PromptScore(str(sample["doc_id"]), "", float(sample[metric]))
                    scores.setdefault(name, []).append(score)
        shots = found.get("n-shot", {}).get(task)
        whole = {str(key): value for key, value in summaries.get(task, {}).items()}
        for metric, row in scores.items():
            if not _is_mean(whole.get(metric.replace(".", ",")), row):
                logger.info("%s: %s is no mean over questions; not kept to compare", task, metric)
                continue
            record = ProtocolRecord(
                benchmark="lm_eval",
                version=f"lm-eval {made['lm_eval']}, {task} version {found['versions'].get(task)}",
                score=metric,
                data=f"{task}, {len(row)} questions",
                reading=f"{shots} examples, window {settings.window or 'of the model'}"
                + ", chat" * settings.chat,
            )
            yield (
                f"{task}/{metric}",
                Result(record, model, tuple(row), summaries.get(task, {}), made),
            )


def _is_mean(value: object, row: Sequence[PromptScore]) -> bool:
    mean = math.fsum(score.score for score in row) / len(row)
    return isinstance(value, int | float) and math.isclose(value, mean, abs_tol=1e-9)


def _import() -> Any:
    try:
        import lm_eval
        import lm_eval.tasks
    except ImportError as error:
        raise MissingExtra(
            f"named tasks are run by lm-eval, which is absent ({error}); pip install"
            " 'inarch[eval]', or write the task as a YAML file"
        ) from error
    return lm_eval


def _load(manager: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the groups and tasks that are in no other one, by name."""
    known = manager.all_tasks
    for name in names:
        if name not in known:
            raise SettingsError(
                f"found --tasks {name}, which is neither a file nor a task of lm-eval"
                f"{nearest(name, known)}; list them with lm-eval ls tasks"
            )
    try:
        loaded = manager.load(list(names))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"cannot load the questions of {', '.join(names)} ({type(error).__name__}: {reason})."
            " They come from the hub: run once with a network, and later from its cache, or write"
            " the task as a YAML file with questions of your own"
        ) from error
    inside = {name for children in loaded["group_map"].values() for name in children}
    every = loaded["groups"] | loaded["tasks"]
    return {name: item for name, item in every.items() if name not in inside}
