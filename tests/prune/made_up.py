"""A subject without a model, a plain search, and small rows for real models."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch.nn.functional import cross_entropy

from inarch.prune._blocks import BlockModel
from inarch.prune._order import Block, Unit
from inarch.prune._rows import Rows
from tests.prune.architectures import VOCAB


def block(name: str) -> Block:
    """``mha3`` as a block."""
    return Block(name[:3], int(name[3:]))


def stream(num_layers: int) -> tuple[Block, ...]:
    return tuple(Block(kind, layer) for layer in range(num_layers) for kind in ("mha", "mlp"))


class MadeUp:
    """A subject whose losses and measures are what a test says."""

    def __init__(
        self,
        num_layers: int,
        loss: Callable[[frozenset[Block]], float] = lambda gone: float(len(gone)),
        measure: Callable[[int, int], float] = lambda before, after: 0.0,
        similarity: Callable[[Sequence[tuple[int, tuple[int, ...]]]], float] = lambda folds: 0.0,
    ):
        self.blocks = stream(num_layers)
        self.loss, self.measure, self.similarity = loss, measure, similarity
        self.asked: list[tuple[frozenset[Block], list[Unit], int | None]] = []
        self.positions: list[str] = []
        self.folds: list[list[tuple[int, tuple[int, ...]]]] = []

    def losses(
        self, removed: Collection[Block], candidates: Sequence[Unit], *, top: int | None = None
    ) -> list[float]:
        self.asked.append((frozenset(removed), list(candidates), top))
        return [self.loss(frozenset(removed) | set(unit)) for unit in candidates]

    def margin_error(self, best: Unit, second: Unit) -> float | None:
        return None

    def contrast(self, places, measure, positions="all") -> list[float]:
        self.positions.append(positions)
        return [self.measure(before, after) for before, after in places]

    def folded_similarity(self, folds, formula) -> float:
        self.folds.append([tuple(fold) for fold in folds])
        return self.similarity(folds)


def sums(costs: dict[str, float], default: float = 10.0) -> Callable[[frozenset[Block]], float]:
    """A loss that is a sum of costs of the blocks that are gone."""
    by_block = {block(name): cost for name, cost in costs.items()}
    return lambda gone: sum(by_block.get(b, default) for b in sorted(gone))


# ------------------------------------------------------------------------------------ real models


def ragged_rows(seed: int = 0) -> Rows:
    """Five rows of twelve tokens: full ones, a short one, and two with tokens that do not count."""
    ids_ST = torch.randint(1, VOCAB, (5, 12), generator=torch.Generator().manual_seed(seed))
    supervised_ST = torch.ones(5, 12, dtype=torch.bool)
    supervised_ST[:, -1] = False
    supervised_ST[3, :2] = supervised_ST[3, 7:] = False
    supervised_ST[4, :3] = False
    supervised_ST[4, 6] = False
    return Rows(ids_ST, supervised_ST)


@torch.no_grad()
def plain_loss(model: BlockModel, rows: Rows, gone: Collection[Block], batch_rows: int) -> float:
    """The mean NLL of whole forwards: float32 logits, tokens added up in float64, row by row."""
    total = 0.0
    for first in range(0, len(rows.ids_ST), batch_rows):
        ids_BT = rows.ids_ST[first : first + batch_rows]
        with model.without(gone):
            logits_BTV = model.model(input_ids=ids_BT, use_cache=False).logits
        for i, ids_T in enumerate(ids_BT):
            counts_T = rows.supervised_ST[first + i]
            following_N = ids_T.roll(-1)[counts_T]
            nll_N = cross_entropy(logits_BTV[i][counts_T].float(), following_N, reduction="none")
            total += nll_N.double().sum().item()
    return total / int(rows.supervised_ST.sum())


def plain_search(
    model: BlockModel, rows: Rows, num_steps: int, batch_rows: int
) -> list[tuple[Block, dict[Block, float]]]:
    """The published algorithm, all candidates, whole forwards: what went, and all losses."""
    gone: list[Block] = []
    steps = []
    for _ in range(num_steps):
        losses: dict[Block, float] = {}
        best, least = None, float("inf")
        for kind in ("mha", "mlp"):
            for layer in range(model.num_layers):
                candidate = Block(kind, layer)
                if candidate not in gone:
                    loss = plain_loss(model, rows, [*gone, candidate], batch_rows)
                    losses[candidate] = loss
                    if loss < least:
                        best, least = candidate, loss
        assert best is not None
        gone.append(best)
        steps.append((best, losses))
    return steps
