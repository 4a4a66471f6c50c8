"""Deepest: a run of layers in front of the last, by the angle between its ends."""

import pytest

from inarch.errors import SettingsError
from inarch.prune.deepest import DeepestSettings, deepest
from tests.prune.made_up import MadeUp

ANGLES = {(0, 4): 0.3, (2, 6): 0.1, (4, 8): 0.2, (4, 6): 0.05, (6, 8): 0.15, (2, 8): 0.4}
ANGLES |= {(0, 8): 0.6}


def subject() -> MadeUp:
    return MadeUp(5, measure=lambda before, after: ANGLES[before, after])


def steps(num_layers: int | None, done=()) -> list[tuple[int, float]]:
    found = deepest(subject(), DeepestSettings(num_layers=num_layers), done)
    return [(step.unit[0].layer, step.score) for step in found]


def test_without_a_length_the_layers_but_the_last_go_from_behind():
    # The score is the angle from the layer's input to the input of the last layer, 8.
    assert steps(None) == [(3, 0.15), (2, 0.2), (1, 0.4), (0, 0.6)]


def test_with_a_length_the_run_of_least_angle_goes():
    # Of 0 ... 4, 2 ... 6, 4 ... 8 the second turns least; runs that hold the last layer are none.
    assert steps(2) == [(2, 0.05), (1, 0.1)]
    assert steps(4) == steps(None)


def test_whole_layers_go_and_only_the_last_token_is_asked_for():
    made = subject()
    (first, *_) = deepest(made, DeepestSettings(num_layers=2))
    assert [block.kind for block in first.unit] == ["mha", "mlp"]
    assert set(made.positions) == {"last"}


def test_resumption_and_bounds():
    done = list(deepest(subject(), DeepestSettings()))[:3]
    assert steps(None, done) == [(0, 0.6)]
    with pytest.raises(SettingsError, match="found 5, expected at most 4"):
        steps(5)
