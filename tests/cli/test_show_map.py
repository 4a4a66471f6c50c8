"""Maps of layers on the screen, read back row by row."""

import io

import pytest
from rich.console import Console

from inarch.cli import show
from inarch.cli.show_map import _cell, print_map
from inarch.report.layers import LayerMap


@pytest.fixture
def screen(monkeypatch):
    """A function that prints a map on a screen of some width, and returns its words by line."""

    def printed(*arguments: object, width: int = 100) -> list[list[str]]:
        file = io.StringIO()
        monkeypatch.setattr(show, "output", Console(file=file, width=width))
        print_map(*arguments)
        assert max(map(len, file.getvalue().splitlines())) <= width
        return [line.split() for line in file.getvalue().splitlines() if line.strip()]

    return printed


def test_layers_down_and_matrices_across(screen):
    rows = (("embed", 0.5), ("0", (0.25, None)), ("1–3", (0.125, 1.0)))
    assert screen("math: factor", LayerMap(("q_proj", "input_layernorm"), rows), 1.0) == [
        ["math:", "factor"],
        ["input"],
        ["layer", "q", "norm"],
        ["embed", "0.500"],
        ["0", "0.250", "–"],
        ["1–3", "0.125", "1.000"],
    ]


@pytest.mark.parametrize(
    ("value", "largest", "expected"),
    [
        (-0.25, 1.0, "-0.25"),  # five characters
        (12.5, 20.0, "12.50"),
        (-12.5, 20.0, "-12.5"),
        (1234.56, 2000.0, "1235"),
        (123456.7, 2e5, "123457"),
    ],
)
def test_numbers_have_as_many_digits_as_fit(screen, value, largest, expected):
    assert screen("x", LayerMap(("q",), (("0", (value,)),)), largest)[-1] == ["0", expected]


def test_small_numbers_are_in_units_of_a_power_of_ten(screen):
    lines = screen("change", LayerMap(("q", "k"), (("0", (0.00025, 0.0005)),)), 0.0005)
    assert lines[0] == ["change,", "in", "units", "of", "0.0001"]
    assert lines[-1] == ["0", "2.500", "5.000"]


def test_a_narrow_screen_gets_several_tables(screen):
    columns = tuple(f"m{i}" for i in range(9))
    rows = (("embed", 1.0), ("0", tuple(i / 10 for i in range(9))))
    lines = screen("x", LayerMap(columns, rows), 1.0, width=60)
    heads = [line for line in lines if line[0] == "layer"]
    assert [name for head in heads for name in head[1:]] == list(columns)
    assert len(heads) == 2
    layers = [line[1:] for line in lines if line[0] == "0"]
    assert [float(x) for part in layers for x in part] == [i / 10 for i in range(9)]
    assert sum(line[0] == "embed" for line in lines) == 1


def test_seven_matrices_and_two_norms_fit_a_hundred_columns(screen):
    columns = tuple(f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down"))
    columns += ("input_layernorm", "post_attention_layernorm")
    lines = screen("x", LayerMap(columns, (("0", (0.5,) * 9),)), 1.0)
    assert lines[-1] == ["0", *["0.500"] * 9]
    assert sum(line[0] == "layer" for line in lines) == 1


def test_zeros_alone(screen):
    assert screen("x", LayerMap(("q",), (("0", (0.0,)),)), 0.0)[-1] == ["0", "0.000"]


@pytest.mark.parametrize(
    ("value", "style"),
    [
        (0.0, "rgb(0,0,0) on rgb(255,255,255)"),
        (1.0, "rgb(255,255,255) on rgb(10,95,165)"),
        (-1.0, "rgb(255,255,255) on rgb(179,71,0)"),
        (0.5, "rgb(0,0,0) on rgb(132,175,210)"),  # 255 - 122.5, 255 - 80, 255 - 45
    ],
)
def test_colours(value, style):
    assert _cell(value, 1.0, 1.0, (5, 2)).style == style


def test_what_is_not_known_is_dim():
    assert _cell(None, 1.0, 1.0, (5, 2)).plain == "–"
