"""Log-probs of answers, one loss. The table below is the whole registry."""

from inarch.align._method import AlignMethod
from inarch.align.dpo import DpoSettings, dpo
from inarch.align.ipo import IpoSettings, ipo
from inarch.align.kto import KtoSettings, kto
from inarch.align.ln_dpo import LnDpoSettings, ln_dpo
from inarch.align.orpo import OrpoSettings, orpo
from inarch.align.sft import SftSettings, sft
from inarch.align.simpo import SimpoSettings, simpo
from inarch.align.wrpo import WrpoSettings, alpha_at, wrpo

METHODS: dict[str, AlignMethod] = {
    "wrpo": AlignMethod(wrpo, WrpoSettings, "triples", True, "either", ramps=True),
    "dpo": AlignMethod(dpo, DpoSettings, "pairs", True, "sums"),
    "ipo": AlignMethod(ipo, IpoSettings, "pairs", True, "either"),
    "ln_dpo": AlignMethod(ln_dpo, LnDpoSettings, "pairs", True, "means"),
    "simpo": AlignMethod(simpo, SimpoSettings, "pairs", False, "means"),
    "orpo": AlignMethod(orpo, OrpoSettings, "pairs", False, "means"),
    "kto": AlignMethod(kto, KtoSettings, "labelled", True, "sums"),
    "sft": AlignMethod(sft, SftSettings, "answers", False, "sums"),
}

__all__ = [
    "METHODS",
    "AlignMethod",
    "DpoSettings",
    "IpoSettings",
    "KtoSettings",
    "LnDpoSettings",
    "OrpoSettings",
    "SftSettings",
    "SimpoSettings",
    "WrpoSettings",
    "alpha_at",
    "dpo",
    "ipo",
    "kto",
    "ln_dpo",
    "orpo",
    "sft",
    "simpo",
    "wrpo",
]
