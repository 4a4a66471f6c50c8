"""Parameters that have one value per model."""

import pytest

from inarch.errors import SettingsError
from inarch.merge._settings import per_model


def test_one_value_stands_for_all_models():
    assert per_model((0.5,), 3, "weight") == (0.5, 0.5, 0.5)
    assert per_model((1.0, 2.0), 2, "weight") == (1.0, 2.0)
    assert per_model((2.0,), 1, "weight") == (2.0,)


@pytest.mark.parametrize("values", [(), (1.0, 2.0), (1.0,) * 4])
def test_another_number_of_values_is_refused(values):
    with pytest.raises(SettingsError, match=f"density has {len(values)} values for 3 models"):
        per_model(values, 3, "density")
