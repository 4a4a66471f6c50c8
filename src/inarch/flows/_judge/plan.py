"""What ``evaluate judge`` will take, before it starts: answers, cases, tokens and cost.

Answers that are not there yet are counted at their full length and prompts at 4 bytes per token,
so all is at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inarch.errors import SettingsError
from inarch.evaluate.judges.benchmark import Benchmark, Dialogues
from inarch.evaluate.protocol import CANARY
from inarch.flows._judge.asking import request, with_options
from inarch.flows._judge.candidates import chat, read_answers
from inarch.flows._judge.settings import CandidateSettings, JudgeRun, JudgeSettings
from inarch.io.answers import foresee
from inarch.io.endpoints import Estimate, estimate, logprobs_probe
from inarch.records import Message

_BYTES_PER_TOKEN = 4
_TOGETHER = 200
"""Questions whose prompts are in memory at once."""
_NO_PRICE = "unknown: set endpoint.prompt_price and answer_price"


def plan(settings: JudgeRun, benchmark: Benchmark) -> dict[str, object]:
    """Return what a run will take at most, by what it is.

    Raises:
        DataError: A file of answers is something else.
    """
    facts: dict[str, object] = {"benchmark": benchmark.name, "questions": len(benchmark.questions)}
    longest = {
        question.id: (settings.sampling or benchmark.sampling(question)).max_new_tokens
        for question in benchmark.questions
    }
    for candidate in settings.models:
        facts[f"answers of {candidate.name}"] = _answers(candidate, settings, benchmark, longest)
    full = _full_length(benchmark, longest)
    models = {
        candidate.name: read_answers(candidate.answers, benchmark).dialogues
        if candidate.answers
        else full
        for candidate in settings.models
    } | ({CANARY: full} if settings.canary else {})
    # Other letters: equal requests are asked, and counted, once.
    others = _full_length(benchmark, longest, "y")
    benchmark.meet({name: others if own is full else own for name, own in models.items()})
    for judge in settings.judges:
        facts[f"judged by {judge.name}"] = _judged(benchmark, judge, models)
    facts |= {f"warning {n}": text for n, text in enumerate(judges_itself(settings), start=1)}
    return facts


def _judged(benchmark: Benchmark, judge: JudgeSettings, models: Mapping[str, Dialogues]) -> str:
    wanted = benchmark.options.top_logprobs
    own = with_options(_at_most(benchmark), judge)
    found = [] if wanted is None else [estimate(judge.endpoint, [logprobs_probe(wanted)])]
    for name, dialogues in models.items():
        answered = list(dialogues.items())
        for first in range(0, len(answered), _TOGETHER):
            some = dict(answered[first : first + _TOGETHER])
            asked = [
                request(own, (*case.messages, *_followed_up(own, times)))
                for case in own.cases(name, some)
                if case.ruling is None
                for times in range(own.num_asks)
            ]
            found.append(estimate(judge.endpoint, asked))
    return _asked(found)


def _at_most(benchmark: Benchmark) -> Benchmark:
    """Return what a judge without log-probs is asked, where it would not stop the run."""
    if benchmark.options.top_logprobs is None:
        return benchmark
    try:
        return benchmark.discrete()
    except SettingsError:
        return benchmark


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


def _answers(
    candidate: CandidateSettings,
    settings: JudgeRun,
    benchmark: Benchmark,
    longest: Mapping[str, int],
) -> str:
    if candidate.answers is not None:
        return f"those in {candidate.answers}"
    number = sum(len(question.turns) for question in benchmark.questions)
    full = _full_length(benchmark, longest)
    found = []
    for question in benchmark.questions:
        sampling = settings.sampling or benchmark.sampling(question)
        for turn in range(len(question.turns)):
            chats = [chat(question, full[question.id][:turn])]
            found.append(foresee(candidate, chats, sampling, 1))
    told = f"{number:,} of at most {max(longest.values()):,} tokens"
    return told + _cost([one for one in found if one is not None])


def _full_length(benchmark: Benchmark, longest: Mapping[str, int], letter: str = "x") -> Dialogues:
    """Return answers of the full length to all questions."""
    filler = {number: letter * _BYTES_PER_TOKEN * number for number in set(longest.values())}
    return {
        question.id: (filler[longest[question.id]],) * len(question.turns)
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
