import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.train.plan import lr_scale, num_steps, row_order
from inarch.train.settings import TrainSettings


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.floats(0.1, 4), st.booleans(), st.integers(0, 99))
def test_every_epoch_has_every_row_once(
    num_rows: int, batch_size: int, epochs: float, by_length: bool, seed: int
) -> None:
    plan = TrainSettings(batch_size=batch_size, epochs=epochs, seed=seed)
    lengths = np.random.default_rng(seed).integers(1, 50, num_rows).tolist()
    order = row_order(num_rows, plan, lengths if by_length else None)
    assert len(order) == num_steps(num_rows, plan) * batch_size
    assert len(order) - batch_size < epochs * num_rows <= len(order)
    for start in range(0, len(order) - num_rows + 1, num_rows):
        assert sorted(order[start : start + num_rows]) == list(range(num_rows))


def test_a_seed_is_an_order() -> None:
    first, again, other = (
        row_order(50, TrainSettings(seed=seed, epochs=2)).tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first[:50] != first[50:100]  # epochs differ


def test_steps_by_length_are_full_of_one_length_across_epochs() -> None:
    # 10 rows of each of 7 lengths, 4 to a step: 70 is no multiple of 4, so epochs share a step.
    lengths = np.repeat(np.arange(7), 10)
    order = row_order(70, TrainSettings(batch_size=4, epochs=4), lengths.tolist())
    spread = [np.ptp(lengths[step]) for step in order.reshape(-1, 4)]
    assert np.mean(np.array(spread) <= 1) > 0.9
    plain = row_order(70, TrainSettings(batch_size=4, epochs=4)).reshape(-1, 4)
    assert np.mean([np.ptp(lengths[step]) <= 1 for step in plain]) < 0.3


def test_steps_by_length_come_in_no_order_of_length() -> None:
    # 50 steps of 4 rows are one window; sorted, its first half would have a mean of 49.5.
    order = row_order(200, TrainSettings(batch_size=4, epochs=1), list(range(200)))
    assert abs(np.mean(order[:100]) - 99.5) < 25


def test_max_steps_replaces_epochs() -> None:
    assert num_steps(1000, TrainSettings(max_steps=3, batch_size=10)) == 3
    assert num_steps(101, TrainSettings(epochs=1, batch_size=10)) == 11
    assert num_steps(600, TrainSettings(epochs=12, batch_size=32)) == 225


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        # 10 steps, 2 of them warm-up: 1/3, 2/3, then 8 steps from 1 towards the floor of 0.2
        ("linear", 0, 1 / 3),
        ("linear", 1, 2 / 3),
        ("linear", 2, 1.0),
        ("linear", 6, 0.2 + 0.8 * 1 / 2),
        ("linear", 9, 0.2 + 0.8 * 1 / 8),
        ("linear", 10, 0.2),
        ("cosine", 6, 0.2 + 0.8 * 1 / 2),
        ("cosine", 4, 0.2 + 0.8 * (1 + math.sqrt(1 / 2)) / 2),
        ("cosine", 10, 0.2),
    ],
)
def test_lr_by_hand(schedule: str, step: int, expected: float) -> None:
    plan = TrainSettings(schedule=schedule, warmup_frac=0.2, min_lr_frac=0.2)
    assert lr_scale(step, 10, plan) == pytest.approx(expected)


def test_a_constant_lr_warms_up_and_stays() -> None:
    plan = TrainSettings(schedule="constant", warmup_frac=0.2)
    assert [lr_scale(step, 10, plan) for step in (1, 2, 9)] == pytest.approx([2 / 3, 1, 1])


def test_no_step_is_without_learning() -> None:
    plan = TrainSettings(warmup_frac=0.5)
    assert min(lr_scale(step, 100, plan) for step in range(100)) > 0
