"""Cases to rulings: what is asked, follow-ups included, each question once."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from inarch.errors import SettingsError
from inarch.evaluate.judges.benchmark import Benchmark, Case, Ruling
from inarch.flows._judge.settings import JudgeSettings
from inarch.io.endpoints import EndpointSettings, Failure, Reply, Request, ask, probe_logprobs
from inarch.io.progress import track
from inarch.records import Message

logger = logging.getLogger(__name__)

REPLIES = "replies/all.jsonl"
"""What a judge has said so far; not beside the judgments, whose folder is read whole."""

Said = tuple[Ruling, tuple[Reply, ...]]
"""A ruling with the replies that it is read from."""


def fitted(benchmark: Benchmark, judge: JudgeSettings, folder: Path) -> Benchmark:
    """Return the benchmark as this judge can be asked: one without log-probs writes its verdict.

    Raises:
        SettingsError: The judge gives no log-probs, and the settings want them.
    """
    wanted = benchmark.options.top_logprobs
    if wanted is None:
        return with_options(benchmark, judge)
    given = probe_logprobs(judge.endpoint, folder / REPLIES, wanted)
    if not given:
        try:
            return with_options(benchmark.discrete(), judge)
        except SettingsError as error:
            raise SettingsError(f"{judge.name}: {error}") from None
    if given < wanted:
        logger.warning(
            "%s gives %d of the %d most probable tokens: more answers than officially count as"
            " sure wins and losses, or have no verdict",
            *(judge.name, given, wanted),
        )
    return with_options(benchmark, judge)


def with_options(benchmark: Benchmark, judge: JudgeSettings) -> Benchmark:
    """Return the benchmark with a judge's own temperature and length of replies."""
    options = benchmark.options
    if judge.temperature is not None:
        options = options._replace(temperature=judge.temperature)
    if judge.max_tokens is not None:
        options = options._replace(max_tokens=judge.max_tokens)
    changed = copy.copy(benchmark)
    changed.options = options
    return changed


def rule(
    benchmark: Benchmark, judge: JudgeSettings, cases: Mapping[str, Sequence[Case]], folder: Path
) -> dict[str, list[Said]]:
    """Return a ruling on each case of each model, with the replies that it is read from.

    Args:
        benchmark: What is asked.
        judge: Who rules.
        cases: By model; those with a ruling of their own are not asked.
        folder: Where replies are kept.
    """
    flat = [case for of_model in cases.values() for case in of_model]
    said = iter(_rule(benchmark, judge.name, judge.endpoint, flat, folder / REPLIES))
    return {model: [next(said) for _ in of_model] for model, of_model in cases.items()}


def _rule(
    benchmark: Benchmark,
    name: str,
    endpoint: EndpointSettings,
    cases: Sequence[Case],
    cache: Path,
) -> list[Said]:
    found = {at: (case.ruling, ()) for at, case in enumerate(cases) if case.ruling is not None}
    rulings: dict[int, Said] = dict(found)
    said: list[tuple[Reply, ...]] = [()] * len(cases)
    todo = {at: case.messages for at, case in enumerate(cases) if at not in rulings}
    with track(f"{name} judges", len(cases), "cases", len(rulings)) as advance:
        while todo:
            numbers, requests = list(todo), [request(benchmark, m) for m in todo.values()]
            todo = {}
            with closing(ask(endpoint, requests, cache)) as outcomes:
                for number, outcome in outcomes:
                    at = numbers[number]
                    if isinstance(outcome, Reply):
                        said[at] += (outcome,)
                        more = benchmark.follow_up(cases[at], said[at])
                        if more is not None:
                            todo[at] = more
                            continue
                    rulings[at] = _ruling(benchmark, cases[at], said[at], outcome), said[at]
                    advance(1)
    return [rulings[at] for at in range(len(cases))]


def _ruling(
    benchmark: Benchmark, case: Case, said: tuple[Reply, ...], outcome: Reply | Failure
) -> Ruling:
    if isinstance(outcome, Failure):
        return Ruling(math.nan, failure=outcome.reason)
    return benchmark.read(case, said)


def request(benchmark: Benchmark, messages: Sequence[Message]) -> Request:
    """Return what is sent to a judge."""
    options = benchmark.options
    return Request(
        tuple(messages),
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        top_logprobs=options.top_logprobs,
    )
