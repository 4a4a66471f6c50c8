"""The flow behind ``inarch merge search``: which numbers and methods make the best merge.

Every trial is merged on disk as `inarch merge` does it, scored, and deleted; what it was and how
good is a line of ``trials.jsonl``. The next one depends on these lines and the seed alone, so a
search that was killed goes on as if nothing had happened. The inputs alone and their plain mean are
scored as well: a search that does not beat them has found nothing.
"""

import itertools
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import SettingsError, WeightsError
from inarch.flows import merge
from inarch.flows._search.judge import Judge, Scores
from inarch.flows._search.plain_mean import plain_mean
from inarch.flows._search.propose import propose, spread, start
from inarch.flows._search.settings import (
    SearchRun,
    all_refs,
    load_search,
    problems_of,
    samples,
    trial_config,
)
from inarch.flows._search.space import Floats, Space, Values
from inarch.io.files import append_metrics, digest_file, read_metrics, remove
from inarch.io.hub import find_folder
from inarch.io.models import pick_device
from inarch.io.progress import track
from inarch.io.runs import Stage, stage
from inarch.merge import MergeConfig
from inarch.merge._config import ModelRef
from inarch.merge._models import open_models
from inarch.settings import to_dict, validate

__all__ = ["Found", "SearchRun", "load_search", "plan", "run"]

logger = logging.getLogger(__name__)

TRIALS, MODEL, STAGE = "trials.jsonl", "model", "merge search"
PLAIN_MEAN = "plain mean"
_SCRATCH = ".trial.tmp"
"""The model of the trial at hand; what a kill leaves of it is removed by the next run."""
_NUM_START = 4
"""Trials before the first that is proposed by a model of the score, or more for many choices."""
_PATIENCE = 4096
"""Points that are looked at to find one that has not been tried."""
_COSTS_ONLY = ("budget", "device", "threads")
"""Settings under which a search goes on, whatever they were before."""


class Found(NamedTuple):
    """What a search found so far."""

    rows: list[dict[str, Any]]
    """One per input and per trial; see ``trials.jsonl``."""
    best: dict[str, Any]
    """The row of the best trial, with its score on what was held out."""
    settings: SearchRun


def run(settings: SearchRun, out: str | Path) -> Found:
    """Search, and merge what was found into ``out/model``.

    ``trials.jsonl`` has a row per input and per trial: ``kind`` (``input`` or ``trial``), ``name``,
    ``score``, ``held_out`` (of inputs and the plain mean) and ``wall_s``; of a trial also
    ``trial``, its number (0 is the plain mean), ``values``, and where the score is None, ``error``.
    A search that has ended goes on under a larger budget.

    Raises:
        SettingsError: A trial would be no recipe, or the folder is of another search.
        WeightsError: The models do not fit each other, or one is absent or broken.
        DataError: There is too little to score on, or the disk is full.
    """
    problems = [f"{'.'.join(map(str, path))}: {problem}" for path, problem in problems_of(settings)]
    if problems:
        raise SettingsError("\n".join(problems))
    out = Path(out)
    refs = all_refs(settings)
    with open_models(refs) as models:
        inputs = {label: model.fingerprint() for label, model in models.items()}
        folders = [model.folder for model in models.values()]
    data = settings.score.data.path
    inputs["score"] = digest_file(data) if Path(data).exists() else data
    own = {key: value for key, value in to_dict(settings).items() if key not in _COSTS_ONLY}
    with stage(out, STAGE, own, inputs) as opened:
        remove(out / _SCRATCH)
        for values in samples(settings):
            merge.plan(trial_config(settings, values))  # refuses models that do not fit
        lab = _Lab(settings, folders, out)
        for label, ref in refs.items():
            lab.score_input(label, ref)
        lab.search()
        return Found(lab.rows, _finish(lab, opened), settings)


def plan(settings: SearchRun) -> dict[str, object]:
    """Return what a search will do and take."""
    space = Space(settings.search)
    config = trial_config(settings, space.values(space.center()))
    trial = merge.plan(config)
    budget = settings.budget
    minutes = f", {budget.minutes:g} minutes at most" if budget.minutes else ""
    return {
        "searched": ", ".join(settings.search),
        "dimensions": len(space.num_choices),
        "trials": f"{min(budget.trials, space.size + 1):,.0f}{minutes}",
        "scored alone": list(all_refs(settings)),
        "score": settings.score.unit,
        "each trial reads": trial["reads"],
        "each trial writes": trial["writes"],
    }


# ------------------------------------------------------------------------------------- the trials


