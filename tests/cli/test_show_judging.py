"""What `inarch evaluate judge` shows, from made-up numbers."""

from typing import Any

from inarch.cli.show_judging import show_judging


def score(number: float) -> dict[str, Any]:
    return {"score": number, "lower": number - 1, "upper": number + 1, "n_prompts": 7}


def told(summary: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    spent = {"num_replies": 14, "num_prompt_tokens": 1400, "num_answer_tokens": 70, "cost": None}
    row = {"summary": summary, "n_cases": 14, "n_invalid": 2, "n_failed": 0}
    about = {"model": "wise-1", "spent": spent, "order": None, "models": {"own": row}}
    return {"judges": {"wise": about | more}}


def rows(shown: str, title: str) -> list[str]:
    """Return the rows of the table under a title."""
    lines = [line.split() for line in shown.splitlines()]
    at = next(i for i, words in enumerate(lines) if " ".join(words) == title)
    return [" ".join(words) for words in lines[at + 1 : at + 6] if words[:1] == ["own"]][:1]


def test_categories_and_equal_style_have_tables_of_their_own(capsys):
    parts = {"hard_prompt": score(41.5), "creative_writing": score(60.25)}
    style = {"hard_prompt": {"scores": {"own": score(44.0)}, "coefficients": {"length": 0.3}}}
    show_judging(told(score(50.0) | {"by_category": parts}, style_controlled=style))
    shown = capsys.readouterr().out
    assert rows(shown, "wise (wise-1)") == ["own 50.00 49.00 51.00 7 14 2"]
    assert rows(shown, "hard_prompt") == ["own 41.50 40.50 42.50 7"]
    assert rows(shown, "creative_writing") == ["own 60.25 59.25 61.25 7"]
    assert rows(shown, "hard_prompt, style held equal") == ["own 44.00 43.00 45.00 7"]


def test_categories_of_a_single_number_stand_together(capsys):
    show_judging(told({"average": 6.5, "by_category": {"math": 4.25, "stem": 8.75}}))
    shown = capsys.readouterr().out
    assert rows(shown, "by category") == ["own 4.25 8.75"]
    assert "style" not in shown


def test_a_model_without_a_score_has_a_row(capsys):
    show_judging(told(None))
    assert rows(capsys.readouterr().out, "wise (wise-1)") == ["own 14 2"]
