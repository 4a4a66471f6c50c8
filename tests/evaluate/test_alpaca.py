"""AlpacaEval's win rates by hand, and the published ones."""

import csv
import json
import math

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.evaluate.alpaca.files import read_judged
from inarch.evaluate.alpaca.preferences import Judged, is_swapped, preference, win_chances, win_rate


def judged(*preferences: float) -> Judged:
    num = len(preferences)
    return Judged(
        preference_N=np.array(preferences, float),
        baseline_chars_N=np.arange(num) + 10.0,
        model_chars_N=np.arange(num) * 2.0 + 5,
        index_N=np.arange(num),
        prompts=tuple(map(str, range(num))),
        datasets=("",) * num,
        where=tuple(f"file row {i}" for i in range(num)),
        model="m",
        baseline="b",
        annotator="judge",
        is_baseline=False,
    )


def test_by_hand():
    # chances 1, 0.9, 0.5, 0.5, 0 of five: mean 0.58; squares from it 0.1764 + 0.1024 + 0.0064 * 2
    # + 0.3364 = 0.628, sd sqrt(0.628 / 4), error that / sqrt(5). Rounded 1, 1, 0.5, 0.5, 0: 60 %.
    found = win_rate(judged(2, 1.9, 1.5, 0, 1, math.nan))
    assert found.win_rate == pytest.approx(58)
    assert found.standard_error == pytest.approx(100 * math.sqrt(0.628 / 4 / 5))
    assert found.discrete_win_rate == pytest.approx(60)
    assert found[3:] == (5, 2, 1, 2, 1)


def test_a_narrow_win_is_a_whole_one_when_discrete():
    # 1.5001 and 1.4999 are no draws
    assert win_rate(judged(1.5001, 1.4999, 1.5)).discrete_win_rate == pytest.approx(50)
    assert win_rate(judged(1.5001, 1.5001, 1.4999)).discrete_win_rate == pytest.approx(200 / 3)


def test_a_single_judgment_has_no_error():
    assert math.isnan(win_rate(judged(2)).standard_error)


@pytest.mark.parametrize("wrong", [0.5, -1, 3, 0.999, 2.001])
def test_what_is_no_preference_is_named(wrong):
    with pytest.raises(DataError, match=r"^file row 1: preference: found"):
        win_chances(judged(1.2, wrong, math.nan))


def test_no_preference_at_all():
    with pytest.raises(DataError, match="no row with a preference"):
        win_rate(judged(math.nan, math.nan))


def test_published(eval_data):
    folder = eval_data / "alpaca_eval2"
    expected = json.loads((folder / "expected.json").read_text())
    assert len(expected) == 9
    for model, right in expected.items():
        found = win_rate(read_judged(folder / f"annotations/{model}.csv"))
        assert found.win_rate == pytest.approx(right["win_rate"], abs=1e-9)
        assert found.standard_error == pytest.approx(right["standard_error"], abs=1e-9)
        assert found.discrete_win_rate == pytest.approx(right["discrete_win_rate"], abs=1e-9)
        assert found.n == right["n_total"]
        counts = found.num_wins, found.num_losses, found.num_draws
        assert counts == (right["n_wins"], right["n_wins_base"], right["n_draws"])


# ------------------------------------------------------------------------------ one judgment


@pytest.mark.parametrize(
    ("logps", "swapped", "right"),
    [
        # equal: 1.5. P(m) = 3 / 4: the first wins, preference 1.25; the model is first: 1.75.
        ((-1.0, -1.0), False, 1.5),
        ((math.log(3), 0.0), False, 1.25),
        ((math.log(3), 0.0), True, 1.75),
        ((0.0, math.log(3)), False, 1.75),
        # a token that is not among the top ones has probability 0
        ((None, -0.1), False, 2.0),
        ((None, -0.1), True, 1.0),
        ((-9.0, None), False, 1.0),
        ((-9.0, None), True, 2.0),
        ((-1000.0, 0.0), False, 2.0),
    ],
)
def test_a_preference_by_hand(logps, swapped, right):
    assert preference(*logps, swapped) == pytest.approx(right, abs=1e-12)


def test_neither_token_is_no_draw():
    assert math.isnan(preference(None, None, False))


def test_the_stored_judgments(eval_data):
    num = 0
    for model in ("phi-2", "vicuna-13b-v1.5", "gpt4_gamed"):
        path = eval_data / f"alpaca_eval2/annotations/{model}.csv"
        with path.open() as file:
            for row in csv.DictReader(file):
                logps = [float(row[name]) if row[name] else None for name in ("lp_m", "lp_M")]
                if logps != [None, None]:
                    found = preference(*logps, row["is_switched"] == "1")
                    assert found == pytest.approx(float(row["preference"]), abs=1e-6)
                    num += 1
    assert num > 2000


def test_the_order_is_a_fixed_draw_per_instruction():
    first = "What are the names of some famous actors that started their careers on Broadway?"
    assert is_swapped(first)
    found = [is_swapped(f"instruction {i}") for i in range(32)]
    # by the function that gives the published order of all 805 instructions
    assert "".join(str(int(swapped)) for swapped in found) == "01101110001100110010101011101101"
    assert len({is_swapped(f"half of a pair {i} \ud83c") for i in range(32)}) == 2
    swapped = [is_swapped(f"instruction {i}") for i in range(1000)]
    assert swapped == [is_swapped(f"instruction {i}") for i in range(1000)]
    assert 430 < sum(swapped) < 570  # 500 +- 4.4 sd of 15.8
