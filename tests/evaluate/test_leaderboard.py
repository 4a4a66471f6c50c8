"""Leaderboards: who stands in which, in what order, how far apart; lengths in bins, by hand."""

import math

import numpy as np
import pytest

from inarch.evaluate.compare import CompareSettings, compare
from inarch.evaluate.leaderboard import (
    LengthBin,
    by_length,
    leaderboards,
    less_is_better,
    mean_length,
    mean_of,
)
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result

RECORD = ProtocolRecord(benchmark="arena_hard", version="v2", score="percent", judge="j")


def result(model, *scores, record=RECORD):
    """From (prompt, category, score, weight, length, baseline_length)."""
    return Result(record, model, tuple(PromptScore(*row) for row in scores))


def test_only_equal_records_share_a_leaderboard():
    other = RECORD.model_copy(update={"judge": "k"})
    found = leaderboards(
        [
            result("a", ("p", "", 10.0)),
            result("b", ("p", "", 90.0), record=other),
            result("c", ("p", "", 20.0)),
        ]
    )
    assert [(b.protocol.judge, [s.result.model for s in b.standings]) for b in found] == [
        ("j", ["c", "a"]),
        ("k", ["b"]),
    ]


def test_losses_are_best_when_low():
    record = ProtocolRecord(benchmark="likelihood", version="1", score="bits per byte")
    assert less_is_better(record)
    assert not less_is_better(RECORD)
    rows = [result(name, ("p", "", v), record=record) for name, v in (("a", 2.0), ("b", 1.0))]
    (board,) = leaderboards(rows)
    assert [s.result.model for s in board.standings] == ["b", "a"]
    assert board.standings[1].behind.difference == -1.0


def test_means_by_weight_and_by_category():
    # (10 * 2 + 40 * 1) / 3 = 20; the draws of two prompts: 10 twice, 40 twice, or both
    (board,) = leaderboards([result("a", ("p", "x", 10.0, 2.0), ("q", "y", 40.0, 1.0))])
    (one,) = board.standings
    assert one.whole == pytest.approx((20, 10, 40, 2))
    assert one.by_category["x"] == pytest.approx((10, 10, 10, 1))
    assert one.by_category["y"] == pytest.approx((40, 40, 40, 1))
    assert one.behind is None
    (board,) = leaderboards([result("a", ("p", "x", 10.0), ("q", "x", 40.0))])
    assert board.standings[0].by_category == {}


def test_the_interval_is_that_of_the_mean():
    random = np.random.default_rng(0)
    scores = random.normal(50, 20, size=400)
    found = mean_of([PromptScore(str(i), "", float(s)) for i, s in enumerate(scores)])
    # 1.96 sd / sqrt(n) on both sides
    half = 1.96 * scores.std() / math.sqrt(400)
    assert (found.upper - found.lower) / 2 == pytest.approx(half, rel=0.05)
    assert (found.upper + found.lower) / 2 == pytest.approx(scores.mean(), abs=0.2)


@pytest.mark.parametrize("num_models", [2, 5])
def test_differences_are_those_of_compare(num_models):
    random = np.random.default_rng(1)
    rows = [
        result(
            f"m{m}",
            *(
                (f"p{i}", "", float(random.normal(50 - 5 * m, 20)), float(random.integers(1, 4)))
                for i in range(30 - m)  # later models lack some prompts
            ),
        )
        for m in range(num_models)
    ]
    (board,) = leaderboards(rows)
    first, *others = board.standings
    settings = CompareSettings(candidates=num_models - 1)
    for standing in others:
        expected = compare(first.result, standing.result, settings).whole
        assert standing.behind == pytest.approx(expected)
    assert {s.behind.n for s in others} <= {30 - m for m in range(num_models)}


def test_models_without_a_common_prompt():
    (board,) = leaderboards([result("a", ("p", "", 2.0)), result("b", ("q", "", 1.0))])
    assert [s.behind for s in board.standings] == [None, None]


# --------------------------------------------------------------------------------------- lengths


def with_lengths(differences, score=lambda d: float(d)):
    """A prompt per difference of length, in the order given."""
    return [
        PromptScore(f"p{i}", "", score(d), 1.0, 5000 + d, 5000) for i, d in enumerate(differences)
    ]


def test_bins_by_hand():
    differences = list(range(-30, 30))
    np.random.default_rng(2).shuffle(differences)
    # Sixty prompts fill three bins of twenty: -30 ... -11, -10 ... 9, 10 ... 29.
    found = by_length(with_lengths(differences))
    assert [(b.low, b.high, b.score.n) for b in found] == [
        (-30, -11, 20),
        (-10, 9, 20),
        (10, 29, 20),
    ]
    assert [b.score.mean for b in found] == pytest.approx([-20.5, -0.5, 19.5])
    assert isinstance(found[0], LengthBin)


def test_at_most_eight_bins():
    found = by_length(with_lengths(range(805)))
    assert len(found) == 8
    assert {b.score.n for b in found} == {100, 101}
    assert sum(b.score.n for b in found) == 805


def test_equal_differences_stay_together():
    # Of 100 prompts 90 are as long: one bin, and one of the rest, however small.
    found = by_length(with_lengths([0] * 90 + list(range(1, 11))))
    assert [(b.low, b.high, b.score.n) for b in found] == [(0, 0, 90), (1, 10, 10)]
    assert [len(by_length(with_lengths([7] * n))) for n in (39, 40)] == [0, 1]


def test_prompts_without_lengths_are_in_no_bin():
    unknown = [PromptScore("u", "", 0.0, 1.0, None, 3), PromptScore("v", "", 0.0, 1.0, 3, None)]
    found = by_length(with_lengths(range(40)) + unknown)
    assert sum(b.score.n for b in found) == 40
    assert by_length(with_lengths(range(39)) + unknown) == []


def test_bins_weigh_as_the_benchmark_does():
    rows = [PromptScore(f"p{i}", "", 100.0 * (i % 2), 1 + 2 * (i % 2), i, 0) for i in range(40)]
    # half have 100 with weight 3, half 0 with weight 1
    assert [b.score.mean for b in by_length(rows)] == pytest.approx([75.0, 75.0])


def test_mean_lengths():
    rows = [PromptScore("p", "", 0.0, 3.0, 10, 1), PromptScore("q", "", 0.0, 1.0, 20, None)]
    assert mean_length(rows) == (15.0, None)
    assert mean_length(rows[:1]) == (10.0, 1.0)
