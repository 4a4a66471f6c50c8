"""What ``evaluate judge`` will take, before it starts: answers, cases, tokens and cost.

Answers are counted at their full length and prompts at 4 bytes per token, so all is at most.
"""

from __future__ import annotations

from collections.abc import Sequence

from inarch.evaluate.judges.benchmark import Benchmark, Dialogues
from inarch.flows._judge.asking import request, with_options
from inarch.flows._judge.candidates import chat
from inarch.flows._judge.settings import CANARY, CandidateSettings, JudgeRun, JudgeSettings
from inarch.io.answers import foresee
from inarch.io.endpoints import Estimate, estimate
from inarch.records import Message

_BYTES_PER_TOKEN = 4
_NO_PRICE = "unknown: set endpoint.prompt_price and answer_price"


def plan(settings: JudgeRun, benchmark: Benchmark) -> dict[str, object]:
    """Return what a run will take at most, by what it is."""
    facts: dict[str, object] = {"benchmark": benchmark.name, "questions": len(benchmark.questions)}
    for candidate in settings.models:
        facts[f"answers of {candidate.name}"] = _answers(candidate, settings, benchmark)
    models = [model.name for model in settings.models] + [CANARY] * settings.canary
    full = _full_length(settings, benchmark)
    # Other letters: equal requests are asked, and counted, once.
    benchmark.meet(dict.fromkeys(models, _full_length(settings, benchmark, "y")))
    for judge in settings.judges:
        own = with_options(benchmark, judge)
        found = []
        for name in models:
            cases = [case for case in own.cases(name, full) if case.ruling is None]
            asked = [
                request(own, (*case.messages, *_followed_up(own, times)))
                for case in cases
                for times in range(own.num_asks)
            ]
            found.append(estimate(judge.endpoint, asked))
        facts[f"judged by {judge.name}"] = _asked(found)
    facts |= {f"warning {n}": text for n, text in enumerate(judges_itself(settings), start=1)}
    return facts


def judges_itself(settings: JudgeRun) -> list[str]:
    """Return who is judge and judged at once, in words."""
    return [
        f"{judge.name} judges itself as {model.name}; judges tend to prefer their own answers"
        for judge in settings.judges
        for model in settings.models
        if _is_same(judge, model)
    ]


def _is_same(judge: JudgeSettings, model: CandidateSettings) -> bool:
    asked = model.endpoint.model if model.endpoint else model.path
    return judge.endpoint.model in (asked, model.name)


def _answers(candidate: CandidateSettings, settings: JudgeRun, benchmark: Benchmark) -> str:
    if candidate.answers is not None:
        return f"those in {candidate.answers}"
    number = sum(len(question.turns) for question in benchmark.questions)
    longest = max(_longest(settings, benchmark).values())
    found = []
    for question in benchmark.questions:
        filler = "x" * _BYTES_PER_TOKEN * _longest(settings, benchmark)[question.id]
        sampling = settings.sampling or benchmark.sampling(question)
        for turn in range(len(question.turns)):
            chats = [chat(question, (filler,) * turn)]
            found.append(foresee(candidate, chats, sampling, 1))
    told = f"{number:,} of at most {longest:,} tokens"
    return told + _cost([one for one in found if one is not None])


def _longest(settings: JudgeRun, benchmark: Benchmark) -> dict[str, int]:
    return {
        question.id: (settings.sampling or benchmark.sampling(question)).max_new_tokens
        for question in benchmark.questions
    }


def _full_length(settings: JudgeRun, benchmark: Benchmark, letter: str = "x") -> Dialogues:
    """Return answers of the full length to all questions."""
    longest = _longest(settings, benchmark)
    return {
        question.id: (letter * _BYTES_PER_TOKEN * longest[question.id],) * len(question.turns)
        for question in benchmark.questions
    }


def _followed_up(benchmark: Benchmark, times: int) -> tuple[Message, ...]:
    """Return what stands behind a case that was asked so often, with replies of full length."""
    filler = "x" * _BYTES_PER_TOKEN * benchmark.options.max_tokens
    return (Message("assistant", filler), Message("user", "")) * times


def _asked(found: Sequence[Estimate]) -> str:
    calls = sum(one.num_requests for one in found)
    prompts = sum(one.num_prompt_tokens for one in found)
    replies = sum(one.num_answer_tokens or 0 for one in found)
    tokens = f"{prompts:,} tokens of prompts and {replies:,} of replies"
    return f"at most {calls:,} calls, {tokens}{_cost(found)}"


def _cost(found: Sequence[Estimate]) -> str:
    if not found:
        return ""
    costs = [one.cost for one in found]
    total = sum(cost for cost in costs if cost is not None)
    return f"; cost: {_NO_PRICE}" if None in costs else f"; cost: at most {total:.2f}"
