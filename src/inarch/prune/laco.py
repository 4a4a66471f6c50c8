"""LaCo: fold runs of layers into one while the last hidden states stay alike.

Source:   Yang et al., "LaCo: Large Language Model Pruning via Layer Collapse", arXiv:2402.11187,
          section 3, algorithm 1.
Differs:  the released code takes each difference to what the layer has become, so that all but the
          last layer of a run cancel out; that is ``formula: last``. Its norms stay those of the
          first layer, as here. A sweep that ends before the caller has enough begins again with a
          lower threshold, where the paper has a person choose one.
"""

from collections.abc import Iterator, Sequence

from pydantic import Field, PositiveFloat, PositiveInt

from inarch.errors import DataError
from inarch.prune._fold import folds_of
from inarch.prune._order import Step
from inarch.prune._search import removed_by
from inarch.prune._subject import Fold, Formula, Subject
from inarch.prune._units import by_layer
from inarch.settings import Settings


class LacoSettings(Settings):
    """The algorithm's C, L, H, I and T, by their names."""

    run: int = Field(default=4, ge=2)
    """Layers that become one (C). Released with 7 of 32 layers, 8 of 40."""
    lowest: int = Field(default=0, ge=0)
    """The first layer that others may go into (L)."""
    highest: PositiveInt | None = None
    """The sweep begins ``run`` layers below this one (H). None: the number of layers."""
    interval: PositiveInt = 2
    """Layers to step down after a fold (I)."""
    threshold: float = Field(default=0.75, gt=-1.0, lt=1.0)
    """Least cosine of the last hidden states, before and after (T). Released with 0.45 and
    0.58."""
    relax: PositiveFloat = 0.1
    """By how much the threshold falls for the next sweep."""
    formula: Formula = "sum"
    """How layers go into one: the paper's sum of differences, or ``last``, what is released."""


def laco(subject: Subject, settings: LacoSettings, done: Sequence[Step] = ()) -> Iterator[Step]:
    """Yield runs of layers that are folded into the layer ``step.into``; it takes their place.

    A sweep goes from the highest layer down. At layer l of what is left, the ``run - 1`` layers
    behind it are folded into it, ``w_l + sum_k (w_k - w_l)`` (see `inarch.prune._fold.fold`), and
    stay so if the last hidden states are, in the mean over rows, at a cosine above ``threshold``
    from those of the whole model. Then the sweep goes on ``interval`` layers lower, otherwise one.
    The score of a step is 1 less the cosine; ``evaluations`` counts the folds tried for it.

    Args:
        subject: The model; see `Subject`.
        settings: The algorithm's.
        done: Steps of an earlier run: their folds hold, and a new sweep begins.

    Raises:
        DataError: ``done`` is not of this model, or a similarity is no number.
        WeightsError: Layers differ in shape.
    """
    removed_by(done, subject)
    folds = folds_of(done)
    gone = {layer for fold in folds for layer in fold.layers}
    units = {unit[0].layer: unit for unit in by_layer(subject.blocks)}
    left = [layer for layer in units if layer not in gone]
    threshold = settings.threshold
    while threshold > -1.0 and len(left) > settings.lowest + 1:
        at = min(settings.highest or len(left), len(left)) - settings.run
        tried = 0
        while at >= settings.lowest:
            fold = Fold(left[at], tuple(left[at + 1 : at + settings.run]))
            tried += 1
            similarity = subject.folded_similarity([*folds, fold], settings.formula)
            if similarity != similarity:
                raise DataError(
                    f"the hidden states with layers {fold.layers} folded into layer {fold.into} are"
                    " no numbers; expected finite ones; check the weights and number format"
                )
            if similarity > threshold:
                unit = tuple(sorted(block for layer in fold.layers for block in units[layer]))
                yield Step(unit, 1 - similarity, evaluations=tried, into=fold.into)
                folds.append(fold)
                left = [layer for layer in left if layer not in fold.layers]
                at, tried = min(at - settings.interval, len(left) - settings.run), 0
            else:
                at -= 1
        threshold -= settings.relax
