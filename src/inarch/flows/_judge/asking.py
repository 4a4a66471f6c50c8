"""Cases to rulings: what is asked, follow-ups included, each question once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from inarch.evaluate.judging import Benchmark, Case, Ruling
from inarch.io.endpoints import EndpointSettings, Failure, Reply, Request, ask
from inarch.io.progress import track
from inarch.records import Message

Said = tuple[Ruling, tuple[Reply, ...]]


def rule(
    benchmark: Benchmark, endpoint: EndpointSettings, cases: Sequence[Case], cache: Path, name: str
) -> list[Said]:
    """Return a ruling on each case with the replies that it is read from.

    Args:
        benchmark: What is asked.
        endpoint: Who rules.
        cases: Those with a ruling of their own are not asked.
        cache: Where replies are kept.
        name: Of the work, for the progress bar.
    """
    found: list[Said | None] = [(case.ruling, ()) if case.ruling else None for case in cases]
    said: list[tuple[Reply, ...]] = [()] * len(cases)
    open_ = {at: cases[at].messages for at, known in enumerate(found) if known is None}
    with track(name, len(cases), "cases", len(cases) - len(open_)) as advance:
        while open_:
            numbers = list(open_)
            requests = [request(benchmark, open_[at]) for at in numbers]
            open_ = {}
            with closing(ask(endpoint, requests, cache)) as outcomes:
                for number, outcome in outcomes:
                    at = numbers[number]
                    if isinstance(outcome, Failure):
                        found[at] = Ruling(math.nan, failure=outcome.reason), said[at]
                    else:
                        said[at] = (*said[at], outcome)
                        more = benchmark.follow_up(cases[at], said[at])
                        if more is not None:
                            open_[at] = more
                            continue
                        found[at] = benchmark.read(cases[at], said[at]), said[at]
                    advance(1)
    return [known for known in found if known is not None]


def request(benchmark: Benchmark, messages: Sequence[Message]) -> Request:
    """Return what is sent to a judge."""
    options = benchmark.options
    return Request(
        tuple(messages),
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        top_logprobs=options.top_logprobs,
    )
