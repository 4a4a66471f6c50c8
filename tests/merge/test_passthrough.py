"""One model as it is."""

import pytest

from inarch.errors import SettingsError
from inarch.merge.passthrough import PassthroughSettings, passthrough

from .merging import f32, merged, oracle
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models


def run(models, base=None, **settings):
    return merged(passthrough, PassthroughSettings(**settings), models, base)


def test_every_bit_stays():
    model = f32([-0.0, 1e-45, 3.4e38, 0.1])
    assert_same_bits(run([model]), model)
    assert_same_bits(run([model], base=model + 1), model)


def test_scale_by_hand():
    assert run([f32([1, -2])], scale=(0.5,)).tolist() == [0.5, -1]
    assert run([f32([1, -2])], scale=(0.0,)).tolist() == [0, 0]


def test_more_than_one_model_is_refused():
    with pytest.raises(SettingsError, match=r"passthrough takes 1 model\(s\), not 2"):
        run(far_models(2, (3,)))
    with pytest.raises(SettingsError, match="scale has 2 values for 1 models"):
        run(far_models(1, (3,)), scale=(1.0, 2.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape):
    models = far_models(1, shape)
    assert_same_bits(run(models), oracle("passthrough", models, None))
    theirs = oracle("passthrough", models, None, scale=0.3)
    assert_same_bits(run(models, scale=(0.3,)), theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    models = far_models(1, shape)
    assert_same_everywhere(passthrough, PassthroughSettings(scale=(0.3,)), models, None, exact=True)
