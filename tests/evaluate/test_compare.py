"""Comparisons: by hand, intervals that cover, what is refused."""

import numpy as np
import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate._resample import draw_counts, holm
from inarch.evaluate.compare import CompareSettings, compare, compare_all
from inarch.evaluate.protocol import (
    PromptScore,
    ProtocolRecord,
    Result,
    differences,
)

RECORD = ProtocolRecord(benchmark="arena_hard", version="v2", score="percent", judge="j")


def result(model, *scores, record=RECORD):
    """From (prompt, category, score, weight)."""
    return Result(record, model, tuple(PromptScore(*row) for row in scores))


def random_pair(seed, gain, num=60, noise=5.0):
    """Two models on prompts that differ far more than the models do."""
    random = np.random.default_rng(seed)
    level = random.normal(50, 30, size=num)
    a, b = level + gain + random.normal(0, noise, num), level + random.normal(0, noise, num)
    return (
        result(name, *[(str(i), "", float(s), 1.0) for i, s in enumerate(scores)])
        for name, scores in (("a", a), ("b", b))
    )


def test_by_hand():
    # a: (10 * 2 + 40 * 1) / 3 = 20; b: (20 * 1 + 30 * 3) / 4 = 27.5
    a = result("a", ("p", "x", 10, 2), ("q", "y", 40, 1), ("only a", "x", 99, 1))
    b = result("b", ("q", "y", 30, 3), ("p", "x", 20, 1))
    found = compare(a, b, CompareSettings())
    assert (found.a_score, found.b_score) == pytest.approx((20, 27.5))
    assert found.whole.difference == pytest.approx(-7.5)
    # the draws: p twice -10, q twice 10, or both
    assert (found.whole.lower, found.whole.upper, found.whole.n) == pytest.approx((-10, 10, 2))
    assert found.by_category["x"] == pytest.approx((-10, -10, -10, 1))
    assert found.by_category["y"] == pytest.approx((10, 10, 10, 1))
    assert found.num_left_out == 1
    assert found.numbers()["n_left_out"] == 1
    assert found.numbers()["by_category"]["y"]["difference"] == pytest.approx(10)


def test_categories_are_those_of_the_first():
    a = result("a", ("p", "x", 1, 1), ("q", "y", 2, 1))
    b = result("b", ("p", "", 0, 1), ("q", "", 0, 1))  # a CSV of lengths tells none
    found = compare(a, b, CompareSettings()).by_category
    assert {name: part.difference for name, part in found.items()} == {"x": 1, "y": 2}
    assert compare(b, a, CompareSettings()).by_category == {}


def test_few_prompts_are_told(caplog):
    a, b = random_pair(0, gain=3, num=20)
    compare(a, b, CompareSettings())
    assert "too narrow" not in caplog.text
    one = compare(a._replace(scores=a.scores[:1]), b, CompareSettings())
    # a draw of one prompt is that prompt, and swapped it differs as much
    assert one.whole.lower == one.whole.upper == one.whole.difference
    assert one.p_value == 1
    assert "intervals over 1 prompts are too narrow" in caplog.text


def test_what_prompts_share_is_not_in_the_interval():
    a, b = random_pair(0, gain=3)
    whole = compare(a, b, CompareSettings()).whole
    # sd of a pair's difference 5 sqrt(2), of the mean of 60 0.91; unpaired 30 sqrt(2 / 60) = 5.5
    assert (whole.upper - whole.lower) / (2 * 1.96) == pytest.approx(0.91, rel=0.3)
    back = compare(b, a, CompareSettings()).whole
    assert back[:3] == pytest.approx((-whole.difference, -whole.upper, -whole.lower))


