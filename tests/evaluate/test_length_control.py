"""Length control: the published numbers, regressions that miss them, scikit-learn's own CV."""

import json
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.evaluate._logistic import sigmoid
from inarch.evaluate.alpaca.files import read_gamed, read_judged, read_leaderboard, read_weights
from inarch.evaluate.alpaca.length_control import (
    Gamed,
    LengthControlSettings,
    bootstrap_error,
    choose_c,
    drawn_rates,
    fit,
    from_weights,
    length_controlled,
    make_design,
    predict,
)
from inarch.evaluate.alpaca.preferences import Judged


class Golden(NamedTuple):
    gamed: Gamed
    judged: dict[str, Judged]
    expected: dict[str, Any]
    weights: dict[str, tuple[float, float, float]]
    leaderboard: dict[str, dict[str, str]]

    def align(self, model: str) -> Any:
        """The official alignment where rows are missing, ours where they agree."""
        return "position" if model == "phi-2" else "instruction"

    def controlled(self, model: str, **settings: Any) -> Any:
        settings = LengthControlSettings(align=self.align(model), **settings)
        return length_controlled(self.judged[model], self.gamed, settings)


@pytest.fixture(scope="module")
def golden(eval_data) -> Golden:
    folder = eval_data / "alpaca_eval2"
    expected = json.loads((folder / "expected.json").read_text())
    return Golden(
        read_gamed(folder / "df_gamed.csv"),
        {model: read_judged(folder / f"annotations/{model}.csv") for model in expected},
        expected,
        read_weights(folder / "lc_weights_published.csv"),
        read_leaderboard(folder / "leaderboard_published.csv"),
    )


def fitted(golden: Golden) -> list[str]:
    return [model for model, right in golden.expected.items() if "C_published" in right]


# ------------------------------------------------------------------------- the published numbers


def test_published_at_the_published_c(golden):
    models = fitted(golden)
    assert len(models) == 8
    for model in models:
        right = golden.expected[model]
        found = golden.controlled(model, c=right["C_published"])
        assert found.win_rate == pytest.approx(right["lc_at_C_published"], abs=1e-6)
        assert found.weights == pytest.approx(right["weights_at_C_published"], abs=1e-8)
        assert found.win_rate == pytest.approx(right["length_controlled_winrate"], abs=1e-6)
        if right["lc_standard_error"]:
            assert found.standard_error == pytest.approx(right["lc_standard_error"], abs=1e-8)
        exact = golden.controlled(model, c=right["C_published"], solver="exact")
        assert exact.win_rate == pytest.approx(right["lc_at_C_published"], abs=0.02)
        assert exact.win_rate != found.win_rate


def test_published_over_the_grid(golden):
    for model in fitted(golden):
        for c, right in golden.expected[model]["lc_by_C"].items():
            # the grid is written with six digits, to which the win rate is true as far as 1e-5
            found = golden.controlled(model, c=float(c)).win_rate
            assert found == pytest.approx(right, abs=2e-5)


def test_cross_validation_chooses_what_the_package_does(golden):
    for model in fitted(golden):
        right = golden.expected[model]["official_run_sklearn_1.9.1"]
        found = golden.controlled(model)
        assert found.c == pytest.approx(right["C"], rel=1e-12)
        assert found.win_rate == pytest.approx(right["lc"], abs=1e-6)
        assert found.standard_error == pytest.approx(right["lc_se"], abs=1e-8)
        assert found.win_rate == pytest.approx(
            golden.expected[model]["length_controlled_winrate"], abs=0.2
        )


def test_the_exact_solver_chooses_as_well(golden):
    model = "FuseChat-Llama-3.2-3B-Instruct"
    found = golden.controlled(model, solver="exact")
    assert found.win_rate == pytest.approx(golden.controlled(model).win_rate, abs=0.2)


def test_the_baseline_has_50(golden):
    found = golden.controlled("gpt4_1106_preview")
    assert found == (50.0, 0.0, None, (0.0, 0.0, 0.0))


def test_published_weights_of_the_annotated_models(golden):
    for model in fitted(golden):
        found = from_weights(
            golden.judged[model], golden.gamed, golden.weights[model], golden.align(model)
        )
        right = golden.expected[model]["length_controlled_winrate"]
        assert found.win_rate == pytest.approx(right, abs=1e-6)
        assert found.c is None


