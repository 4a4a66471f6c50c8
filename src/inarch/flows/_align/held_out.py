"""Loss and metrics of a preference method on rows that are not trained on."""

from typing import Any

from inarch.align._examples import PreferenceData, collator
from inarch.align._layout import Layout
from inarch.align._objective import preference_loss
from inarch.align._reference import Products, stored
from inarch.flows._align.settings import AlignRun

_ROWS = 8
"""Rows of one forward."""


def means(
    settings: AlignRun, data: PreferenceData, model: Any, products: Products, layout: Layout
) -> dict[str, float]:
    """Return the means over the items of the data, with alpha as at the end of training.

    So the numbers of all runs, and of a model before and after, can be compared.

    Args:
        settings: Give the method.
        data: The rows, with stored log-probs if the method needs a reference.
        model: The model, in evaluation mode.
        products: As in training.
        layout: As in training.
    """
    method = settings.method.method
    loss = preference_loss(method, settings.method.own(), stored if method.reference else None)
    collate = collator(method.items, layout)
    sums: dict[str, float] = {}
    num_items = 0
    for start in range(0, len(data), _ROWS):
        examples = [data[i] for i in range(start, min(start + _ROWS, len(data)))]
        batch = {name: value.to(model.device) for name, value in collate(examples).items()}
        with products.on(model.device):
            found = loss(model, batch, 1.0)
        num_items += int(batch["num_items"])
        for name, value in {"loss": found.loss, **found.metrics}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: value / num_items for name, value in sums.items()}
