"""The chain: against all K^T paths, against pytorch-crf, gradients, padding, extremes."""

import itertools

import numpy as np
import pytest
import torch

from inarch.spans.crf import Crf, pair_marginals


def random_crf(num_tags: int, seed: int = 0, **settings) -> Crf:
    torch.manual_seed(seed)
    crf = Crf(num_tags, **settings).double()
    for weight in crf.parameters():
        weight.data.normal_()
    return crf


def random_emissions(num_rows: int, length: int, num_tags: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, length, num_tags, generator=generator, dtype=torch.float64)


def score(crf: Crf, emissions_TK: torch.Tensor, path: tuple[int, ...]) -> float:
    """The score of one path, term by term."""
    start, way, end = (part.tolist() for part in crf.potentials)
    total = start[path[0]] + end[path[-1]]
    total += sum(emissions_TK[t][tag].item() for t, tag in enumerate(path))
    return total + sum(way[a][b] for a, b in itertools.pairwise(path))


def all_paths(crf: Crf, emissions_TK: torch.Tensor) -> dict[tuple[int, ...], float]:
    length, num_tags = emissions_TK.shape
    paths = itertools.product(range(num_tags), repeat=length)
    return {path: score(crf, emissions_TK, path) for path in paths}


@pytest.mark.parametrize("num_tags", [2, 3, 5])
@pytest.mark.parametrize("lengths", [(1, 1), (2, 1), (4, 2, 3), (5, 1, 0, 4)])
def test_agrees_with_all_paths(num_tags: int, lengths: tuple[int, ...]):
    crf = random_crf(num_tags)
    emissions = random_emissions(len(lengths), max(lengths), num_tags)
    padded = emissions.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = torch.nan  # padding is not looked at
    lengths_B = torch.tensor(lengths)
    tags = torch.randint(num_tags, padded.shape[:2], generator=torch.Generator().manual_seed(2))
    nll = crf.nll(padded, tags, lengths_B)
    marginals = crf.log_marginals(padded, lengths_B).exp()
    best = crf.viterbi(padded, lengths_B)
    unary, pairs = pair_marginals(emissions, lengths_B, crf.potentials)
    for row, length in enumerate(lengths):
        if length == 0:
            assert nll[row] == 0
            continue
        paths = all_paths(crf, emissions[row, :length])
        log_z = np.logaddexp.reduce(list(paths.values()))
        gold = score(crf, emissions[row], tuple(tags[row, :length].tolist()))
        assert nll[row].item() == pytest.approx(log_z - gold, abs=1e-12)
        assert tuple(best[row, :length].tolist()) == max(paths, key=paths.get)
        expected = np.zeros((length, num_tags))
        joint = np.zeros((max(length - 1, 0), num_tags, num_tags))
        for path, value in paths.items():
            for t, tag in enumerate(path):
                expected[t, tag] += np.exp(value - log_z)
            for t, (a, b) in enumerate(itertools.pairwise(path)):
                joint[t, a, b] += np.exp(value - log_z)
        np.testing.assert_allclose(marginals[row, :length].detach(), expected, atol=1e-13)
        np.testing.assert_allclose(unary[row, :length].exp().detach(), expected, atol=1e-13)
        np.testing.assert_allclose(pairs[row, : length - 1].exp().detach(), joint, atol=1e-13)


def test_a_chain_by_hand():
    # Two tokens, two tags, all scores 0 but the change 0 -> 1 (ln 3): Z = 1 + 3 + 1 + 1 = 6.
    crf = Crf(2).double()
    crf.transitions_KK.data[0, 1] = np.log(3)
    emissions, lengths = torch.zeros(1, 2, 2, dtype=torch.float64), torch.tensor([2])
    assert crf.nll(emissions, torch.tensor([[0, 1]]), lengths).item() == pytest.approx(np.log(2))
    assert crf.nll(emissions, torch.tensor([[1, 0]]), lengths).item() == pytest.approx(np.log(6))
    marginals = crf.log_marginals(emissions, lengths).exp()
    np.testing.assert_allclose(marginals[0].detach(), [[4 / 6, 2 / 6], [2 / 6, 4 / 6]])
    assert crf.viterbi(emissions, lengths).tolist() == [[0, 1]]


