"""Windows: their places, their means, and the path through them."""

import itertools

import numpy as np
import pytest
import torch

from inarch.spans.crf import pair_marginals
from inarch.spans.windows import Marginals, averaged, best_path, windows

from .test_crf import random_crf, random_emissions


@pytest.mark.parametrize(
    ("num_tokens", "size", "expected"),
    [
        (0, 4, []),
        (3, 4, [(0, 3)]),
        (4, 4, [(0, 4)]),
        (5, 4, [(0, 4), (1, 5)]),
        (8, 4, [(0, 4), (2, 6), (4, 8)]),
        (9, 4, [(0, 4), (2, 6), (4, 8), (5, 9)]),
        (5, 3, [(0, 3), (1, 4), (2, 5)]),
    ],
)
def test_places(num_tokens, size, expected):
    assert windows(num_tokens, size) == expected


@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_every_pair_of_neighbours_is_in_a_window(size):
    for num_tokens in range(2, 40):
        found = windows(num_tokens, size)
        assert all(end - start <= size for start, end in found)
        for t in range(num_tokens - 1):
            assert any(start <= t and t + 1 < end for start, end in found)


def test_means_by_hand():
    # Three tokens in windows of two: the middle one is in both.
    first = Marginals(np.array([[0.9, 0.1], [0.4, 0.6]]), np.full((1, 2, 2), 0.25))
    second = Marginals(np.array([[0.8, 0.2], [0.7, 0.3]]), np.full((1, 2, 2), 0.5))
    found = averaged([(0, first), (1, second)], 3)
    np.testing.assert_allclose(found.tags_TK, [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    np.testing.assert_allclose(found.pairs_TKK[:, 0, 0], [0.25, 0.5])


def test_pairs_in_two_windows_are_means_too():
    # Four tokens in windows of three: the middle pair is in both.
    tags = np.full((3, 2), 0.5)
    first, second = (Marginals(tags, np.full((2, 2, 2), p)) for p in (0.2, 0.6))
    found = averaged([(0, first), (1, second)], 4)
    np.testing.assert_allclose(found.pairs_TKK[:, 0, 1], [0.2, 0.4, 0.6])


@pytest.mark.parametrize("num_tags", [2, 3])
def test_the_path_of_one_window_is_that_of_the_chain(num_tags):
    crf = random_crf(num_tags)
    emissions = random_emissions(40, 9, num_tags)
    lengths = torch.full((40,), 9)
    expected = crf.viterbi(emissions, lengths)
    tags, pairs = (
        part.exp().detach().numpy() for part in pair_marginals(emissions, lengths, crf.potentials)
    )
    for row in range(40):
        found = best_path(Marginals(tags[row], pairs[row]))
        assert found.tolist() == expected[row].tolist()


def test_the_path_is_the_best_of_all_paths():
    random = np.random.default_rng(0)
    pairs = random.dirichlet(np.ones(4), 3).reshape(3, 2, 2)
    tags = random.dirichlet(np.ones(2), 4)

    def score(path):
        total = sum(np.log(pairs[t, a, b]) for t, (a, b) in enumerate(itertools.pairwise(path)))
        return total - sum(np.log(tags[t, path[t]]) for t in (1, 2))

    best = max(itertools.product(range(2), repeat=4), key=score)
    assert tuple(best_path(Marginals(tags, pairs))) == best


def test_without_pairs_each_token_stands_alone():
    tags = np.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]])
    assert best_path(Marginals(tags, None)).tolist() == [0, 0, 1]
