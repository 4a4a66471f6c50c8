"""What every part of prune speaks of."""

from inarch.prune._order import Block, name_of


def test_blocks_sort_as_published_and_know_their_place_in_the_stream():
    blocks = [Block("mlp", 0), Block("mha", 2), Block("mha", 1), Block("mlp", 1)]
    assert name_of(sorted(blocks)) == "mha1+mha2+mlp0+mlp1"
    assert name_of(sorted(blocks, key=lambda b: b.place)) == "mlp0+mha1+mlp1+mha2"
    assert [block.place for block in blocks] == [1, 4, 2, 3]
