"""Deepest: take out a run of deep layers through which the last token's state turns least.

Source:   Gromov et al., arXiv:2403.17887, section 3.2 (angular distance) and 4.4 (the simpler
          strategy: the deepest layers but the last).
Differs:  with `num_layers` the layers of the run go one by one, the deepest first, so that every
          method yields an order; the last layer always stays.
"""

from collections.abc import Iterator, Sequence

from pydantic import PositiveInt

from inarch.errors import SettingsError
from inarch.prune._measures import angle
from inarch.prune._order import Step
from inarch.prune._search import removed_by
from inarch.prune._subject import Subject
from inarch.prune._units import by_layer
from inarch.settings import Settings


class DeepestSettings(Settings):
    """Which run."""

    num_layers: PositiveInt | None = None
    """Length of the run that is looked for by angular distance. None: the layers in front of the
    last one, deepest first, however many the target needs."""


def deepest(
    subject: Subject, settings: DeepestSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield the layers of a run, the deepest first.

    The angular distance ``arccos(cos(x_l, x_m)) / pi`` is between the states in front of layers l
    and m at the last token of a row, and its mean over rows is what a run l ... m - 1 costs. With
    ``num_layers`` the run of least distance goes, the first of equals; otherwise that in front of
    the last layer. The score of a step is the distance over what is removed with it: the part of
    the run from its layer on.

    Args:
        subject: The model; see `Subject`.
        settings: Which run.
        done: Steps of an earlier run.

    Raises:
        SettingsError: The run is longer than the layers in front of the last one.
        DataError: ``done`` is not of this model.
    """
    gone = removed_by(done, subject)
    units = by_layer(subject.blocks)[:-1]
    num = settings.num_layers or len(units)
    if num > len(units):
        raise SettingsError(
            f"num_layers: found {num}, expected at most {len(units)}: the layers but the last"
        )
    firsts = range(len(units) - num + 1)
    inputs = [2 * unit[0].layer for unit in by_layer(subject.blocks)]
    costs = subject.contrast([(inputs[i], inputs[i + num]) for i in firsts], angle, "last")
    first = min(firsts, key=lambda i: costs[i])
    run = range(first, first + num)
    scores = subject.contrast([(inputs[i], inputs[first + num]) for i in run], angle, "last")
    for i, score in reversed(list(zip(run, scores, strict=True))):
        if not gone & set(units[i]):
            yield Step(units[i], score)
