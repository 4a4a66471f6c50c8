"""Models to their scores by a published protocol, judged live.

The folder of a run holds the models' answers, what each judge replied, both in the benchmark's
official shape, too, a result per judge and model, and ``judging.json``: what is to be told of the
judges. Models and judges may come to a folder later; nothing is asked twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from inarch.errors import DataError, SettingsError
from inarch.evaluate.alpaca.judge import AlpacaBenchmark, AlpacaProtocol
from inarch.evaluate.arena.judge import ArenaBenchmark
from inarch.evaluate.arena.settings import ArenaV01Protocol, ArenaV2Protocol
from inarch.evaluate.judges.agreement import pooled_agreement, share_prompts
from inarch.evaluate.judges.benchmark import Benchmark, Dialogues, JudgedModel
from inarch.evaluate.judges.together import canary_of, commonest, mean_of_judges, order_effect
from inarch.evaluate.mt_bench.judge import open_mt_bench
from inarch.evaluate.mt_bench.settings import MtBenchProtocol
from inarch.evaluate.protocol import CANARY, Result, file_name, save_results
from inarch.flows._judge.asking import REPLIES, fitted, rule
from inarch.flows._judge.candidates import answer
from inarch.flows._judge.plan import judges_itself
from inarch.flows._judge.plan import plan as plan_of
from inarch.flows._judge.settings import TOGETHER, JudgeSettings, result_settings
from inarch.flows._judge.settings import JudgeRun as JudgeRun
from inarch.io.endpoints import EndpointSettings, check_reachable, spent
from inarch.io.files import make_folder, remove, write_json
from inarch.io.runs import stage

logger = logging.getLogger(__name__)

JUDGING = "judging.json"
CANARY_ANSWER = "Thank you for asking."

_BENCHMARKS: Mapping[type, Callable[[Any], Benchmark]] = {
    AlpacaProtocol: AlpacaBenchmark,
    ArenaV01Protocol: ArenaBenchmark,
    ArenaV2Protocol: ArenaBenchmark,
    MtBenchProtocol: open_mt_bench,
}

Told = dict[str, Any]


def plan(settings: JudgeRun) -> dict[str, object]:
    """Return what a run will take at most.

    Raises:
        DataError: Questions or prompts cannot be read.
    """
    return plan_of(settings, open_benchmark(settings))


def run(settings: JudgeRun, out: Path) -> Told:
    """Return what is to be told of models and judges, which ``out`` keeps, see `JUDGING`.

    Raises:
        SettingsError: An endpoint refuses requests, or the folder is of another run.
        DataError: Questions or answers cannot be read, or no judge gave any verdict.
        WeightsError: There is no such model.
    """
    benchmark = open_benchmark(settings)
    for warning in judges_itself(settings):
        logger.warning(warning)
    for folder, endpoint in _asked(settings, out).items():
        if not folder.exists():  # else all that it was to say may be there
            check_reachable(endpoint)
    with stage(out, "judge", result_settings(settings), benchmark.inputs):
        fits = {
            judge.name: fitted(benchmark, judge, out / "judgments" / judge.name)
            for judge in settings.judges
        }
        told: Told = {"judges": {}}
        answered, told["answers"] = _answered(settings, benchmark, out)
        results: dict[str, dict[str, Result]] = {}
        for judge in settings.judges:
            judged = _judged(fits[judge.name], judge, answered, out)
            results[judge.name] = _results(fits[judge.name], judged, told["answers"])
            _save(out / "results" / judge.name, results[judge.name], list(answered))
            told["judges"][judge.name] = _about(judge, judged, results[judge.name], out)
            scored = [one for one in judged if one.model in results[judge.name].keys() - {CANARY}]
            if scored:
                told["judges"][judge.name] |= fits[judge.name].together(scored)
        told |= _together(results, list(answered), out)
        write_json(out / JUDGING, told)
    if not any(results.values()):
        raise DataError(
            f"no judge gave a verdict; what they said is in {out / 'judgments'}: take a judge that"
            " does what it is asked"
        )
    return told


def _asked(settings: JudgeRun, out: Path) -> dict[Path, EndpointSettings]:
    """Return the endpoints by the folder of what they say."""
    judges = {out / "judgments" / judge.name: judge.endpoint for judge in settings.judges}
    models = {out / "answers" / m.name: m.endpoint for m in settings.models if m.endpoint}
    return judges | models


def open_benchmark(settings: JudgeRun) -> Benchmark:
    """Return the benchmark that is asked for, with its questions and prompts."""
    benchmark = _BENCHMARKS[type(settings.protocol)](settings.protocol)
    benchmark.questions = benchmark.questions[: settings.limit]
    models = [model.name for model in settings.models]
    for name in benchmark.awaits:
        if name not in models:
            raise SettingsError(
                f"found the baseline {name!r} without answers, and the models {', '.join(models)};"
                " name one of these, or give a file of answers"
            )
    return benchmark


def _answered(
    settings: JudgeRun, benchmark: Benchmark, out: Path
) -> tuple[dict[str, Dialogues], Told]:
    """Return what each model answered, the canary included, and how that came about."""
    found: dict[str, Dialogues] = {}
    told: Told = {}
    for candidate in settings.models:
        folder = out / "answers" / candidate.name
        own, facts = answer(candidate, benchmark, settings, folder)
        found[candidate.name], told[candidate.name] = own, dict(facts)
        missing = len(benchmark.questions) - len(own)
        if missing:
            logger.warning(
                "%s: %d of %d questions have no answer, and are not judged%s",
                *(candidate.name, missing, len(benchmark.questions)),
                f"; to ask again, delete the folders in {folder}" * bool(candidate.endpoint),
            )
    if settings.canary:
        found[CANARY] = {q.id: (CANARY_ANSWER,) * len(q.turns) for q in benchmark.questions}
    return found, told


def _judged(
    benchmark: Benchmark, judge: JudgeSettings, answered: Mapping[str, Dialogues], out: Path
) -> list[JudgedModel]:
    """Return a judge's rulings on all models, after they are written in the official shape."""
    folder = out / "judgments" / judge.name
    benchmark.meet(answered)
    cases = {model: benchmark.cases(model, own) for model, own in answered.items()}
    said = rule(benchmark, judge, cases, folder)
    names = Counter(reply.model for of in said.values() for _, replies in of for reply in replies)
    if len(names) > 1:
        logger.warning("%s calls itself %s; the first is what is noted", judge.name, list(names))
    name = names.most_common(1)[0][0] if names else judge.endpoint.model
    found = []
    for model, own in answered.items():
        rulings, replies = zip(*said[model], strict=True) if said[model] else ((), ())
        found.append(JudgedModel(model, name, own, tuple(cases[model]), rulings, replies))
        if cases[model]:
            place = folder / "canary" if model == CANARY else folder  # a model's files are read
            benchmark.save(make_folder(place) / model, found[-1])
    return found


