import pytest
from pydantic import ValidationError

from inarch.fuse import FuseSettings
from inarch.settings import to_dict


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting": "released"}, "weighting has no effect here; it needs method: avgce"),
        ({"method": "avgce", "weighting": "released", "spread": 2.0}, "spread has no effect"),
        ({"method": "avgce", "when_target_wins": "gold"}, "when_target_wins has no effect"),
        ({"include_target": False, "when_target_wins": "gold"}, "needs include_target: true"),
        ({"objective": "uld", "tail": "ignore"}, "tail has no effect"),
        ({"method": "avgce", "objective": "chunk"}, "follows one teacher"),
        ({"objective": "jsd", "tail": "ignore"}, "needs whole distributions"),
        ({"floor": 1.0, "compare": "token"}, "nats per byte"),
        ({"lambda": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        FuseSettings(**settings)


def test_all_defaults_written_out_are_fine():
    assert FuseSettings(**to_dict(FuseSettings())) == FuseSettings()