def test_published_weights_of_all_models(golden):
    """The mean chance by weights and difficulties alone; the first n difficulties for n rows."""
    whole = golden.judged["FuseChat-Gemma-2-9B-Instruct"]
    off = {}
    for model in sorted(golden.weights.keys() & golden.leaderboard.keys()):
        row = golden.leaderboard[model]
        num = int(row["n_total"])
        first = whole._replace(
            preference_N=whole.preference_N[:num],
            baseline_chars_N=whole.baseline_chars_N[:num],
            model_chars_N=whole.model_chars_N[:num],
            where=whole.where[:num],
        )
        found = from_weights(first, golden.gamed, golden.weights[model], "position").win_rate
        miss = abs(found - float(row["length_controlled_winrate"]))
        if miss > 1e-6:
            off[model] = miss
    # weights of another run, or of other rows
    assert off.keys() > {"dbrx-instruct", "NullModel"}
    assert len(off) == 5
    assert sorted(off.values())[2] < 0.014


def test_difficulty_belongs_to_the_instruction(golden):
    judged, gamed = golden.judged["phi-2"], golden.gamed
    by_instruction = length_controlled(judged, gamed, LengthControlSettings(c=2.782559402207126))
    assert by_instruction.win_rate == pytest.approx(3.893, abs=1e-3)
    whole = golden.judged["vicuna-13b-v1.5"]
    order = np.random.default_rng(0).permutation(805)
    shuffled = whole._replace(
        preference_N=whole.preference_N[order],
        baseline_chars_N=whole.baseline_chars_N[order],
        model_chars_N=whole.model_chars_N[order],
        index_N=whole.index_N[order],
    )
    at = partial(LengthControlSettings, c=21.54434690031882)
    right = golden.expected["vicuna-13b-v1.5"]["lc_at_C_published"]
    assert length_controlled(shuffled, gamed, at()).win_rate == pytest.approx(right, abs=1e-3)
    wrong = length_controlled(shuffled, gamed, at(align="position")).win_rate
    assert abs(wrong - right) > 1


# ------------------------------------------------------------------------- wrong regressions


def without_gamed(design, judged):
    num = len(judged.where)
    return design._replace(
        features_R3=design.features_R3[-num:],
        chance_R=design.chance_R[-num:],
        weight_R=design.weight_R[-num:],
    )


def gamed_weight_not_halved(design, judged):
    return design._replace(weight_R=np.where(design.weight_R == 1, 1.0, 0.2))


def without_tanh(design, judged):
    return design._replace(
        features_R3=np.stack(
            [np.arctanh(design.features_R3[:, 0]), *design.features_R3[:, 1:].T], axis=1
        )
    )


def without_difficulty(design, judged):
    keep = np.array([1.0, 0.0, 1.0])
    return design._replace(
        features_R3=design.features_R3 * keep, at_equal_N3=design.at_equal_N3 * keep
    )


def binarised(design, judged):
    is_model = design.weight_R == 1
    return design._replace(chance_R=np.where(is_model, design.chance_R.round(), design.chance_R))


def other_length(unit):
    """The model's rows with another feature of length."""

    def change(design, judged):
        features = design.features_R3.copy()
        features[-len(judged.where) :, 0] = unit(judged.baseline_chars_N - judged.model_chars_N)
        return design._replace(features_R3=features)

    return change


def gamed_with_a_bias(design, judged):
    features = design.features_R3.copy()
    features[:, 2] = 1
    return design._replace(features_R3=features)


LLAMA_8B, LLAMA_1B = "FuseChat-Llama-3.1-8B-Instruct", "FuseChat-Llama-3.2-1B-Instruct"


@pytest.mark.parametrize(
    ("wrong", "lands"),
    [
        (without_gamed, (64.86, 26.03)),
        (gamed_weight_not_halved, (65.73, 24.83)),
        (without_tanh, (64.45, 25.57)),
        (without_difficulty, (65.43, 25.15)),
        (binarised, (66.65, 24.27)),
        (other_length(lambda d: np.tanh((d - d.mean()) / d.std(ddof=1))), (65.03, 29.18)),
        (other_length(lambda d: np.tanh(-d / d.std(ddof=1))), (63.56, 29.17)),
        (other_length(lambda d: np.tanh(d / d.std())), None),
        (gamed_with_a_bias, None),
    ],
    ids=[
        *("no regulariser", "weight 0.2", "no tanh", "no difficulty", "binarised", "centred"),
        *("sign swapped", "ddof 0", "gamed rows have the bias"),
    ],
)
def test_a_wrong_regression_misses(golden, wrong, lands):
    """By more than the tolerance; where others have measured it, as far as they found."""
    for number, model in enumerate((LLAMA_8B, LLAMA_1B)):
        judged, right = golden.judged[model], golden.expected[model]
        c = right["C_published"]
        design = wrong(make_design(judged, golden.gamed), judged)
        found = predict(design, fit(design, c, "liblinear"), c).win_rate
        assert abs(found - right["lc_at_C_published"]) > 1e-5
        if lands:
            assert found == pytest.approx(lands[number], abs=0.01)
            assert abs(found - right["lc_at_C_published"]) > 0.02


