"""How the scores of each benchmark are named, written and drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from inarch.evaluate.protocol import ProtocolRecord, Result
from inarch.report._words import signed


class Scale(NamedTuple):
    """What a score is for a reader."""

    benchmark: str
    name: str
    unit: str
    digits: int
    ends: tuple[float, float] | None
    """The least and the largest that can be; None where there is no end."""
    middle: float | None = None
    """What two equal models get."""

    @property
    def score(self) -> str:
        """Return the name of the score with its unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def form(self, value: float) -> str:
        """Return a score as it is written."""
        return f"{value:.{self.digits}f}".replace("-", "−")

    def signed(self, value: float) -> str:
        """Return a difference of scores with its sign."""
        return signed(value, self.digits)

    def extent(self, values: Iterable[float]) -> tuple[float, float]:
        """Return the ends of an axis that holds some values, and is not drawn too fine."""
        found = list(values)
        low, high = min(found), max(found)
        whole = self.ends[1] - self.ends[0] if self.ends else abs(high) or 1.0
        room = max(0.2 * whole - (high - low), 0.1 * (high - low))
        low, high = low - room / 2, high + room / 2
        return (max(low, self.ends[0]), min(high, self.ends[1])) if self.ends else (low, high)


_WON = (0.0, 100.0)
_SCALES = {
    "alpaca_eval2": Scale("AlpacaEval 2", "win rate", "%", 1, _WON, 50.0),
    "arena_hard": Scale("Arena-Hard", "score", "%", 1, _WON, 50.0),
    "mt_bench": Scale("MT-Bench", "rating", "", 2, (1.0, 10.0)),
    "likelihood": Scale("Likelihood", "", "", 4, None),
    "multiple_choice": Scale("Multiple choice", "", "", 3, (0.0, 1.0)),
    "generate": Scale("Written answers", "", "", 3, (0.0, 1.0)),
    "lm_eval": Scale("lm-evaluation-harness", "", "", 4, None),
}


_PAIRS = Scale("MT-Bench in pairs", "score", "%", 1, _WON, 50.0)
"""MT-Bench where a judge chooses between a model and a baseline."""


def scale_of(protocol: ProtocolRecord) -> Scale:
    """Return the scale of a record's scores."""
    scale = _known(protocol)
    return scale if scale.name else scale._replace(name=protocol.score.split(";")[0])


def _known(protocol: ProtocolRecord) -> Scale:
    pairs = protocol.benchmark == "mt_bench" and protocol.baseline
    return _PAIRS if pairs else _SCALES[protocol.benchmark]


def title_of(protocol: ProtocolRecord) -> str:
    """Return what a leaderboard is called."""
    scale = _known(protocol)
    if not scale.name:
        data = protocol.data.split(" ")[0].rstrip(",")
        return ": ".join(filter(None, [scale.benchmark, data, scale_of(protocol).score]))
    version = f" {protocol.version}" if protocol.benchmark == "arena_hard" else ""
    judge = f", judged by {protocol.judge}" if protocol.judge else ""
    return f"{scale.benchmark}{version}{judge}"


# ------------------------------------------------------------------------------ official numbers


def controlled(result: Result) -> tuple[float, str] | None:
    """Return the score with length held equal, and how it is written; None where it is unknown."""
    told = result.summary
    if result.protocol.benchmark == "alpaca_eval2":
        value = number(told, "lc_win_rate")
        return (
            None
            if value is None
            else (value, _with_error(value, number(told, "lc_standard_error")))
        )
    what, value = held_equal(result), number(told, "score")
    if what == "none" or value is None:
        return None
    lower, upper = number(told, "lower"), number(told, "upper")
    known = lower is not None and upper is not None
    between = f" ({lower:.1f} to {upper:.1f})" if known else ""
    return value, f"{value:.1f}{between}, {what}"


def held_equal(result: Result) -> str:
    """Return what the official control holds equal: length, or what Arena-Hard was asked for."""
    if result.protocol.benchmark == "alpaca_eval2":
        return "length"
    settings = result.made.get("settings")
    return str(settings.get("control", "none")) if isinstance(settings, Mapping) else "none"


def controlled_name(protocol: ProtocolRecord) -> str:
    """Return what the score with length held equal is called."""
    alpaca = protocol.benchmark == "alpaca_eval2"
    return "length-controlled, %" if alpaca else "style held equal, %"


def official(result: Result) -> dict[str, str]:
    """Return more of the benchmark's own numbers, by their names."""
    told = result.summary
    if result.protocol.benchmark == "alpaca_eval2":
        discrete = number(told, "discrete_win_rate")
        return {"discrete, %": "–" if discrete is None else f"{discrete:.1f}"}
    if result.protocol.benchmark == "mt_bench" and not result.protocol.baseline:
        turns = (number(told, f"turn_{turn}") for turn in (1, 2))
        return {
            f"turn {turn}": "–" if value is None else f"{value:.2f}"
            for turn, value in enumerate(turns, 1)
        }
    return {}


def number(found: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number of a summary, None where there is none."""
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < math.inf else None


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.1f}" + ("" if error is None else f" ± {error:.1f}")
