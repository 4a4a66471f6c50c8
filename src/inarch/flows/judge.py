"""Models to their scores by a published protocol, judged live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inarch.evaluate.judge_alpaca import AlpacaBenchmark, AlpacaProtocol
from inarch.evaluate.judge_mt_bench import MtBenchBenchmark, MtBenchProtocol
from inarch.evaluate.judging import Benchmark, JudgedModel
from inarch.evaluate.protocol import Result, save_results
from inarch.flows._judge.asking import rule
from inarch.flows._judge.candidates import answer
from inarch.flows._judge.settings import JudgeRun as JudgeRun
from inarch.flows._judge.settings import JudgeSettings

_BENCHMARKS: Mapping[type, Callable[[Any], Benchmark]] = {
    AlpacaProtocol: AlpacaBenchmark,
    MtBenchProtocol: MtBenchBenchmark,
}


def run(settings: JudgeRun, out: Path) -> list[Result]:
    """Return what each judge says of each model, which ``out`` keeps.

    Raises:
        SettingsError: An endpoint refuses requests.
        DataError: Questions or answers cannot be read.
    """
    benchmark = open_benchmark(settings)
    found = []
    for candidate in settings.models:
        dialogues = answer(candidate, benchmark, settings, out / "answers" / candidate.name)
        for judge in settings.judges:
            place = out / "judgments" / judge.name
            cases = benchmark.cases(candidate.name, dialogues)
            said = rule(benchmark, judge.endpoint, cases, place / "replies.jsonl", f"{judge.name}")
            judged = JudgedModel(
                candidate.name,
                _judge_name(judge, said),
                dialogues,
                tuple(cases),
                tuple(ruling for ruling, _ in said),
                tuple(replies for _, replies in said),
            )
            benchmark.save(place / candidate.name, judged)
            result = benchmark.result(judged)
            save_results(out / "results" / judge.name, [result])
            found.append(result)
    return found


def open_benchmark(settings: JudgeRun) -> Benchmark:
    """Return the benchmark that is asked for, with its questions and prompts."""
    benchmark = _BENCHMARKS[type(settings.protocol)](settings.protocol)
    benchmark.questions = benchmark.questions[: settings.limit]
    return benchmark


def _judge_name(judge: JudgeSettings, said: object) -> str:
    return judge.endpoint.model