@pytest.mark.parametrize(
    ("change", "lands"),
    [({"l1_ratio": 0}, (65.39, 25.29)), ({"fit_intercept": True}, (65.38, 25.29))],
    ids=["L2", "free intercept"],
)
def test_a_wrong_penalty_or_intercept_misses(golden, change, lands):
    for number, model in enumerate((LLAMA_8B, LLAMA_1B)):
        right = golden.expected[model]
        design = make_design(golden.judged[model], golden.gamed)
        wrong = regression(right["C_published"], **change)
        coefficients = trained(wrong, design)
        coefficients[2] += float(np.ravel(wrong.intercept_)[0])
        found = predict(design, coefficients, None).win_rate
        assert found == pytest.approx(lands[number], abs=0.01)
        assert abs(found - right["lc_at_C_published"]) > 1e-3


def regression(c, **change):
    linear_model = pytest.importorskip("sklearn.linear_model")
    usual = {"solver": "liblinear", "l1_ratio": 1, "fit_intercept": False, "random_state": 123}
    return linear_model.LogisticRegression(C=c, tol=1e-4, **(usual | change))


def trained(model, design):
    num = len(design.chance_R)
    labels = np.r_[np.ones(num), np.zeros(num)]
    shares = np.r_[design.chance_R * design.weight_R, (1 - design.chance_R) * design.weight_R]
    model.fit(np.r_[design.features_R3, design.features_R3], labels, sample_weight=shares)
    return model.coef_[0].copy()


# ---------------------------------------------------------------------- made-up judgments


def made_up(seed: int = 0, num: int = 40) -> tuple[Judged, Gamed]:
    """Judgments of a model that writes long answers and wins more often with them."""
    random = np.random.default_rng(seed)
    difficulty = random.normal(size=num)
    lengths = random.normal(size=2 * num)
    chances = sigmoid(-1.3 * np.tanh(lengths) + 0.4 * np.tile(difficulty, 2))
    gamed = Gamed(chances, lengths, np.tile(difficulty, 2), dict(enumerate(difficulty)))
    baseline = random.integers(200, 4000, size=num).astype(float)
    model = random.integers(400, 5000, size=num).astype(float)
    delta = baseline - model
    noise = random.normal(size=num)
    wins = sigmoid(-1.5 * np.tanh(delta / delta.std()) + 0.7 * difficulty + 0.3 + noise)
    judged = Judged(
        preference_N=1 + wins,
        baseline_chars_N=baseline,
        model_chars_N=model,
        index_N=np.arange(num),
        prompts=tuple(map(str, range(num))),
        datasets=("",) * num,
        where=tuple(f"file row {i}" for i in range(num)),
        model="m",
        baseline="b",
        annotator="",
        is_baseline=False,
    )
    return judged, gamed


def test_the_design_by_hand():
    judged, _ = made_up(num=5)
    gamed = Gamed(np.array([0.25]), np.array([2.0]), np.array([-1.0]), dict.fromkeys(range(5), 0.5))
    judged = judged._replace(
        preference_N=np.array([1.5, 0, 2, 1, 1.25]),
        baseline_chars_N=np.array([0.0, 0, 0, 0, 0]),
        model_chars_N=np.array([-2.0, -1, 0, 1, 2]),
    )
    # delta 2 1 0 -1 -2, sd sqrt(10 / 4)
    found = make_design(judged, gamed)
    length = np.tanh(np.array([2, 1, 0, -1, -2]) / np.sqrt(2.5))
    assert found.features_R3 == pytest.approx(
        np.array([[np.tanh(2), -1, 0], *([x, 0.5, 1] for x in length)])
    )
    assert list(found.chance_R) == [0.25, 0.5, 0.5, 1, 0, 0.25]
    assert list(found.weight_R) == [0.1, 1, 1, 1, 1, 1]
    assert found.at_equal_N3.tolist() == [[0, 0.5, 1]] * 5


def test_a_row_without_a_judgment_is_predicted_and_not_fitted():
    judged, gamed = made_up()
    preference = judged.preference_N.copy()
    preference[3] = np.nan
    whole = make_design(judged, gamed)
    part = make_design(judged._replace(preference_N=preference), gamed)
    kept = np.delete(np.arange(len(whole.chance_R)), len(gamed.chance_G) + 3)
    assert (part.features_R3 == whole.features_R3[kept]).all()
    assert (part.chance_R == whole.chance_R[kept]).all()
    assert (part.at_equal_N3 == whole.at_equal_N3).all()


