"""Masked means, token log-probs, sparse divergences and the chunked LM head."""

from inarch.numerics.beliefs import TopBeliefs, top_beliefs
from inarch.numerics.candidates import merged
from inarch.numerics.divergences import Kind, TailPolicy, divergence, sparse_divergence
from inarch.numerics.head import Head, chunked_sum, run_with_head
from inarch.numerics.logps import IdLogps, logps_at, masked_mean, token_logps
from inarch.numerics.patch import Forward, patched

__all__ = [
    "Forward",
    "Head",
    "IdLogps",
    "Kind",
    "TailPolicy",
    "TopBeliefs",
    "chunked_sum",
    "divergence",
    "logps_at",
    "masked_mean",
    "merged",
    "patched",
    "run_with_head",
    "sparse_divergence",
    "token_logps",
    "top_beliefs",
]
