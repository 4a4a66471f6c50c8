"""Whether a checkpoint's format has swallowed what training changed.

A change that is small beside its weight is rounded away when the checkpoint is saved: of changes of
size 1e-5 to weights of size .02, bfloat16 keeps one in eight. Methods that weigh models by how much
they changed then see less change than there was, and in the wrong proportion (facts: .12 and .88
instead of .2 and .8).
"""

from collections.abc import Sequence

import numpy as np

from inarch.merge._jobs import Job
from inarch.merge._stack import row_length

NUM_TENSORS, NUM_ELEMENTS = 8, 1 << 16
LEAST_SHARE = 0.4
"""Of unchanged weights in tensors that did change; below it, coefficients are off by less than .02
(changes of 1e-4 and 2e-4 lose .32 and .17, and give .21 and .79)."""
COARSE = ("BF16", "F16", "F8_E4M3", "F8_E5M2")


def rounding_notes(jobs: Sequence[Job]) -> list[str]:
    """Return a sentence for each model whose changes against the base were largely rounded away.

    A stretch of each of a few matrices is looked at. Matrices without any change are left out: they
    were not trained.
    """
    matrices = [
        job for job in jobs if job.base and not job.copy and len(job.shape) > 1 and all(job.shape)
    ]
    sample = matrices[:: max(len(matrices) // NUM_TENSORS, 1)][:NUM_TENSORS]
    shares: dict[tuple[str, str], list[float]] = {}
    for job in sample:
        assert job.base is not None  # noqa: S101
        row = row_length(job.shape)
        size = min(max(NUM_ELEMENTS // row, 1), job.shape[0]) * row
        base, model = np.empty(size, np.float32), np.empty(size, np.float32)
        job.base.fill(0, base)
        for source in job.models:
            source.fill(0, model)
            unchanged = float((model == base).mean())
            if unchanged < 1 and source.dtype in COARSE:
                shares.setdefault((source.label, source.dtype), []).append(unchanged)
    means = {key: sum(found) / len(found) for key, found in shares.items()}
    return [
        f"{label}: {mean:.0%} of the weights in a sample equal the base's, as {dtype} rounds small "
        "changes away. Weights by change are off then; merge from float32 checkpoints."
        for (label, dtype), mean in means.items()
        if mean >= LEAST_SHARE
    ]
