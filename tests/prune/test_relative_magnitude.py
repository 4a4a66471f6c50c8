"""Relative magnitude: layers by how much they add."""

import pytest

from inarch.prune._blocks import BlockModel
from inarch.prune._score import ModelSubject
from inarch.prune.relative_magnitude import RelativeMagnitudeSettings, relative_magnitude
from inarch.prune.settings import SearchSettings
from tests.prune.architectures import tiny
from tests.prune.made_up import MadeUp, ragged_rows

MAGNITUDES = {(0, 2): 0.5, (2, 4): 0.1, (4, 6): 1.4}


def layers(done=(), **settings) -> list[int]:
    subject = MadeUp(3, measure=lambda before, after: MAGNITUDES[before, after])
    steps = relative_magnitude(subject, RelativeMagnitudeSettings(**settings), done)
    return [step.unit[0].layer for step in steps]


def test_the_layer_that_adds_least_goes_first():
    assert layers() == [1, 0, 2]
    assert layers(protect=(1,)) == [0, 2]


def test_on_a_model_it_is_what_is_added_over_the_output():
    model, rows = BlockModel.of(tiny("gpt2")), ragged_rows()
    subject = ModelSubject(model, rows, SearchSettings())
    steps = list(relative_magnitude(subject, RelativeMagnitudeSettings()))
    assert [s.score for s in steps] == sorted(s.score for s in steps)
    hidden = model.states({"input_ids": rows.ids_ST})
    for step in steps:
        total, num = 0.0, 0
        for row, length in enumerate((12, 12, 12, 8, 12)):
            for t in range(length):
                x, y = (hidden[step.unit[0].layer + i][row, t].double() for i in (0, 1))
                total, num = total + ((y - x).norm() / y.norm()).item(), num + 1
        assert step.score == pytest.approx(total / num, rel=1e-5)