@pytest.mark.parametrize("seed", range(4))
def test_against_scikit_learns_cross_validation(seed):
    """Groups keep both copies of a row together; the score is the weighted log-likelihood."""
    from sklearn.model_selection import GroupKFold

    judged, gamed = made_up(seed, num=40 + seed)
    design = make_design(judged, gamed)
    num = len(design.chance_R)
    twice = np.r_[design.features_R3, design.features_R3]
    labels = np.r_[np.ones(num), np.zeros(num)]
    shares = np.r_[design.chance_R * design.weight_R, (1 - design.chance_R) * design.weight_R]
    folds = list(GroupKFold(5).split(twice, labels, np.tile(np.arange(num), 2)))

    def score(c):
        found = []
        for train, test in folds:
            model = regression(c).fit(twice[train], labels[train], sample_weight=shares[train])
            sure = model.predict_log_proba(twice[test])
            chosen = np.where(labels[test] == 1, sure[:, 1], sure[:, 0])
            found.append((shares[test] * chosen).sum() / (len(test) / 2))
        return np.mean(found)

    grid = np.logspace(-4, 4, 10)
    best = grid[int(np.argmax([score(c) for c in grid]))]
    found = length_controlled(judged, gamed, LengthControlSettings())
    assert found.c == pytest.approx(best)
    assert choose_c(design, "liblinear") == found.c
    beta = trained(regression(best), design)
    chances = sigmoid(beta[1] * np.array(list(gamed.difficulty_of.values())) + beta[2])
    assert found.win_rate == pytest.approx(100 * chances.mean(), abs=1e-9)
    error = 100 * chances.std(ddof=1) / np.sqrt(len(chances))
    assert found.standard_error == pytest.approx(error, abs=1e-9)


def test_the_bootstrap_is_a_refit_of_drawn_instructions():
    """Against draws of whole rows, each read and fitted from the start, the unit of length too."""
    judged, gamed = made_up(num=200)
    random = np.random.default_rng(1)
    rates = []
    for _ in range(300):
        at = random.integers(0, 200, size=200)
        drawn = judged._replace(
            preference_N=judged.preference_N[at],
            baseline_chars_N=judged.baseline_chars_N[at],
            model_chars_N=judged.model_chars_N[at],
            index_N=judged.index_N[at],
        )
        design = make_design(drawn, gamed)
        rates.append(predict(design, fit(design, 2.0, "exact"), 2.0).win_rate)
    found = bootstrap_error(judged, gamed, LengthControlSettings(), 2.0, num_draws=1000)
    # 300 draws tell an error to 4 %, 1000 to 2 %
    assert found == pytest.approx(np.std(rates), rel=0.15)


@pytest.mark.parametrize("c", [0.02, 1.0, 50.0])
def test_a_draw_of_each_once_is_the_whole(c):
    judged, gamed = made_up(3)
    drawn = drawn_rates(make_design(judged, gamed), c, np.ones((3, 40)))
    whole = length_controlled(judged, gamed, LengthControlSettings(c=c, solver="exact"))
    assert drawn == pytest.approx([whole.win_rate] * 3, abs=1e-7)


def test_the_published_error_is_too_small(golden):
    judged = golden.judged[LLAMA_8B]
    found = bootstrap_error(judged, golden.gamed, LengthControlSettings(), 2.782559402207126)
    assert found > 1.9 * golden.expected[LLAMA_8B]["lc_standard_error"]


def test_answers_that_are_all_as_long_as_the_baselines():
    judged, gamed = made_up()
    same = judged._replace(model_chars_N=judged.baseline_chars_N)
    found = length_controlled(same, gamed, LengthControlSettings(c=10, solver="exact"))
    assert 0 < found.win_rate < 100


def test_what_does_not_fit_the_gamed_file_is_named():
    judged, gamed = made_up()
    index = judged.index_N.copy()
    index[7] = 40
    with pytest.raises(DataError, match=r"^file row 7: found number 40; .* instructions 0 to 39"):
        make_design(judged._replace(index_N=index), gamed)
    index[7] = -1
    with pytest.raises(DataError, match=r"^file row 7: found an instruction that is none of"):
        make_design(judged._replace(index_N=index), gamed)
    assert make_design(judged._replace(index_N=index), gamed, "position")
    few = judged._replace(preference_N=np.where(np.arange(40) < 4, 1.5, np.nan))
    with pytest.raises(DataError, match="found 4 rows with a preference"):
        make_design(few, gamed)
