"""The searches, on made-up losses."""

import random
from itertools import islice
from math import inf, nan

import pytest

from inarch.errors import DataError
from inarch.prune import _units
from inarch.prune._order import Block, Step, name_of
from inarch.prune._search import decide, greedy, lazy_greedy, ranked
from tests.prune.made_up import MadeUp, block, stream, sums

SINGLE = _units.single("mix", ())


def order(steps) -> list[str]:
    return [name_of(step.unit) for step in steps]


def test_the_least_loss_goes_given_what_went_before():
    # Without mlp0, mha1 is dear: it would have been second.
    def loss(gone: frozenset[Block]) -> float:
        extra = 4.0 if {block("mlp0"), block("mha1")} <= gone else 0.0
        return sums({"mlp0": 1, "mha1": 2, "mha0": 3, "mlp1": 4})(gone) + extra

    steps = list(greedy(MadeUp(2, loss), SINGLE))
    assert order(steps) == ["mlp0", "mha0", "mlp1", "mha1"]
    assert [step.score for step in steps] == [1, 4, 8, 14]
    # 2 - 1, then 5 (mlp1) - 4, then 10 (mha1: 4 + 2 + 4) - 8, then nothing to compare with.
    assert [step.margin for step in steps] == [1, 1, 2, None]
    assert [step.evaluations for step in steps] == [4, 3, 2, 1]


def test_ties_go_to_attention_and_to_the_lower_layer():
    steps = list(greedy(MadeUp(3, lambda gone: 1.0), SINGLE))
    assert order(steps) == ["mha0", "mha1", "mha2", "mlp0", "mlp1", "mlp2"]
    assert steps[0].margin == 0.0


@pytest.mark.parametrize("bad", [nan, inf])
def test_what_is_not_finite_never_wins(bad: float):
    def loss(gone: frozenset[Block]) -> float:
        return bad if block("mha0") in gone else sums({"mlp0": 2.0})(gone)

    subject = MadeUp(2, loss)
    assert order(islice(greedy(subject, SINGLE), 3)) == ["mlp0", "mha1", "mlp1"]
    with pytest.raises(DataError, match=rf"no candidate has a finite loss \(mha0: {bad}\)"):
        list(greedy(subject, SINGLE))


def test_only_what_was_computed_is_counted():
    step = decide([(b,) for b in stream(2)] * 2, [3.0, inf, nan, 2.5, inf, inf, 9.0, 9.0])
    assert step == Step((block("mlp1"),), 2.5, 0.5, evaluations=5)


def test_the_error_is_that_of_the_best_and_the_second():
    units = [(b,) for b in stream(2)]
    step = decide(units, [3.0, 1.0, nan, 2.5], lambda *pair: 0.1 * (pair == (units[1], units[3])))
    assert (step.margin, step.margin_error) == (1.5, 0.1)
    assert decide(units[:1], [3.0], lambda *pair: 1.0).margin_error is None


def test_the_search_says_that_two_must_be_known():
    subject = MadeUp(2)
    next(greedy(subject, SINGLE))
    assert subject.asked[0][2] == 2


@pytest.mark.parametrize("search", [greedy, lazy_greedy])
def test_a_search_goes_on_behind_what_is_done(search):
    rng = random.Random(1)
    costs = {name_of((b,)): rng.random() for b in stream(4)}
    whole = list(search(MadeUp(4, sums(costs)), SINGLE))
    for num in range(9):
        rest = list(search(MadeUp(4, sums(costs)), SINGLE, whole[:num]))
        assert order(rest) == order(whole[num:])
        assert [s.score for s in rest] == [s.score for s in whole[num:]]


@pytest.mark.parametrize(
    ("gone", "message"),
    [(["mha9"], "mha9, which this model does not have"), (["mha1", "mha1"], "mha1 twice")],
)
def test_steps_of_another_model_are_refused(gone: list[str], message: str):
    done = [Step((block(name),), 0.0) for name in gone]
    with pytest.raises(DataError, match=message):
        list(greedy(MadeUp(2), SINGLE, done))


# --------------------------------------------------------------------------------------------- lazy


def rising(seed: int):
    """Losses that never fall as more goes: costs, and costs of pairs."""
    rng = random.Random(seed)
    costs = {b: rng.random() for b in stream(5)}
    pairs = {frozenset((a, b)): rng.random() for a in stream(5) for b in stream(5) if a < b}

    def loss(gone: frozenset[Block]) -> float:
        return sum(costs[b] for b in sorted(gone)) + sum(
            pairs[p] for p in sorted(pairs, key=sorted) if p <= gone
        )

    return loss