def _results(
    benchmark: Benchmark, judged: Sequence[JudgedModel], answers: Told
) -> dict[str, Result]:
    """Return the results of the models that have one, with how they answered; others are told."""
    found = {}
    for one in judged:
        if not one.cases:  # the baseline, or a model without answers
            continue
        try:
            result = benchmark.result(one)
        except DataError as error:
            logger.warning("%s: no result: %s", one.model, error)
            continue
        made = {**result.made, "answers": answers.get(one.model, {})}
        found[one.model] = result._replace(made=made)
    return found


def _save(folder: Path, results: Mapping[str, Result], models: Sequence[str]) -> None:
    """Write results by model; what an earlier run wrote of a model that has none now goes."""
    save_results(folder, list(results.values()))
    for model in models:
        if model not in results:
            remove(folder / f"{file_name(model)}.json")


def _about(
    judge: JudgeSettings, judged: Sequence[JudgedModel], results: Mapping[str, Result], out: Path
) -> Told:
    """Return what is to be told of one judge."""
    models = [one for one in judged if one.model != CANARY]
    told: Told = {
        "model": judged[0].judge,
        "spent": spent(judge.endpoint, out / "judgments" / judge.name / REPLIES)._asdict(),
        "models": {one.model: _counts(one, results.get(one.model)) for one in judged if one.cases},
        "order": order_effect(models),
    }
    if CANARY in results:
        others = [result for name, result in results.items() if name != CANARY]
        compares = any(case.model_first is not None for one in judged for case in one.cases)
        canary = canary_of(results[CANARY], others, compares)
        if canary is not None:
            told["canary"] = canary._asdict() | {"sings": canary.sings}
        if canary is not None and canary.sings:
            logger.warning(
                "%s: a constant answer gets %.1f, and must stay below %.1f: its verdicts say little"
                " about the models",
                *(judge.name, canary.score, canary.must_be_below),
            )
    return told


def _counts(judged: JudgedModel, result: Result | None) -> Told:
    failures = commonest(Counter(ruling.failure for ruling in judged.rulings if ruling.failure))
    for reason, number in failures.items():
        logger.warning("%s: %d cases without a verdict: %s", judged.model, number, reason)
    return {
        "summary": dict(result.summary) if result else None,
        "n_cases": len(judged.cases),
        "n_asked": sum(bool(replies) for replies in judged.replies),
        "n_invalid": judged.num_invalid,
        "n_failed": _num_failed(judged),
        "failures": failures,
    }


def _num_failed(judged: JudgedModel) -> int:
    """Return how many cases the endpoint gave no reply to, which the next run asks again."""
    return sum(
        not replies and case.ruling is None
        for case, replies in zip(judged.cases, judged.replies, strict=True)
    )


def _together(
    results: Mapping[str, Mapping[str, Result]], models: Sequence[str], out: Path
) -> Told:
    """Return what several judges say together, after their mean is written."""
    if len(results) < 2:
        return {}
    shared = [model for model in models if all(model in own for own in results.values())]
    by_model = {m: {judge: own[m] for judge, own in results.items()} for m in shared}
    found_by = {model: mean_of_judges(own) for model, own in by_model.items()}
    means = {model: mean for model, mean in found_by.items() if mean is not None}
    _save(out / "results" / TOGETHER, means, models)
    if not shared:
        return {}
    told = [model for model in shared if model != CANARY] or shared
    agreements = []
    for a, b in combinations(results, 2):
        both = [(results[a][model], results[b][model]) for model in told]
        both = [pair for pair in both if share_prompts(*pair)]
        if both:
            agreements.append({"a": a, "b": b} | pooled_agreement(both)._asdict())
    return {"together": {m.model: dict(m.summary) for m in means.values()}, "agreement": agreements}
