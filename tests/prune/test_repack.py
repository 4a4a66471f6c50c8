"""Survivors as whole layers: the recorded lists, sequences by hand, and another way to count."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.prune._order import Block
from inarch.prune._repack import Slot, left_out, repack

LISTS = {
    "ns32": "mha27,25,28,23,24,29,7 mlp6 mha18,19 mlp26 mha30,21 mlp23,24 mha12 mlp12,9 mha10"
    " mlp18",
    "ns64": "mha25,27,24,23,28,29,8 mlp7 mha19,30 mlp22 mha21 mlp27 mha18 mlp21,11 mha12,14"
    " mlp14,24",
}
"""The published orders of removal of Llama-2-7B, 20 blocks of 64 each."""


def order(text: str) -> list[Block]:
    """``"mha3,1 mlp0"`` as blocks in the order of removal."""
    words = [(word[:3], word[3:].split(",")) for word in text.split()]
    return [Block(kind, int(layer)) for kind, layers in words for layer in layers]


def blocks(text: str) -> set[Block]:
    return set(order(text))


@pytest.mark.parametrize("name", LISTS)
def test_recorded_lists_take_the_published_numbers_of_layers(name: str):
    gone = order(LISTS[name])
    counts = {k: len(repack(32, gone[:k])) for k in (6, 8, 12, 15, 17, 20)}
    assert counts == {6: 32, 8: 31, 12: 30, 15: 28, 17: 27, 20: 25}


@pytest.mark.parametrize("name", LISTS)
def test_recorded_lists_leave_no_lone_attention_but_attention_pads(name: str):
    gone = order(LISTS[name])
    pads = {
        k: [kind for slot in repack(32, gone[:k]) for kind in slot.pads] for k in (6, 12, 17, 20)
    }
    assert {kind for kinds in pads.values() for kind in kinds} == {"mha"}
    # 12 of 64 removed, 30 layers of two: 60 places for 52 blocks. 17: 54 for 47; 20: 50 for 44.
    assert {k: len(kinds) for k, kinds in pads.items()} == {6: 6, 12: 8, 17: 7, 20: 6}


@pytest.mark.parametrize(
    ("removed", "slots"),
    [
        ("", [(0, 0), (1, 1), (2, 2)]),
        # M0 A1 gone: A0 is followed by M1.
        ("mlp0 mha1", [(0, 1), (2, 2)]),
        # A0 gone, M0 comes first and has nothing before it; A1 M1 A2 M2 stay as they are.
        ("mha0", [(None, 0), (1, 1), (2, 2)]),
        # M1 gone: A1 is followed by A2.
        ("mlp1", [(0, 0), (1, None), (2, 2)]),
        # A1 gone: M1 follows M0, which has its attention.
        ("mha1", [(0, 0), (None, 1), (2, 2)]),
        ("mlp2", [(0, 0), (1, 1), (2, None)]),
        ("mlp0 mlp1 mha2", [(0, None), (1, 2)]),
        ("mlp0 mha1 mlp1 mha2", [(0, 2)]),
        ("mha0 mlp0", [(1, 1), (2, 2)]),
        ("mha0 mlp0 mha1 mlp1 mha2 mlp2", []),
    ],
)
def test_slots_by_hand(removed: str, slots: list[tuple]):
    assert repack(3, blocks(removed)) == tuple(Slot(*slot) for slot in slots)


def test_parallel_blocks_pair_within_their_layer_only():
    # A0 and M1 read different streams when both are parallel to another block.
    assert repack(3, blocks("mlp0 mha1"), parallel=True) == (Slot(0, None), Slot(None, 1), (2, 2))


def test_a_slot_names_its_pads():
    assert Slot(0, None).pads == ("mlp",)
    assert Slot(None, 0).pads == ("mha",)
    assert Slot(0, 1).pads == ()


def test_formats_leave_out_what_they_can():
    slots = [Slot(None, 0), Slot(1, 2), Slot(None, 3), Slot(4, None)]
    assert left_out(slots, "plain") == set()
    assert left_out(slots, "native") == {("mha", 0), ("mha", 2), ("mlp", 3)}
    assert left_out(slots, "gguf-safe") == {("mha", 2)}


@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, 2 * n - 1))))
)
def test_the_order_stays_and_no_two_layers_could_be_one(case: tuple[int, set[int]]):
    num_layers, places = case
    removed = {Block(("mha", "mlp")[place % 2], place // 2) for place in places}
    slots = repack(num_layers, removed)
    stream = [(kind, i) for slot in slots for kind, i in slot._asdict().items() if i is not None]
    assert stream == [
        (kind, i) for i in range(num_layers) for kind in ("mha", "mlp") if (kind, i) not in removed
    ]
    # Counted by another way: a layer is an A with the M behind it, or one letter alone.
    letters = "".join("AM"[kind == "mlp"] for kind, _ in stream)
    assert len(slots) == len(re.findall("AM|A|M", letters))
