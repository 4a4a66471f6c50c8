"""Differences at equal length and style: as each score alone, against refits, what is refused."""

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.evaluate.alpaca.length_control import (
    LengthControlSettings,
    fit,
    length_controlled,
    make_design,
    predict,
)
from inarch.evaluate.alpaca.preferences import BASELINE
from inarch.evaluate.arena.battles import ArenaSettings
from inarch.evaluate.arena.files import read_battles, read_styles
from inarch.evaluate.arena.style import Style, score_with_style
from inarch.evaluate.compare import CompareSettings, compare_all
from inarch.evaluate.controlled import (
    LengthControl,
    has_lengths,
    length_controlled_difference,
    style_controlled_difference,
)
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result

from .test_arena import battles
from .test_length_control import golden, made_up

__all__ = ["golden"]

EXACT = LengthControlSettings(c=2.0, solver="exact")


def result(judged, model="m", keep=slice(None)) -> Result:
    record = ProtocolRecord(benchmark="alpaca_eval2", version="2", score="%", baseline="b")
    rows = zip(
        judged.index_N, judged.preference_N, judged.model_chars_N, judged.baseline_chars_N,
        strict=True,
    )  # fmt: skip
    scores = [
        PromptScore(f"idx805:{i}", "", 100 * (p - 1), 1.0, int(own), int(other))
        for i, p, own, other in rows
        if p == p
    ]
    return Result(record, model, tuple(scores[keep]))


def test_the_scores_are_those_of_each_model_alone(golden):
    """65.39 less 63.58, where the raw win rates say 63.33 less 64.64: length turns the order."""
    names = "FuseChat-Llama-3.1-8B-Instruct", "FuseChat-Qwen-2.5-7B-Instruct"
    one, other = (result(golden.judged[name], name) for name in names)
    control = LengthControl(golden.gamed, LengthControlSettings())
    [found] = compare_all(one, [other], CompareSettings(), control)
    at_equal = found.controlled
    for score, name in zip((at_equal.a_score, at_equal.b_score), names, strict=True):
        right = golden.expected[name]["length_controlled_winrate"]
        assert score == pytest.approx(right, abs=1e-6)
    assert at_equal.difference == pytest.approx(at_equal.a_score - at_equal.b_score)
    assert at_equal.difference > 1.5
    assert found.whole.difference < -1
    assert at_equal.c == pytest.approx((2.782559402207126, 2.782559402207126))
    assert at_equal.lower < 0 < at_equal.upper
    assert 0.1 < at_equal.p_value < 0.5
    # errors 1.31 and about as much, of which some is shared
    assert 1.2 < (at_equal.upper - at_equal.lower) / (2 * 1.96) < 1.31 * 2**0.5
    assert found.numbers()["length_controlled"]["n"] == 805


def test_the_draws_are_refits_of_the_same_instructions_for_both():
    """Against draws that are whole files, fitted from the start."""
    a, gamed = made_up(0, num=150)
    b, _ = made_up(1, num=150)
    b = b._replace(preference_N=np.clip(a.preference_N - 0.1, 1, 2))
    found = length_controlled_difference(result(a), result(b), LengthControl(gamed, EXACT))
    random = np.random.default_rng(5)
    apart = []
    for _ in range(300):
        at = random.integers(0, 150, size=150)
        rates = []
        for judged in (a, b):
            drawn = judged._replace(
                preference_N=judged.preference_N[at],
                baseline_chars_N=judged.baseline_chars_N[at],
                model_chars_N=judged.model_chars_N[at],
                index_N=judged.index_N[at],
            )
            design = make_design(drawn, gamed)
            rates.append(predict(design, fit(design, 2.0, "exact"), 2.0).win_rate)
        apart.append(rates[0] - rates[1])
    low, high = np.quantile(apart, [0.025, 0.975])
    assert found.upper - found.lower == pytest.approx(high - low, rel=0.2)
    # alone, each would have some 3 points: what instructions share is left out
    assert found.lower == pytest.approx(low, abs=0.3 * (high - low))


def test_who_is_compared_with_whom():
    a, gamed = made_up(0)
    b, _ = made_up(1)
    control = LengthControl(gamed, EXACT)
    there = length_controlled_difference(result(a), result(b), control)
    back = length_controlled_difference(result(b), result(a), control)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower))
    alone = length_controlled(a, gamed, EXACT).win_rate
    assert there.a_score == pytest.approx(alone, abs=1e-9)
    same = length_controlled_difference(result(a), result(a), control)
    assert same[:3] == (0, 0, 0)
    assert same.p_value == 1


def test_prompts_are_matched_by_name_and_others_left_out():
    a, gamed = made_up(0)
    b, _ = made_up(1)
    control = LengthControl(gamed, EXACT)
    turned = result(b)._replace(scores=result(b).scores[::-1])
    found, usual = (
        length_controlled_difference(result(a), other, control) for other in (turned, result(b))
    )
    assert found[:7] == pytest.approx(usual[:7])
    some = length_controlled_difference(result(a), result(b, keep=slice(5, 35)), control)
    assert some.n == 30
    part = a._replace(
        **{
            name: getattr(a, name)[5:35]
            for name in ("preference_N", "baseline_chars_N", "model_chars_N", "index_N", "where")
        }
    )
    assert some.a_score == pytest.approx(length_controlled(part, gamed, EXACT).win_rate)


