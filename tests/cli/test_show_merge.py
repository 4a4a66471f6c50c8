"""What is printed of merges, searches and adapters."""

import io

import pytest
from rich.console import Console

from inarch.cli import show
from inarch.cli.show_merge import show_coefficients, show_extracted, show_search
from inarch.flows._search.settings import SearchRun
from inarch.flows.search import Found
from inarch.merge._extract import Extracted, ExtractReport
from inarch.settings import validate


@pytest.fixture
def screen(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(show, "output", Console(file=screen, width=100))
    return screen


def words(screen: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in screen.getvalue().splitlines() if line.strip()]


def row(tensor: str, coefficients: object) -> dict[str, object]:
    return {
        "tensor": tensor,
        "method": "sce",
        "models": ["hub/[math]", "hub/code"],
        "parameters": {},
        "coefficients": coefficients,
    }


def test_a_map_per_model(screen):
    show_coefficients(
        [row("model.layers.0.q.weight", [0.25, -0.75]), row("lm_head.weight", [1, 0])]
    )
    assert words(screen) == [
        "[math]: factor on each model",
        "layer q",
        "0 0.250",
        "lm_head 1.000",
        "code: factor on each model",
        "layer q",
        "0 -0.75",
        "lm_head 0.00",
    ]


def test_no_coefficients(screen):
    show_coefficients([row("w", None)])
    assert words(screen) == ["sce: no single number says how much of a model is in a tensor"]


# ---------------------------------------------------------------------------------------- search


def found(held_out: float | None = 3.3) -> Found:
    settings = validate(
        SearchRun,
        {
            "merge": {"merge_method": "$m", "models": [{"model": "a"}], "parameters": {"x": "$g"}},
            "search": {"m": {"choices": ["a", "b"]}, "g": {"low": 0, "high": 1, "points": 2}},
            "score": {"bits_per_byte": "x"},
        },
        "test",
    )

    def trial(number: int, score: float | None, values: object = None) -> dict[str, object]:
        name = f"trial {number}" if number else "plain mean"
        row = {"kind": "trial", "name": name, "trial": number, "values": values, "score": score}
        return row | {"held_out": None if number else 3.5, "wall_s": 1.0}

    rows = [
        {"kind": "input", "name": "/m/[a]", "score": 4.0, "held_out": 4.1, "wall_s": 1.0},
        trial(0, 3.4),
        trial(1, 3.6, {"m": "a", "g": [0.5, 0.25]}),
        trial(2, 3.2, {"m": "b", "g": [0.123456, 1.0]}),
        trial(3, None, {"m": "b", "g": [0.0, 0.0]}),
    ]
    return Found(rows, rows[3] | {"held_out": held_out}, settings)


def test_the_best_trials_beside_the_inputs(screen):
    show_search(found())
    *lines, one, two = (line for line in words(screen) if line[0] != "─")
    assert f"{one} {two}" == (
        "Trial 2 is the best of 3: 3.3000 bits per byte on what was held out, better than the "
        "plain mean (3.5000) and [a] alone (4.1000)."
    )
    assert lines == [
        "bits per byte",
        "score held out m g",
        "[a] 4.0000 4.1000",
        "plain mean 3.4000 3.5000",
        "trial 2 3.2000 3.3000 b 0.123, 1",
        "trial 1 3.6000 a 0.5, 0.25",
        "1 trials have no score; trials.jsonl says why",
    ]


# --------------------------------------------------------------------------------------- extract


def test_what_is_kept_by_kind_of_matrix(screen):
    q = "model.layers.{}.self_attn.q_proj.weight"
    tensors = (
        Extracted(q.format(0), "low_rank", 4, 3.0, 0.5),
        Extracted(q.format(1), "low_rank", 8, 1.0, 0.9),
        Extracted("model.norm.weight", "whole", 0, 1.0, 1.0),
        Extracted("lm_head.weight", "skipped", 0, 5.0, 0.0),
    )
    show_extracted(ExtractReport(tensors, 7))
    # q: (3 * .5 + 1 * .9) / 4 = .6; all: (1.5 + .9 + 1) / 10
    assert [line for line in words(screen) if line[0] != "─"] == [
        "tensors rank of all change kept",
        "self_attn.q_proj 2 4–8 40.0% 60.0%",
        "model.norm 1 whole 10.0% 100.0%",
        "lm_head 1 skipped 50.0% 0.0%",
        "kept of all squared change: 34.0%",
        "unchanged tensors: 7",
    ]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "0.0%"),
        (1.0, "100.0%"),
        (0.99999, "<100%"),
        (0.00001, "0.001%"),
        (0.1234, "12.3%"),
    ],
)
def test_shares_are_neither_none_nor_all_unless_they_are(share, expected):
    assert show.percent(share) == expected
