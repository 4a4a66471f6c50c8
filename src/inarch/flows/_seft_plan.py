"""What a run of SEFT will take, before it starts."""

from inarch.flows._seft_settings import SeftRun


def plan(settings: SeftRun) -> dict[str, object]:
    """Return what a run will take."""
    return {"rounds": [one.reviser for one in settings.rounds]}
