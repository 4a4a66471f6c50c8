"""What kinds of mistakes predicted spans are, counted over groups of spans that overlap.

exact                        one span each, the same
longer, shorter, crossing    one span each: the predicted one holds the gold one, is held by it,
                             or neither
joined, split, mixed         several gold spans and one predicted; one and several; several both
missed                       a gold span that no predicted one overlaps
added                        a predicted span that no gold one overlaps
added to empty               the same, in a post without a gold span
"""

from collections import Counter
from collections.abc import Sequence

from inarch.spans.metric import Offsets
from inarch.spans.offsets import runs

KINDS = (
    *("exact", "longer", "shorter", "crossing", "joined", "split", "mixed"),
    *("missed", "added", "added to empty"),
)
Range = tuple[int, int]


def error_kinds(predicted: Sequence[Offsets], gold: Sequence[Offsets]) -> dict[str, int]:
    """Return how many groups of spans are of each kind; all kinds are there, in their order.

    Args:
        predicted: Characters per post; spans are their runs.
        gold: The same.
    """
    counts: Counter[str] = Counter()
    for found, wanted in zip(predicted, gold, strict=True):
        theirs, ours = runs(wanted), runs(found)
        kinds = [_kind(*group) for group in _groups(theirs, ours)]
        counts.update(kind if theirs else "added to empty" for kind in kinds)
    return {kind: counts[kind] for kind in KINDS}


def _groups(gold: list[Range], predicted: list[Range]) -> list[tuple[list[Range], list[Range]]]:
    """Return the spans that overlap each other, directly or over others, as (gold, predicted)."""
    groups: list[tuple[list[Range], list[Range]]] = []
    end = -1
    for start, last, side in sorted([(*r, 0) for r in gold] + [(*r, 1) for r in predicted]):
        if start >= end:
            groups.append(([], []))
        groups[-1][side].append((start, last))
        end = max(end, last)
    return groups


def _kind(gold: list[Range], predicted: list[Range]) -> str:
    if not gold or not predicted:
        return "missed" if gold else "added"
    if len(gold) > 1 or len(predicted) > 1:
        return "joined" if len(predicted) == 1 else "split" if len(gold) == 1 else "mixed"
    (start, end), (first, last) = gold[0], predicted[0]
    if (start, end) == (first, last):
        return "exact"
    if first <= start and end <= last:
        return "longer"
    return "shorter" if start <= first and last <= end else "crossing"