def test_agrees_with_pytorch_crf():
    torchcrf = pytest.importorskip("torchcrf")
    crf = random_crf(3)
    other = torchcrf.CRF(3, batch_first=True).double()
    other.start_transitions.data = crf.start_K.data.clone()
    other.end_transitions.data = crf.end_K.data.clone()
    other.transitions.data = crf.transitions_KK.data.clone()
    lengths = torch.tensor([7, 3, 1, 6])
    emissions = random_emissions(4, 7, 3).requires_grad_()
    tags = torch.randint(3, (4, 7), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < lengths[:, None]
    ours = crf.nll(emissions, tags, lengths)
    theirs = -other(emissions, tags, mask, reduction="none")
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    found = torch.autograd.grad(ours.sum(), [emissions, *crf.parameters()])
    expected = torch.autograd.grad(
        theirs.sum(),
        [emissions, other.start_transitions, other.end_transitions, other.transitions],
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    best = crf.viterbi(emissions, lengths)
    paths = other.decode(emissions, mask)
    assert [best[row, : len(path)].tolist() for row, path in enumerate(paths)] == paths


def test_gradients():
    crf = random_crf(3)
    emissions = random_emissions(3, 4, 3).requires_grad_()
    lengths, tags = torch.tensor([4, 1, 0]), torch.tensor([[0, 2, 1, 1]] * 3)
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

    def nll(emissions, start, end, transitions):
        return torch.func.functional_call(
            _Call(crf, "nll"), _named(start, end, transitions), (emissions, tags, lengths)
        ).mul(weights)

    def marginals(emissions, start, end, transitions):
        return torch.func.functional_call(
            _Call(crf, "log_marginals"), _named(start, end, transitions), (emissions, lengths)
        )

    inputs = (emissions, crf.start_K, crf.end_K, crf.transitions_KK)
    assert torch.autograd.gradcheck(nll, inputs)
    assert torch.autograd.gradcheck(marginals, inputs)


class _Call(torch.nn.Module):
    def __init__(self, crf: Crf, name: str) -> None:
        super().__init__()
        self.crf, self.name = crf, name

    def forward(self, *inputs):
        return getattr(self.crf, self.name)(*inputs)


def _named(start, end, transitions) -> dict:
    return {"crf.start_K": start, "crf.end_K": end, "crf.transitions_KK": transitions}


def test_without_potentials_it_is_a_softmax():
    crf = Crf(3)
    emissions, lengths = random_emissions(2, 5, 3).float(), torch.tensor([5, 3])
    tags = torch.randint(3, (2, 5), generator=torch.Generator().manual_seed(2))
    logps = emissions.log_softmax(-1)
    real = torch.arange(5) < lengths[:, None]
    found = crf.log_marginals(emissions, lengths)
    torch.testing.assert_close(found[real], logps[real], atol=1e-6, rtol=0)
    nll = -(logps.gather(2, tags[..., None])[..., 0] * real).sum(1)
    torch.testing.assert_close(crf.nll(emissions, tags, lengths), nll, atol=1e-5, rtol=0)
    assert torch.equal(crf.viterbi(emissions, lengths)[real], emissions.argmax(-1)[real])


def test_padding_and_other_rows_change_nothing():
    crf = random_crf(2).float()
    emissions, lengths = random_emissions(3, 6, 2).float(), torch.tensor([6, 2, 4])
    tags = torch.ones(3, 6, dtype=torch.int64)
    marginals = crf.log_marginals(emissions, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, one = emissions[row : row + 1, :length], torch.tensor([length])
        torch.testing.assert_close(crf.log_marginals(alone, one)[0], marginals[row, :length])
        nll = crf.nll(alone, tags[:1, :length], one)
        torch.testing.assert_close(nll[0], crf.nll(emissions, tags, lengths)[row])
        assert torch.equal(
            crf.viterbi(alone, one)[0], crf.viterbi(emissions, lengths)[row, :length]
        )


def test_gradients_do_not_see_padding():
    crf = random_crf(2).float()
    emissions, lengths = random_emissions(2, 5, 2).float(), torch.tensor([5, 2])
    emissions[1, 2:] = torch.inf
    for name in ("log_marginals", "nll"):
        given = emissions.clone().requires_grad_()
        tags = () if name == "log_marginals" else (torch.zeros(2, 5, dtype=torch.int64),)
        out = getattr(crf, name)(given, *tags, lengths)
        (out[:, 0, 1] if name == "log_marginals" else out).sum().backward()
        assert given.grad.isfinite().all()
        assert (given.grad[1, 2:] == 0).all()
        assert (given.grad[1, :2] != 0).any()


def test_what_is_forbidden_never_happens():
    crf = random_crf(3, forbidden=[(0, 2), (2, 1)]).float()
    emissions = 40 * random_emissions(16, 12, 3).float()
    emissions.requires_grad_()
    lengths = torch.full((16,), 12)
    best = crf.viterbi(emissions, lengths)
    pairs = set(zip(best[:, :-1].flatten().tolist(), best[:, 1:].flatten().tolist(), strict=True))
    assert len(pairs) > 3
    assert not pairs & {(0, 2), (2, 1)}
    log_marginals = crf.log_marginals(emissions, lengths)
    torch.testing.assert_close(log_marginals.exp().sum(-1), torch.ones(16, 12))
    _, joint = pair_marginals(emissions, lengths, crf.potentials)
    assert joint[..., 0, 2].exp().max() == 0
    crf.nll(emissions, best, lengths).sum().backward()
    assert emissions.grad.isfinite().all()
    assert crf.transitions_KK.grad[0, 2] == 0


def test_a_long_row_keeps_its_precision():
    # A chain of period 1 forgets its start: far from both ends all marginals are the same.
    crf = random_crf(2).float()
    emissions = torch.tensor([3.0, 2.0]).expand(1, 30_000, 2)
    found = crf.log_marginals(emissions, torch.tensor([30_000]))[0, 100:-100, 1]
    assert (found - found[0]).abs().max() < 1e-6


def test_rough_emissions_are_computed_in_float32():
    crf = random_crf(2).float()
    emissions, lengths = random_emissions(2, 9, 2).bfloat16(), torch.tensor([9, 4])
    tags = torch.zeros(2, 9, dtype=torch.int64)
    rough, fine = (crf.nll(e, tags, lengths) for e in (emissions, emissions.float()))
    assert rough.dtype == torch.float32
    assert torch.equal(rough, fine)
    assert crf.log_marginals(emissions, lengths).dtype == torch.float32


def test_no_tokens_at_all():
    crf = random_crf(2)
    emissions, lengths = torch.zeros(2, 0, 2, requires_grad=True), torch.tensor([0, 0])
    tags = torch.zeros(2, 0, dtype=torch.int64)
    nll = crf.nll(emissions, tags, lengths)
    assert nll.tolist() == [0, 0]
    nll.sum().backward()
    assert crf.viterbi(emissions, lengths).shape == (2, 0)
    assert crf.log_marginals(emissions, lengths).shape == (2, 0, 2)