def test_a_draw_weighs_prompts_as_the_benchmark_does():
    """Each draw again, prompt by prompt."""
    random = np.random.default_rng(0)
    sides = [
        [(str(q), "", float(random.integers(100)), float(random.integers(1, 7))) for q in range(9)]
        for _ in range(2)
    ]
    drawn = []
    for counts in draw_counts(9):
        means = []
        for rows in sides:
            rows = [row for row, times in zip(rows, counts, strict=True) for _ in range(int(times))]
            means.append(sum(s * w for *_, s, w in rows) / sum(w for *_, w in rows))
        drawn.append(means[0] - means[1])
    a, b = (result(name, *rows) for name, rows in zip("ab", sides, strict=True))
    whole = compare(a, b, CompareSettings()).whole
    assert whole[1:3] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_the_interval_holds_the_truth_19_times_out_of_20():
    held = 0
    for seed in range(100):
        whole = compare(*random_pair(seed, gain=2), CompareSettings()).whole
        held += whole.lower <= 2 <= whole.upper
    assert 88 <= held <= 100


def test_many_candidates_widen_the_interval_and_warn(caplog):
    a, b = random_pair(1, gain=1)
    [one] = compare_all(a, [b], CompareSettings())
    assert "comparisons" not in caplog.text
    [many] = compare_all(a, [b], CompareSettings(candidates=10))
    assert "10 comparisons: the best of 10 candidates looks better than it is" in caplog.text
    assert (one.level, many.level) == pytest.approx((0.95, 0.995))
    # 2.807 / 1.960 sd
    ratio = (many.whole.upper - many.whole.lower) / (one.whole.upper - one.whole.lower)
    assert ratio == pytest.approx(1.43, rel=0.15)
    assert many.whole.difference == one.whole.difference
    assert many.p_adjusted == pytest.approx(min(1, 10 * one.p_value))
    assert (one.p_adjusted, one.num_candidates, many.num_candidates) == (one.p_value, 1, 10)


def test_each_is_compared_with_the_first_and_p_values_hold_for_all():
    a, b = random_pair(1, gain=1.4)
    _, c = random_pair(1, gain=0)
    others = [b, c._replace(model="c"), a._replace(model="twin")]
    found = compare_all(a, others, CompareSettings(candidates=3))
    assert [(one.a, one.b) for one in found] == [("a", "b"), ("a", "c"), ("a", "twin")]
    alone = [compare(a, other, CompareSettings()).p_value for other in others]
    assert [one.p_value for one in found] == alone
    assert [one.p_adjusted for one in found] == pytest.approx(holm(alone, 3))
    assert found[2].p_value == found[2].p_adjusted == 1
    with pytest.raises(SettingsError, match="found 3 comparisons and candidates: 2"):
        compare_all(a, others, CompareSettings(candidates=2))


def test_among_five_that_are_all_the_same_one_seems_better_one_time_in_twenty():
    fooled = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        scores = random.normal(size=(6, 20))
        a, *others = (
            result(str(m), *[(str(q), "", float(s), 1.0) for q, s in enumerate(row)])
            for m, row in enumerate(scores)
        )
        found = compare_all(a, others, CompareSettings(candidates=5))
        fooled += min(one.p_adjusted for one in found) < 0.05
    assert fooled <= 5  # of 40; 2 expected, 6 or more with a chance of 1 %


def test_other_protocols_are_refused_unless_asked_for(caplog):
    a, b = random_pair(0, gain=0)
    for change in ({"judge": "k"}, {"version": "v0.1"}, {"baseline": "x"}, {"references": "r"}):
        other = b._replace(protocol=RECORD.model_copy(update=change))
        name, value = next(iter(change.items()))
        with pytest.raises(SettingsError, match=rf"{name}: .* against {value}"):
            compare(a, other, CompareSettings())
        found = compare(a, other, CompareSettings(any_protocol=True))
        assert found.whole == compare(a, b, CompareSettings()).whole
        assert "the protocols differ" in caplog.text
    unknown = RECORD.model_copy(update={"judge": ""})
    assert differences(RECORD, unknown) == ["judge: j against unknown"]
    assert differences(unknown, unknown) == []


def test_nothing_in_common():
    with pytest.raises(DataError, match="none of them in common"):
        compare(result("a", ("p", "", 1, 1)), result("b", ("q", "", 1, 1)), CompareSettings())
