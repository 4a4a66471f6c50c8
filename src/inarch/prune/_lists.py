"""The lists of removed blocks that the reference implementation of BlockPruner writes.

``{"1": [["mha", 25]], "2": [["mha", 25], ["mha", 27]], ...}``: what is gone after each removal,
sorted by layer. The order is what each entry adds to the one before.
"""

import json
from collections.abc import Iterable
from typing import Any

from inarch.errors import DataError
from inarch.prune._order import Block, Step, name_of


def read_list(text: str) -> list[Block]:
    """Return the blocks of a list in the order of their removal.

    An entry that repeats the one before is passed over: the reference writes it where no candidate
    had a finite perplexity.

    Raises:
        DataError: The text is no such list, or an entry does not add one block to the one before.
    """
    try:
        found = json.loads(text)
        entries = {int(count): {_block(pair) for pair in pairs} for count, pairs in found.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(
            f"this is no list of removed blocks ({error}); expected"
            ' {"1": [["mha", 25]], "2": [["mha", 25], ["mlp", 7]], ...}'
        ) from None
    order: list[Block] = []
    for count in sorted(entries):
        added, lost = entries[count] - set(order), set(order) - entries[count]
        if lost or len(added) > 1:
            raise DataError(
                f"entry {count} of the list adds {name_of(sorted(added)) or 'nothing'} and lacks"
                f" {name_of(sorted(lost)) or 'nothing'}; expected the entry before and one block"
                " more, as the order of removal is read from the differences"
            )
        order += added
    return order


def write_list(steps: Iterable[Step]) -> str:
    """Return the steps as the reference writes them, one entry for each block."""
    gone: list[Block] = []
    entries = {}
    for block in (block for step in steps for block in step.unit):
        gone.append(block)
        entries[str(len(gone))] = [list(b) for b in sorted(gone, key=lambda b: b.place)]
    return json.dumps(entries)


def _block(pair: Any) -> Block:
    kind, layer = pair
    if kind not in ("mha", "mlp") or type(layer) is not int or layer < 0:
        raise ValueError(f"found {json.dumps(pair)}")
    return Block(kind, layer)