def test_the_baseline_has_50_in_each_draw():
    a, gamed = made_up(0)
    control = LengthControl(gamed, EXACT)
    found = length_controlled_difference(result(a), result(a, "b"), control)
    assert (found.b_score, found.c) == (50, (2.0, None))
    assert found.difference == pytest.approx(found.a_score - 50)


def test_many_comparisons_widen_the_interval_at_equal_length():
    a, gamed = made_up(0)
    b, _ = made_up(1)
    control = LengthControl(gamed, EXACT)
    one, many = (
        compare_all(result(a), [result(b, "n")], CompareSettings(candidates=n), control)[0]
        for n in (1, 8)
    )
    ratio = (many.controlled.upper - many.controlled.lower) / (
        one.controlled.upper - one.controlled.lower
    )
    # 2.734 / 1.960 sd
    assert ratio == pytest.approx(1.39, rel=0.15)
    assert many.controlled.p_adjusted == pytest.approx(min(1, 8 * many.controlled.p_value))


def test_what_has_no_lengths_or_other_instructions_is_refused():
    a, gamed = made_up(0)
    control = LengthControl(gamed, EXACT)
    whole = result(a)
    bare = whole._replace(scores=tuple(row._replace(length=None) for row in whole.scores))
    with pytest.raises(DataError, match="n: found prompts without lengths; score"):
        length_controlled_difference(whole, bare._replace(model="n"), control)
    own = whole._replace(scores=tuple(row._replace(prompt=row.prompt[3:]) for row in whole.scores))
    with pytest.raises(DataError, match=r"m: prompt 805:0: found an instruction that is none"):
        length_controlled_difference(own, own, control)
    other = whole._replace(protocol=whole.protocol.model_copy(update={"benchmark": "arena_hard"}))
    with pytest.raises(DataError, match="found a result of arena_hard; gamed rows are for"):
        length_controlled_difference(other, other, control)


def test_which_results_the_official_gamed_rows_fit():
    whole = result(made_up(0)[0])
    fits = whole._replace(protocol=whole.protocol.model_copy(update={"baseline": BASELINE}))
    assert has_lengths(fits)
    assert not has_lengths(whole)
    assert not has_lengths(fits._replace(scores=fits.scores[:4]))
    for change in ({"prompt": "x"}, {"length": None}, {"baseline_length": None}):
        rows = (fits.scores[0]._replace(**change), *fits.scores[1:])
        assert not has_lengths(fits._replace(scores=rows))
    other = fits.protocol.model_copy(update={"benchmark": "arena_hard"})
    assert not has_lengths(fits._replace(protocol=other))


# ------------------------------------------------------------------------------ style


def test_published_style_scores_and_their_difference(eval_data):
    folder = eval_data / "arena_hard_v01"
    read, styles = read_battles(folder / "battles.jsonl"), read_styles(folder / "style.csv")
    settings = ArenaSettings(control="style")
    models = "gpt-4-0613", "gpt-3.5-turbo-0125"
    found = style_controlled_difference(read, styles, settings, models)
    # facts: 37.11 and 22.92
    assert (found.a_score, found.b_score) == pytest.approx((37.11, 22.92), abs=0.01)
    assert found.difference == pytest.approx(14.19, abs=0.02)
    assert found.n == 500
    assert 0 < found.lower < found.difference < found.upper
    alone = score_with_style(read, styles, settings).scores
    widths = [alone[model].upper - alone[model].lower for model in models]
    # paired by prompts: less than the two errors would give apart
    assert found.upper - found.lower < np.hypot(*widths)
    back = style_controlled_difference(read, styles, settings, models[::-1])
    assert back[:3] == pytest.approx((-found.difference, -found.upper, -found.lower))


def test_two_copies_do_not_differ_in_any_draw():
    random = np.random.default_rng(0)
    rows = [(f"q{q}", "m", random.choice([0, 0.5, 1])) for q in range(50)]
    read = battles(rows + [(q, "n", outcome) for q, _, outcome in rows])
    counts = {q: Style(*random.integers(1, 90, size=4)) for q, *_ in rows}
    styles = {(q, model): counts[q] for q in counts for model in "mn"}
    styles |= {(q, "b"): Style(*random.integers(1, 90, size=4)) for q in counts}
    found = style_controlled_difference(read, styles, ArenaSettings(control="style"), ("m", "n"))
    assert found[:3] == pytest.approx((0, 0, 0), abs=1e-6)
    with pytest.raises(DataError, match="found battles of m, n, none of x"):
        style_controlled_difference(read, styles, ArenaSettings(control="style"), ("m", "x"))
