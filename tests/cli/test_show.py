"""What the command line prints, read back cell by cell."""

import io

import pytest
from rich.console import Console

from inarch.cli import show
from inarch.demo import Results, Row
from inarch.match.report import ViewToken


@pytest.fixture
def screen(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(show, "output", Console(file=screen, width=100))
    return screen


def test_brackets_in_a_plan_are_no_markup(screen):
    show.show_plan({"models": ["a [v2]", "b [/v2]"], "tensors": 12345})
    assert "a [v2], b [/v2]" in screen.getvalue()
    assert "12,345" in screen.getvalue()


def test_the_demos_numbers_have_mean_and_spread(screen):
    shares = {"fact": (0.5, 0.6, 0.7), "all": (0.25, 0.25, 0.25)}
    bits = {"fact": (1.0, 1.5, 2.0), "all": (0.5, 0.5, 0.5)}
    row = Row("a", "FuseLLM [λ 0.9]", shares, shares, bits, {})
    show.show_results(Results((1, 2, 3), (row,), ("It [did] not help.",), {}))
    printed = screen.getvalue()
    rows = [" ".join(line.split()) for line in printed.splitlines() if "FuseLLM" in line]
    assert rows == [
        "FuseLLM [λ 0.9] 60.0 ± 10.0 25.0 ± 0.0",  # sd of .5 .6 .7 with n - 1: sqrt(.02 / 2) = .1
        "FuseLLM [λ 0.9] 1.500 ± 0.500 0.500 ± 0.000",
    ]
    assert "± standard deviation over seeds (1, 2, 3)" in printed
    assert "• It [did] not help." in printed


def test_removed_blocks_have_a_table_of_their_own(screen):
    shares = {"all": (0.5, 0.7)}
    curves = {"a": {0: (0.5, 0.7), 1: (0.4, 0.4), 2: (0.2, 0.3)}, "b": {0: (0.5, 0.7), 2: (0, 0)}}
    told = {"label": "FuseLLM", "methods": {"a": "A [x]", "b": "B"}, "curves": curves}
    results = Results((1, 2), (Row("m", "m", shares, shares, shares, {}),), (), {"pruned": told})
    show.show_results(results)
    rows = [" ".join(line.split()) for line in screen.getvalue().splitlines()]
    # .5 .7: deviations of 10 points, root of 200; .2 .3: of 5, root of 50.
    assert "A [x] 60.0 ± 14.1 40.0 ± 0.0 25.0 ± 7.1" in rows
    assert "B 60.0 ± 14.1 – 0.0 ± 0.0" in rows
    assert any(row.startswith("all blocks −1 −2") for row in rows)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_aligned_models_have_a_table_of_their_own(screen, num_seeds):
    shares = {"all": (0.5, 0.7)[:num_seeds]}
    told = {
        "labels": {"target": "before [x]", "wrpo": "WRPO"},
        "num_steps": {"wrpo": 30},
        "piece_frac": {"target": (0.5, 0.7)[:num_seeds], "wrpo": (0.2, 0.3)[:num_seeds]},
        "reward": {"target": (0.4, 0.4)[:num_seeds], "wrpo": (0.1, 0.3)[:num_seeds]},
    }
    row = Row("m", "m", shares, shares, shares, {})
    show.show_results(Results((1, 2)[:num_seeds], (row,), (), {"aligned": told}))
    rows = [" ".join(line.split()) for line in screen.getvalue().splitlines()]
    expected = {
        1: ["before [x] – 50.0 40.0", "WRPO 30 20.0 10.0"],
        # .5 .7 and .1 .3: deviations of 10 points, root of 200; .2 .3: of 5, root of 50.
        2: ["before [x] – 60.0 ± 14.1 40.0 ± 0.0", "WRPO 30 25.0 ± 7.1 20.0 ± 14.1"],
    }
    assert [r for r in rows if r.startswith(("before", "WRPO"))] == expected[num_seeds]
    assert any(row == "steps most probable sampled" for row in rows)


def test_one_seed_has_no_spread(screen):
    numbers = {"fact": (0.5,), "all": (0.25,)}
    show.show_results(Results((7,), (Row("a", "plain", *3 * [numbers], {}),), (), {}))
    printed = screen.getvalue()
    assert "50.0" in printed
    assert "±" not in printed
    assert "one seed: no spread (7)" in printed


def test_a_sentence_is_coloured_by_who_speaks(tmp_path):
    (tmp_path / "gpt").mkdir()
    tokens = [
        ViewToken(" a", "used", " a"),
        ViewToken("z\n", "prefix", "zt"),
        ViewToken("\t!", "none", ""),
    ]
    line = show._sentence(str(tmp_path / "gpt"), tokens)
    assert line.plain == "gpt: ·a z⏎[zt] ⇥![] "
    styles = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert styles["·a"] == "black on green"
    assert styles["z⏎"] == "black on yellow"
    assert styles["⇥!"] == "white on red"


def test_a_hub_id_is_shown_whole():
    assert show._label("openlm-research/open_llama_7b") == "openlm-research/open_llama_7b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1_234_567, "1,234,567"),
        (0.12345, "0.123"),
        (12345.6, "12,346"),
        (True, "True"),
        ((1, 2), "1, 2"),
        (None, "None"),
    ],
)
def test_values_are_short(value, shown):
    assert show._show(value) == shown
