"""The area's names, which are loaded when they are first used."""

import pytest

from inarch import evaluate


def test_every_name_leads_to_what_it_names():
    for name in evaluate.__all__:
        assert getattr(evaluate, name).__name__ == name
    assert sorted(evaluate.__all__) == sorted(evaluate._MODULE_OF)
    with pytest.raises(AttributeError, match="no attribute 'wrong'"):
        evaluate.wrong  # noqa: B018