@pytest.mark.parametrize("seed", range(5))
def test_lazy_finds_the_order_with_fewer_losses_where_none_falls(seed: int):
    plain = list(greedy(MadeUp(5, rising(seed)), SINGLE))
    lazy = list(lazy_greedy(MadeUp(5, rising(seed)), SINGLE))
    assert order(lazy) == order(plain)
    assert [s.score for s in lazy] == [s.score for s in plain]
    assert sum(s.evaluations for s in lazy) < sum(s.evaluations for s in plain)
    assert not any(s.num_fallen for s in lazy)
    for ours, theirs in zip(lazy[:-1], plain[:-1], strict=True):
        assert ours.margin <= theirs.margin + 1e-12


def test_lazy_keeps_the_tie_rule():
    steps = list(lazy_greedy(MadeUp(3, lambda gone: 1.0), SINGLE))
    assert order(steps) == ["mha0", "mha1", "mha2", "mlp0", "mlp1", "mlp2"]


def test_lazy_looks_at_a_bound_that_ties_with_the_best():
    # mha0 goes. Then mlp0's bound 1.5 is the lowest, but it costs 2 now, as mha1 does: attention.
    def loss(gone: frozenset[Block]) -> float:
        extra = 0.5 * ({block("mha0"), block("mlp0")} <= gone)
        return max(sums({"mha0": 1, "mlp0": 1.5, "mha1": 2})({b}) for b in gone) + extra

    for search in (greedy, lazy_greedy):
        assert order(search(MadeUp(2, loss), SINGLE))[:2] == ["mha0", "mha1"]


def falling(gone: frozenset[Block]) -> float:
    """Costs 1, 2, 3, 4; without mha0, mlp0 and mlp1 cost 1.5 and 2 less."""
    less = 1.5 * ({block("mha0"), block("mlp0")} <= gone)
    less += 2.0 * ({block("mha0"), block("mlp1")} <= gone)
    return sums({"mha0": 1, "mlp0": 2, "mha1": 3, "mlp1": 4.2})(gone) - less


def test_lazy_counts_falls_and_trusts_less_after_one(caplog):
    # mha0 goes (1). Bounds: mlp0 2, mha1 3, mlp1 4.2. mlp0 is 1 + .5 = 1.5: it fell by .5. The
    # next bound, 3 - .5, is above: one loss, although mlp1 fell too, to 3.2. Then mha1 is 4.5 and
    # bounds are distrusted by .5: mlp1's 4.2 - .5 <= 4.5, and it is 3.7: it fell by .5.
    steps = list(lazy_greedy(MadeUp(2, falling), SINGLE))
    assert order(steps) == ["mha0", "mlp0", "mlp1", "mha1"]
    assert [step.evaluations for step in steps] == [4, 1, 2, 1]
    assert [step.num_fallen for step in steps] == [0, 1, 1, 0]
    assert steps[1].margin == pytest.approx(3 - 0.5 - 1.5)
    assert "1 losses fell, by up to 0.5 nats" in caplog.text


def test_lazy_scores_what_was_not_finite_again():
    def loss(gone: frozenset[Block]) -> float:
        if gone == {block("mlp1")}:
            return inf
        return sums({"mha0": 1, "mlp1": 0.5})(gone)

    assert order(lazy_greedy(MadeUp(2, loss), SINGLE))[:2] == ["mha0", "mlp1"]


# ------------------------------------------------------------------------------------------- ranked


def test_a_ranking_is_by_score_then_by_tie_order():
    scores = {(b,): s for b, s in zip(stream(2), [2.0, 1.0, 1.0, nan], strict=True)}
    steps = list(ranked(scores, evaluations=4))
    assert order(steps) == ["mha1", "mlp0", "mha0"]
    assert [step.margin for step in steps] == [0.0, 1.0, None]
    assert [step.evaluations for step in steps] == [4, 0, 0]
    assert order(ranked(scores, steps[:1])) == ["mlp0", "mha0"]


def test_a_ranking_of_nothing_finite_is_refused():
    with pytest.raises(DataError, match="mha0: nan, mlp0: inf"):
        list(ranked(dict(zip([(b,) for b in stream(1)], [nan, inf], strict=True))))
    assert list(ranked({})) == []
