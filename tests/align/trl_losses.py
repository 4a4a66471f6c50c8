"""TRL's losses on given log-probs: its trainers' own code, around a model that is a table."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

trl = pytest.importorskip("trl")

ACCELERATOR = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
)


def tokens(seed: int = 0, num: int = 5, width: int = 9) -> tuple[Tensor, Tensor]:
    """Log-probs of answers' tokens, 0 elsewhere, ``[2 num, width]``, and where they are."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (2 * num,), generator=generator)
    mask = torch.arange(width) < lengths[:, None]
    logps = -2 * torch.rand(2 * num, width, generator=generator, dtype=torch.float64)
    return logps * mask, mask


def trl_pairs(
    logps: Tensor, reference: Tensor, mask: Tensor, loss_type: str, beta: float
) -> tuple[Tensor, dict[str, float]]:
    """Return DPOTrainer's loss and metrics; rows are chosen, then rejected."""
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer = _trainer(
        beta=beta,
        loss_types=[loss_type],
        loss_weights=[1.0],
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        label_smoothing=0.0,
        use_weighting=False,
    )
    ref_chosen, ref_rejected = reference.sum(1).chunk(2)
    inputs = _inputs(mask) | {"ref_chosen_logps": ref_chosen, "ref_rejected_logps": ref_rejected}
    loss = DPOTrainer._compute_loss(trainer, _table(logps), inputs, False)
    return loss, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def trl_kto(
    logps: Tensor, reference: Tensor, mask: Tensor, labels: Tensor, kl: tuple[Tensor, Tensor]
) -> Tensor:
    """Return KTOTrainer's loss at weights 1.5 and 0.5 and beta 0.3.

    Args:
        logps: Of each answer's tokens; ``reference``, ``mask`` and ``labels`` likewise.
        kl: Summed log-probs of mismatched answers under policy and reference.
    """
    from trl.trainer.kto_trainer import KTOTrainer

    trainer = _trainer(
        beta=0.3,
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=1.5,
        undesirable_weight=0.5,
        _compute_kl_logps=lambda model, batch: kl[0],
    )
    inputs = _inputs(mask)
    inputs |= {"label": labels, "ref_logps": reference.sum(1), "ref_KL_logps": kl[1]}
    return KTOTrainer._compute_loss(trainer, _table(logps), inputs, False)


def trl_odds(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Return the odds term of ORPOTrainer, per pair, from log-probs per token."""
    from trl.experimental.orpo import ORPOTrainer

    trainer = SimpleNamespace(beta=beta, accelerator=ACCELERATOR)
    return -ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0]


def trl_simpo(chosen: Tensor, rejected: Tensor, **settings: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses and rewards of CPOTrainer's SimPO, per pair, from log-probs per token."""
    from trl.experimental.cpo import CPOTrainer

    trainer = SimpleNamespace(loss_type="simpo", alpha=0.0, accelerator=ACCELERATOR, **settings)
    return CPOTrainer.cpo_loss(trainer, chosen, rejected)


def _trainer(**settings: Any) -> SimpleNamespace:
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=ACCELERATOR,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **settings,
    )


def _inputs(mask: Tensor) -> dict[str, Tensor]:
    completion = torch.cat([torch.zeros_like(mask[:, :1]), mask], dim=1).long()  # one of a prompt
    ones = torch.ones_like(completion)
    return {"input_ids": ones, "attention_mask": ones, "completion_mask": completion}


def _table(logps: Tensor) -> Any:
    zeros = torch.zeros_like(logps)
    out = SimpleNamespace(
        log_probs=logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), aux_loss=None
    )
    return lambda **_: out
