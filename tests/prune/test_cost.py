"""The work of a search, counted ahead, against sums by hand and published orders."""

from random import Random

import pytest

from inarch.prune import _units
from inarch.prune._cost import num_passes, plain_work, search_work
from inarch.prune._lane import Work
from inarch.prune._order import Block
from inarch.prune._states import Places
from inarch.prune.settings import SearchSettings
from tests.prune.made_up import stream
from tests.prune.recorded import ORDERS

SINGLE = _units.single("mix", ())
PREFIX = SearchSettings(reuse_winner=False, reuse_candidates=False)
WINNER = SearchSettings(reuse_candidates=False)


@pytest.mark.parametrize(
    ("candidates", "steps", "passes"),
    [(24, 6, 129), (64, 17, 952), (64, 20, 1090), (80, 24, 1644), (64, 18, 999), (80, 26, 1755)],
)
def test_passes_are_those_of_the_paper(candidates: int, steps: int, passes: int):
    assert num_passes(candidates, steps) == passes


def order_by_lot(num_layers: int, num_steps: int, seed: int) -> list[tuple[Block, ...]]:
    return [(b,) for b in Random(seed).sample(stream(num_layers), num_steps)]


def behind(order, step: int, place: int, num_layers: int) -> int:
    """Survivors behind a place after ``step`` removals."""
    gone = {b for unit in order[:step] for b in unit}
    return sum(b.place > place and b not in gone for b in stream(num_layers))


@pytest.mark.parametrize("seed", range(4))
def test_blocks_run_are_those_of_the_sums(seed: int):
    num_layers, num_steps = 6, 5
    num = 2 * num_layers
    order = order_by_lot(num_layers, num_steps, seed)
    blocks = stream(num_layers)
    left = range(num, num - num_steps, -1)
    heads = num_passes(num, num_steps)

    plain = plain_work(blocks, order, SINGLE)
    assert (plain.blocks, plain.heads) == (sum(n * (n - 1) for n in left), heads)

    # From the kept state in front of a candidate on: half of it. The base goes through all blocks
    # once, and from the last removal on in later steps.
    half = sum(n * (n - 1) // 2 for n in left)
    base = num + sum(
        behind(order, step, order[step - 1][0].place, num_layers) for step in range(1, num_steps)
    )
    assert search_work(blocks, order, SINGLE, PREFIX).blocks == half + base
    assert search_work(blocks, order, SINGLE, WINNER).blocks == half + num

    # Candidates in front of the last removal start at it, those behind it at themselves.
    full = num + num * (num - 1) // 2
    for step in range(1, num_steps):
        last = order[step - 1][0].place
        gone = {b for unit in order[:step] for b in unit}
        full += sum(
            behind(order, step, max(b.place, last), num_layers) for b in blocks if b not in gone
        )
    work = search_work(blocks, order, SINGLE, SearchSettings())
    assert (work.blocks, work.heads) == (full, heads)


def test_kinds_are_counted_apart():
    # One step, 2 layers, 4 candidates: each leaves 3 survivors.
    work = plain_work(stream(2), [(Block("mha", 0),)], SINGLE)
    assert work == Work(mha=6, mlp=6, heads=4)
    # Only attention may go: 2 candidates, each 1 attention and 2 feed-forward blocks.
    work = plain_work(stream(2), [(Block("mha", 0),)], _units.single("mha", ()))
    assert work == Work(mha=2, mlp=4, heads=2)


def test_one_place_saves_what_lies_in_front_of_it():
    # Two steps in 3 layers (places 0 ... 5), states at place 2 alone, the first to go is at 4.
    # Base: 6. Step 1: candidates at 0 and 1 run all but themselves (5), at 2 ... 5 from 2 on but
    # themselves (3): 22. Step 2: 0 and 1 start at 2, where 2, 3 and 5 are left; 2, 3 and 5 leave
    # two of these: 12. The base's state at 2 still holds.
    order = [(Block("mha", 2),), (Block("mha", 1),)]
    at_2 = frozenset({2})
    work = search_work(stream(3), order, SINGLE, SearchSettings(), Places(at_2, at_2))
    assert work.blocks == 6 + 22 + 12


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_saved_on_the_published_orders(name: str):
    # Multiplications per token of Llama-2-7B: attention with 1024 other tokens in the mean.
    mha, mlp, head = 4 * 4096**2 + 2 * 4096 * 1024, 3 * 4096 * 11008, 32000 * 4096

    def cost(work: Work) -> float:
        return work.mha * mha + work.mlp * mlp + work.heads * head

    order, blocks = [(b,) for b in ORDERS[name][:17]], stream(32)
    plain = cost(plain_work(blocks, order, SINGLE))
    found = [
        plain / cost(search_work(blocks, order, SINGLE, settings))
        for settings in (PREFIX, WINNER, SearchSettings())
    ]
    assert found == pytest.approx([1.89, 1.91, 3.73], abs=0.01)
