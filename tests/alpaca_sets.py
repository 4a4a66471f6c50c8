"""Made-up sets of AlpacaEval's shape, one of them with the published lengths and log-probs."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import NamedTuple

from inarch.evaluate.alpaca import _index as _alpaca_index
from inarch.evaluate.alpaca.preferences import BASELINE, is_swapped

PROMPT = """<|im_start|>system
Choose.
<|im_end|>
<|im_start|>user
# Task
{instruction}
# m
{output_1}
# M
{output_2}
# Name
<|im_end|>
"""


def write_prompt(folder: Path, text: str = PROMPT) -> str:
    """Return the path of a judge's prompt."""
    path = folder / "prompt.txt"
    path.write_text(text)
    return str(path)


def write_rows(path: Path, rows: list[dict[str, object]]) -> str:
    """Return the path of a JSON file."""
    path.write_text(json.dumps(rows))
    return str(path)


def instructions(number: int) -> list[str]:
    """Return instructions, every second of which shows the model's answer first."""
    return [_drawn(f"Say {i}.", bool(i % 2)) for i in range(number)]


def questions(number: int, answer: str = "base") -> list[dict[str, object]]:
    """Return questions with the baseline's answers."""
    return [
        {"instruction": text, "output": answer, "generator": "b", "dataset": "made up"}
        for text in instructions(number)
    ]


def shown(text: str) -> tuple[str, str, str]:
    """Return instruction, first and second answer of a filled `PROMPT`."""
    instruction, rest = text.removeprefix("# Task\n").split("\n# m\n", 1)
    first, rest = rest.split("\n# M\n", 1)
    return instruction, first, rest.removesuffix("\n# Name")


class Golden(NamedTuple):
    """A published model's judgments with made-up texts."""

    questions: list[dict[str, object]]
    answers: dict[str, str]
    """By instruction, of the published lengths."""
    logprobs: dict[str, dict[str, float]]
    """Of m and M by instruction, as published, or such that the published preference follows."""


def golden(eval_data: Path, model: str, monkeypatch: object) -> Golden:
    """Return a published model's judgments; its instructions count as AlpacaEval's own."""
    with (eval_data / f"alpaca_eval2/annotations/{model}.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = Golden([], {}, {})
    index = {}
    for row in rows:
        instruction = _drawn(f"Instruction {row['idx805']}", row["is_switched"] == "1")
        index[_alpaca_index._hash(instruction)[: _alpaca_index._DIGITS]] = int(row["idx805"])
        baseline = "b" * int(row["len_1"])
        found.questions.append(
            {"instruction": instruction, "output": baseline, "generator": BASELINE, "dataset": ""}
        )
        own = "a" * int(row["len_2"])
        found.answers[instruction] = baseline if row["same_output"] == "1" else own
        found.logprobs[instruction] = _logprobs(row)
    monkeypatch.setattr(_alpaca_index, "_INDEX", index)  # type: ignore[attr-defined]
    return found


def _logprobs(row: dict[str, str]) -> dict[str, float]:
    if row["lp_m"] or row["lp_M"]:
        return {name: float(row[f"lp_{name}"]) for name in ("m", "M") if row[f"lp_{name}"]}
    win = float(row["preference"]) - 1
    first = win if row["is_switched"] == "1" else 1 - win
    return {name: math.log(p) for name, p in (("m", first), ("M", 1 - first)) if p > 0}


def _drawn(text: str, swapped: bool) -> str:
    """Return a text with so many dots at its end that it is drawn like this."""
    while is_swapped(text) != swapped:
        text += "."
    return text
