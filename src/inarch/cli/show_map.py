"""A map of layers and matrices on the screen."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from inarch.cli import show
from inarch.report.layers import LayerMap, brief

_LABEL_WIDTH, _CELL_WIDTH = 12, 5
_ENDS = {False: (10, 95, 165), True: (179, 71, 0)}
"""Colours of the largest number, and of the largest below zero."""


def print_map(title: str, shown: LayerMap, largest: float) -> None:
    """Print a map as tables that fit the screen; the colour of a cell is its share of `largest`.

    Tensors outside of layers are in the first column, which belongs to no matrix. Small numbers are
    printed in units of a power of ten.
    """
    unit = 1.0 if largest == 0 or largest >= 0.01 else 10.0 ** math.floor(math.log10(largest))
    show.output.print(Text(title if unit == 1 else f"{title}, in units of {unit:g}", "bold"))
    numbers = [number / unit for number in shown.numbers]
    digits = next(d for d in (3, 2, 1, 0) if d == 0 or max(_width(numbers, d)) <= _CELL_WIDTH)
    width = max(_CELL_WIDTH, *_width(numbers, digits))
    per_table = max(1, (show.output.width - _LABEL_WIDTH - width - 2) // (width + 1))
    for start in range(0, len(shown.columns) or 1, per_table):
        columns = shown.columns[start : start + per_table]
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("layer", max_width=_LABEL_WIDTH, overflow="fold")
        for column in ("", *columns):
            table.add_column(brief(column), width=width, justify="right", overflow="fold")
        for name, values in shown.rows:
            if isinstance(values, tuple):
                part = values[start : start + per_table]
                table.add_row(name, "", *(_cell(v, unit, largest, (width, digits)) for v in part))
            elif start == 0:
                table.add_row(name, _cell(values, unit, largest, (width, digits)))
        show.output.print(table)
        show.output.print()


def _width(numbers: Sequence[float], digits: int) -> list[int]:
    return [len(f"{number:.{digits}f}") for number in (*numbers, 0.0)]


def _cell(value: float | None, unit: float, largest: float, form: tuple[int, int]) -> Text:
    if value is None:
        return Text("–", "dim")
    width, digits = form
    share = abs(value) / largest if largest > 0 else 0.0
    red, green, blue = (round(255 + share * (end - 255)) for end in _ENDS[value < 0])
    ink = 255 if share > 0.7 else 0
    text = f"{value / unit:.{digits}f}".rjust(width)
    return Text(text, f"rgb({ink},{ink},{ink}) on rgb({red},{green},{blue})")
