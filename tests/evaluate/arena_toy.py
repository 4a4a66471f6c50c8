"""Arena-Hard made up: a few questions with prompts and baselines in the official shapes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.evaluate.arena.judge import ArenaBenchmark
from inarch.evaluate.judges.benchmark import JudgedModel, Ruling
from inarch.flows.judge import JudgeRun
from inarch.io.endpoints import Reply
from inarch.records import Message
from inarch.settings import validate

V01, V2 = "arena_hard_v0.1", "arena_hard_v2"
PLACES = {
    V01: "<U>{question_1}<A>{answer_1}<B>{answer_2}<E>",
    V2: "<U>{QUESTION}<A>{ANSWER_A}<B>{ANSWER_B}<E>",
}
SYSTEM = {
    V01: "Judge them.",
    V2: {"hard_prompt": "Judge them.", "creative_writing": "Judge the art."},
}
BASELINES = {"": "gpt-4-0314", "hard_prompt": "o3-mini", "creative_writing": "gemini"}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def question_row(name: str, key: str, text: str, category: str = "hard_prompt") -> dict[str, Any]:
    if name == V01:
        return {"question_id": key, "category": "arena-hard-v0.1", "turns": [{"content": text}]}
    return {"uid": key, "category": category, "prompt": text}


def answer_row(name: str, key: str, model: str, text: str) -> dict[str, Any]:
    if name == V01:
        turns = [{"content": text, "token_len": 1}]
        return {"question_id": key, "model_id": model, "choices": [{"index": 0, "turns": turns}]}
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": {"answer": text}},
    ]
    return {"uid": key, "model": model, "messages": messages}


def protocol(
    folder: Path,
    name: str,
    questions: Sequence[tuple[str, str]],
    answers: Mapping[str, str],
    **more: object,
) -> dict[str, Any]:
    """Return the settings of made-up files.

    Args:
        folder: Where the files go.
        name: Of the benchmark.
        questions: Ids with categories, the text is ``ask`` and the id.
        answers: Of the baselines, by question.
        more: Other settings.
    """
    folder.mkdir(exist_ok=True)
    rows = [question_row(name, key, f"ask {key}", category) for key, category in questions]
    given: dict[str, Any] = {"name": name}
    given["questions"] = str(write_rows(folder / "questions.jsonl", rows))
    prompts = {"system_prompt": SYSTEM[name], "prompt_template": PLACES[name]}
    (folder / "prompts.yaml").write_text(json.dumps(prompts))
    given["prompts"] = str(folder / "prompts.yaml")
    files = {}
    for category in dict.fromkeys(category if name == V2 else "" for _, category in questions):
        model = BASELINES[category]
        own = [
            answer_row(name, key, model, answers[key])
            for key, of in questions
            if key in answers and (name == V01 or of == category)
        ]
        files[category] = str(write_rows(folder / f"{model}.jsonl", own))
    given |= {"baseline": files[""]} if name == V01 else {"baselines": files}
    return given | more


def opened(given: Mapping[str, Any]) -> ArenaBenchmark:
    run = {
        "protocol": dict(given),
        "models": ({"name": "m", "endpoint": {"url": "http://x/v1", "model": "m"}},),
        "judges": ({"name": "j", "endpoint": {"url": "http://x/v1", "model": "j"}},),
    }
    settings = validate(JudgeRun, run, "a test").protocol
    return ArenaBenchmark(settings)  # type: ignore[arg-type]


def reply(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text, finish_reason, "judge-1")


def shown(messages: Sequence[Message | Mapping[str, str]]) -> tuple[str, str, str]:
    """Return the question and the answers of A and B that a judge is shown at first."""
    texts = [m["content"] if isinstance(m, Mapping) else m.content for m in messages]
    text = next(text for text in texts if text.startswith("<U>"))
    question, _, rest = text.removeprefix("<U>").removesuffix("<E>").partition("<A>")
    a, _, b = rest.partition("<B>")
    return question, a, b


def play(
    benchmark: ArenaBenchmark,
    answers: Mapping[str, str],
    say: Callable[[Sequence[Message]], str],
    model: str = "m",
) -> JudgedModel:
    """Return what a judge, who says something to messages, rules on a model."""
    dialogues = {key: (text,) for key, text in answers.items()}
    cases = benchmark.cases(model, dialogues)
    rulings: list[Ruling] = []
    said: list[tuple[Reply, ...]] = []
    for case in cases:
        replies = [reply(say(case.messages))]
        while (more := benchmark.follow_up(case, replies)) is not None:
            replies.append(reply(say(more)))
        rulings.append(benchmark.read(case, replies))
        said.append(tuple(replies))
    return JudgedModel(model, "judge-1", dialogues, tuple(cases), tuple(rulings), tuple(said))


def labels_of(winners: list[str]) -> tuple[str, str]:
    """Return labels of both games that give these rows: game 1 first, a strong one three times."""
    strong = {1: (1, 0), 2: (1, 1), 3: (3, 0), 4: (1, 3), 6: (3, 3)}[len(winners)]
    if len(winners) == 4 and len(set(winners[:3])) == 1:
        strong = (3, 1)
    parts = winners[: strong[0]], winners[strong[0] :]
    assert all(len(set(part)) <= 1 for part in parts)
    found = []
    for part, model in zip(parts, "BA", strict=True):
        if not part:
            found.append("no idea")
            continue
        best = {"tie": "=", "model_b": model, "model_a": "AB"[model == "A"]}[part[0]]
        other = "AB"[best == "A"]
        sign = ">>" if len(part) == 3 else ">"
        found.append("[[A=B]]" if best == "=" else f"[[{best}{sign}{other}]]")
    return found[0], found[1]


def golden(path: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the labels of published battles, by model and question."""
    rows = defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        row = json.loads(line)
        rows[row["model_b"]][row["question_id"]].append(row["winner"])
    return {m: {q: labels_of(won) for q, won in own.items()} for m, own in rows.items()}
