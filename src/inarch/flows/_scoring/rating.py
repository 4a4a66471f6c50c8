"""A language model that rates answers, from 1 to 10.

Source:   the form ``[[rating]]`` and the last mark's being the rating are those of MT-Bench's
          single-answer judge, arXiv:2306.05685; the instruction is our own.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from inarch.flows._scoring.question import NoScore, Question, Result, Scorer, Scores
from inarch.flows._scoring.settings import JudgeSettings
from inarch.io.endpoints import Failure, Reply, Request, ask
from inarch.records import Message

_RATING = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")
LOWEST, HIGHEST = 1.0, 10.0


def judge(settings: JudgeSettings, folder: Path) -> Scorer:
    """Return a scorer that asks a judge about each answer; its replies are kept in the folder."""

    def score(questions: Sequence[Question]) -> Scores:
        places = [(number, i) for number, q in enumerate(questions) for i in range(len(q.answers))]
        requests = [request_of(questions[n], questions[n].answers[i], settings) for n, i in places]
        found: dict[int, dict[int, Result]] = {}
        with closing(ask(settings.endpoint, requests, folder / "replies.jsonl")) as outcomes:
            for at, outcome in outcomes:
                number, i = places[at]
                results = found.setdefault(number, {})
                results[i] = rating(outcome)
                if len(results) == len(questions[number].answers):
                    whole = found.pop(number)
                    yield number, [whole[k] for k in sorted(whole)]

    return score


def request_of(question: Question, answer: str, settings: JudgeSettings) -> Request:
    """Return what the judge is asked about one answer."""
    turns = "\n\n".join(f"[{m.role}]\n{m.content}" for m in question.prompt)
    parts = [settings.instruction, f"<conversation>\n{turns}\n</conversation>"]
    if question.reference is not None:
        parts.append(f"<reference>\n{question.reference}\n</reference>")
    parts.append(f"<response>\n{answer}\n</response>")
    return Request(
        (Message("user", "\n\n".join(parts)),),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )


def rating(outcome: Reply | Failure) -> Result:
    """Return the last rating of a judge's reply, or why there is none."""
    if isinstance(outcome, Failure):
        return NoScore(f"the judge did not answer: {outcome.reason}")
    found = _RATING.findall(outcome.text)
    if not found:
        return NoScore(
            f"the judge gave no rating of the form [[5]] but {outcome.text[:60]!r}; as its reply"
            " is kept, it is not asked again"
        )
    number = float(found[-1])
    if not LOWEST <= number <= HIGHEST:
        return NoScore(f"the judge rated {number:g}, expected {LOWEST:g} to {HIGHEST:g}")
    return number