class _Lab:
    """Merges and scores, and keeps the rows."""

    def __init__(self, settings: SearchRun, inputs: Sequence[Path], out: Path) -> None:
        self.settings, self.inputs, self.out = settings, inputs, out
        self.space = Space(settings.search)
        self.path = out / TRIALS
        self.rows = read_metrics(self.path) if self.path.exists() else []
        self.options = merge.MergeOptions(threads=settings.threads)
        self.device = pick_device(settings.device)

    @cached_property
    def judge(self) -> Judge:
        """Return who scores models; a search that has ended needs none."""
        return Judge(self.settings.score, self.inputs, self.settings.seed)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Return the rows of the trials, in their order."""
        return [row for row in self.rows if row["kind"] == "trial"]

    def cost(self, row: Mapping[str, Any]) -> float:
        """Return the score of a row, turned so that less is better; NaN where there is none."""
        if row["score"] is None:
            return math.nan
        return float(row["score"]) * (1 if self.settings.score.lower_is_better else -1)

    def score_input(self, label: str, ref: ModelRef) -> None:
        """Score an input alone, unless that has been done."""
        if any(row["kind"] == "input" and row["name"] == label for row in self.rows):
            return
        begun = time.monotonic()
        if ref.lora is None:
            scores = self.judge.score(find_folder(str(ref.model)), self.device)
        else:
            alone = {"merge_method": "passthrough", "models": [{"model": to_dict(ref)}]}
            scores = self._merge_and_score(validate(MergeConfig, alone, label), held_out=True)
        self._keep({"kind": "input", "name": label}, scores, begun)

    def search(self) -> None:
        """Make trials until the budget is spent, or everything has been tried."""
        budget = self.settings.budget
        with track("trials", budget.trials, "trials", len(self.trials)) as advance:
            if not self.trials:
                self._try_plain_mean()
                advance(1)
            while len(self.trials) < budget.trials and self._has_time():
                values = self._next()
                if values is None:
                    logger.info("all %d trials that are possible have been made", self.space.size)
                    return
                self._try(values)
                advance(1)

    def _has_time(self) -> bool:
        minutes = self.settings.budget.minutes
        return minutes is None or sum(row["wall_s"] for row in self.trials) < 60 * minutes

    def _next(self) -> Values | None:
        """Return what to try next, which has not been tried; None if there is no such thing."""
        tried = {json.dumps(row["values"]) for row in self.trials}
        found = map(self.space.values, itertools.islice(self._points(), _PATIENCE))
        return next((values for values in found if json.dumps(values) not in tried), None)

    def _points(self) -> Iterator[Floats]:
        """Return points worth a trial, the most promising first."""
        number, seed, choices = len(self.trials), self.settings.seed, self.space.num_choices
        past = self.trials[1:]
        costs = [self.cost(row) for row in past]
        if number == 1:
            yield self.space.center()
        elif self.settings.strategy == "model" and not all(map(math.isnan, costs)):
            if number <= max(_NUM_START, *choices):
                yield start(choices, number - 1, seed)
            points_ND = np.array([self.space.point(row["values"]) for row in past])
            yield from propose(points_ND, costs, choices, np.random.default_rng((seed, number)))
        yield from (spread(choices, later, seed) for later in itertools.count(number))

    def config_of(self, row: Mapping[str, Any]) -> MergeConfig:
        """Return the recipe of a trial."""
        if row["values"] is not None:
            return trial_config(self.settings, row["values"])
        return plain_mean(trial_config(self.settings, self.space.values(self.space.center())))

    def _try_plain_mean(self) -> None:
        begun = time.monotonic()
        row = {"kind": "trial", "name": PLAIN_MEAN, "trial": 0, "values": None}
        scores = self._merge_and_score(self.config_of(row), held_out=True)
        self._keep(row, scores, begun)

    def _try(self, values: Values) -> None:
        """Make a trial; one that cannot be merged or scored is a row without a score."""
        begun, number = time.monotonic(), len(self.trials)
        row = {"kind": "trial", "name": f"trial {number}", "trial": number, "values": values}
        try:
            scores = self._merge_and_score(self.config_of(row))
        except (SettingsError, WeightsError) as error:
            logger.warning("trial %d has no score: %s", number, error)
            row["error"] = str(error)
            scores = Scores(None, None)
        self._keep(row, scores, begun)

    def _merge_and_score(self, config: MergeConfig, held_out: bool = False) -> Scores:
        """Return the scores of a merge, which is deleted."""
        folder = self.out / _SCRATCH
        try:
            merge.run(config, folder, self.options)
            scores = self.judge.score(folder, self.device, held_out=held_out)
        finally:
            remove(folder)
        if not math.isfinite(scores.score or 0.0):
            raise WeightsError(f"the score of the merge is {scores.score}")
        return scores

    def _keep(self, row: dict[str, Any], scores: Scores, begun: float) -> None:
        row |= {**scores._asdict(), "wall_s": round(time.monotonic() - begun, 3)}
        append_metrics(self.path, row)
        self.rows.append(json.loads(json.dumps(row)))


def _finish(lab: _Lab, opened: Stage) -> dict[str, Any]:
    """Merge the best trial into its place; return its row, with the score on what is held out."""
    best = min((row for row in lab.trials if row["score"] is not None), key=lab.cost)
    model, number = lab.out / MODEL, best["trial"]
    if opened.facts.get("best") != number:
        remove(model)
        opened.note(best=number, held_out=best["held_out"])
    merge.run(lab.config_of(best), model, lab.options)
    if lab.settings.score.held_out and opened.facts["held_out"] is None:
        opened.note(held_out=lab.judge.score(model, lab.device).held_out)
    failed = sum(row["score"] is None for row in lab.trials)
    score = lab.settings.score
    opened.note(failed=failed, unit=score.unit, lower_is_better=score.lower_is_better)
    return best | {"held_out": opened.facts["held_out"]}
