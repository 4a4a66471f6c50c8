"""Log-probs without models: those of the golden values, and random ones."""

import torch

from inarch.records import PairLengths, PairLogps, TripleLengths, TripleLogps

POLICY = ((-21.5, -30.25), (-12.0, -18.5), (-14.0, -16.75))
"""The source's answers, the target's best and its worst, two rows each."""
REFERENCE = ((-23.0, -29.0), (-12.5, -18.0), (-13.0, -17.25))
LENGTHS = ((10, 12), (6, 8), (5, 9))


def golden_triples(dtype: torch.dtype = torch.float64) -> tuple[TripleLogps, TripleLogps]:
    policy, reference = (
        TripleLogps(*(torch.tensor(row, dtype=dtype) for row in rows))
        for rows in (POLICY, REFERENCE)
    )
    return policy._replace(lengths=TripleLengths(*map(torch.tensor, LENGTHS))), reference


def golden_pairs(dtype: torch.dtype = torch.float64) -> tuple[PairLogps, PairLogps]:
    """The target's own answers."""
    return target_pair(golden_triples(dtype)[0]), target_pair(golden_triples(dtype)[1])


def target_pair(triples: TripleLogps) -> PairLogps:
    lengths = triples.lengths and PairLengths(*triples.lengths[1:])
    return PairLogps(triples.target_B, triples.rejected_B, lengths)


def source_pair(triples: TripleLogps) -> PairLogps:
    lengths = triples.lengths and PairLengths(triples.lengths[0], triples.lengths[2])
    return PairLogps(triples.source_B, triples.rejected_B, lengths)


def random_triples(
    seed: int = 0, num: int = 7, spread: float = 5.0
) -> tuple[TripleLogps, TripleLogps]:
    """Policy and reference in float64; the policy's leaves want gradients."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return torch.randn(num, generator=generator, dtype=torch.float64)

    reference = TripleLogps(*(-30 - 8 * normal().abs() for _ in range(3)))
    policy = TripleLogps(*((x + spread * normal()).clamp(max=-0.1) for x in reference[:3]))
    lengths = (torch.randint(1, 20, (num,), generator=generator) for _ in range(3))
    leaves = TripleLogps(*(x.requires_grad_() for x in policy[:3]), TripleLengths(*lengths))
    return leaves, reference


def random_pairs(seed: int = 0, num: int = 7, spread: float = 5.0) -> tuple[PairLogps, PairLogps]:
    policy, reference = random_triples(seed, num, spread)
    return target_pair(policy), target_pair(reference)
