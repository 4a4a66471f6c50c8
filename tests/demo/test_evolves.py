"""What the demo's reviser learns from, and what is told of it, worked out by hand."""

import json
from pathlib import Path

from inarch.demo import evolves


def answer(model: str, text: str, score: float | None) -> dict:
    return {"model": model, "text": text, "score": score}


def test_the_best_of_a_source_stands_before_the_targets_own() -> None:
    answers = [
        answer("facts", "a, b", 0.5),
        answer("reckoner", "a, c", 1.0),
        answer("reckoner", "a, d", 1.0),
        answer("translator", "", None),
        answer("target", "x, c", 0.5),
        answer("target", "", None),
        answer("target", "a, c", 1.0),
    ]
    row = {"prompt": [{"role": "user", "content": "q"}], "answers": answers}
    assert evolves._ranked(row) == {
        "prompt": "q",
        "answers": [" a, c", " x, c", " a, c"],
        "scores": [1.0, 0.5, 1.0],
    }
    # Even where the target's own is better than that of any source.
    row["answers"] = [answer("target", "a, b", 1.0), answer("facts", "a, x", 0.5)]
    assert evolves._ranked(row)["answers"] == [" a, x", " a, b"]


def revision(prompt: str, original: str, label: int | None) -> dict:
    return {"prompt": [{"role": "user", "content": prompt}], "original": original, "label": label}


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_rounds_are_told_by_what_is_kept_of_right_and_of_wrong_answers(tmp_path: Path) -> None:
    home = tmp_path / "aligned"
    write(home / "lessons/fresh.jsonl", [{"prompt": f"q{i}", "answer": "a, b"} for i in range(5)])
    told = {"num_prompts": 5, "score_before": 0.5, "score_after": 0.75, "keep_frac": 0.4}
    rounds = {
        1: [
            revision("q0", "a, b", 0),
            revision("q1", "a, b", 1),
            revision("q2", "a, x", 0),
            revision("q3", "x", 1),
            revision("q4", "", None),
        ],
        2: [revision("q0", "x", 1)],
    }
    for number, rows in rounds.items():
        write(home / f"seft/round-{number}/revisions.jsonl", rows)
        (home / f"seft/round-{number}/report.json").write_text(json.dumps(told))
    one, two = evolves.rounds_of(tmp_path)
    # Of two right ones one is kept, of three wrong ones one; what cannot be read is not kept.
    assert one == {
        "num_prompts": 5,
        "before": 0.5,
        "after": 0.75,
        "kept_right": 1 / 2,
        "kept_wrong": 1 / 3,
    }
    assert (two["kept_right"], two["kept_wrong"]) == (None, 0.0)
