"""A made-up MT-Bench of the official shape: other prompts, questions and references."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inarch.evaluate.mt_bench.ratings import category_of

WITH_REFERENCES = ("math", "reasoning", "coding")

SINGLE = {
    "single-v1": ("Be kind.", "Q {question} A {answer} {{x}}"),
    "single-math-v1": ("Be kind.", "Q {question} R {ref_answer_1} A {answer}"),
    "single-v1-multi-turn": (
        "Be strict.\n\n",
        "1 {question_1} {answer_1} 2 {question_2} {answer_2}",
    ),
    "single-math-v1-multi-turn": (
        "",
        "1 {question_1} R {ref_answer_1} 2 {question_2} R {ref_answer_2} | {question_1} {answer_1} "
        "{question_2} {answer_2}",
    ),
}
PAIR = {
    "pair-v2": ("Compare.", "Q {question} A {answer_a} B {answer_b}"),
    "pair-math-v1": ("Compare.", "Q {question} R {ref_answer_1} A {answer_a} B {answer_b}"),
    "pair-v2-multi-turn": (
        "Compare.",
        "A {question_1} {answer_a_1} {question_2} {answer_a_2} "
        "B {question_1} {answer_b_1} {question_2} {answer_b_2}",
    ),
    "pair-math-v1-multi-turn": (
        "Compare.",
        "R {question_1} {ref_answer_1} {question_2} {ref_answer_2} "
        "A {question_1} {answer_a_1} {question_2} {answer_a_2} "
        "B {question_1} {answer_b_1} {question_2} {answer_b_2}",
    ),
}


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts(path: Path, **change: str) -> Path:
    """Write all prompts, some templates changed: ``single_v1="{answer}"``."""
    changed = {name.replace("_", "-"): template for name, template in change.items()}
    return lines(
        path,
        (
            {
                "name": name,
                "system_prompt": system,
                "prompt_template": changed.get(name, template),
                "output_format": "[[rating]]" if name in SINGLE else "[[A]]",
            }
            for name, (system, template) in (SINGLE | PAIR).items()
        ),
    )


def question(number: int, category: str | None = None, turns: int = 2) -> dict[str, Any]:
    """Return a question of the official shape."""
    texts = [f"q{number} t{turn}" for turn in range(1, turns + 1)]
    return {"question_id": number, "category": category or category_of(number), "turns": texts}


def answer(number: int, model: str, turns: Sequence[str]) -> dict[str, Any]:
    """Return a row of ``model_answer`` or ``reference_answer``."""
    choices = [{"index": 0, "turns": list(turns)}]
    return {"question_id": number, "model_id": model, "choices": choices}


def benchmark(
    folder: Path, numbers: Iterable[int] = range(81, 161), **change: str
) -> dict[str, Any]:
    """Write a whole benchmark; return the settings that name its files."""
    rows = [question(number) for number in numbers]
    references = [
        answer(row["question_id"], "right", [f"r{row['question_id']} t{t}" for t in (1, 2)])
        for row in rows
        if row["category"] in WITH_REFERENCES
    ]
    return {
        "name": "mt_bench",
        "questions": str(lines(folder / "own.jsonl", rows)),
        "prompts": str(prompts(folder / "asked.jsonl", **change)),
        "references": str(lines(folder / "right.jsonl", references)),
    }
