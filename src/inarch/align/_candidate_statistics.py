"""What a set of triples or pairs is like: who wins, by how much, what was left out and why.

Gaps are differences of scores; lengths are in characters, as no tokenizer is shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

from inarch.align._candidates import Candidate, Pair, Triple, best, is_tied, value


@dataclass
class ModelCount:
    """The answers of one model."""

    num_answers: int = 0
    """Asked for."""
    failures: Counter[str] = field(default_factory=Counter)
    """Why some have no text or no score."""
    scores: list[float] = field(default_factory=list)
    num_characters: int = 0
    """Of the answers that have a score."""

    def add(self, candidate: Candidate) -> None:
        """Count an answer."""
        self.num_answers += 1
        if candidate.score is None:
            self.failures[candidate.failure] += 1
        else:
            self.scores.append(candidate.score)
            self.num_characters += len(candidate.text or "")

    def summary(self) -> dict[str, object]:
        """Return the counts and means."""
        num_scored = len(self.scores)
        return {
            "answers": self.num_answers,
            "failures": dict(self.failures),
            "mean_score": fmean(self.scores) if num_scored else None,
            "mean_characters": self.num_characters / num_scored if num_scored else None,
        }


@dataclass
class Statistics:
    """Counts over prompts, as they are read one after the other."""

    models: dict[str, ModelCount] = field(default_factory=dict)
    wins: Counter[str] = field(default_factory=Counter)
    """Prompts by the source whose answer is the best."""
    num_ties: int = 0
    """Prompts at which sources share the best score; the first one wins."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Prompts that give no row, by reason."""
    rows: list[dict[str, tuple[float, int]]] = field(default_factory=list)
    """Score and length of the answers of each row, by what they are."""

    def add(
        self,
        sources: Sequence[Candidate],
        own: Sequence[Candidate],
        row: Triple | Pair | Candidate | str,
    ) -> None:
        """Count a prompt.

        Args:
            sources: What the sources answer.
            own: What the target answers.
            row: What becomes of it: a row, an answer for SFT, or why it is left out.
        """
        for candidate in (*sources, *own):
            self.models.setdefault(candidate.model, ModelCount()).add(candidate)
        top = best(sources)
        if top is not None:
            self.wins[top.model] += 1
            self.num_ties += is_tied(sources, lambda candidate: candidate.model)
        if isinstance(row, str):
            self.dropped[row] += 1
        elif not isinstance(row, Candidate):
            answers = row._asdict().items()
            self.rows.append({what: (value(c), len(c.text or "")) for what, c in answers})

    def summary(self) -> dict[str, object]:
        """Return everything as plain numbers, for a file and a table."""
        return {
            "rows": len(self.rows),
            "dropped": dict(self.dropped),
            "wins": dict(self.wins),
            "ties": self.num_ties,
            "models": {name: count.summary() for name, count in self.models.items()},
            **self._gaps(),
        }

    def _gaps(self) -> dict[str, object]:
        """Return means and medians over the rows."""
        if not self.rows:
            return {"gaps": {}, "mean_characters": {}}
        names = list(self.rows[0])
        scores = {name: [row[name][0] for row in self.rows] for name in names}
        characters = {name: fmean(row[name][1] for row in self.rows) for name in names}
        gaps = {}
        for better, worse in pairwise(names):
            found = [a - b for a, b in zip(scores[better], scores[worse], strict=True)]
            gaps[f"{better} - {worse}"] = {"mean": fmean(found), "median": median(found)}
        share = {}
        if "source" in scores:
            pairs = zip(scores["source"], scores["target"], strict=True)
            share = {"source_above_target_frac": fmean(a > b for a, b in pairs)}
        return {"gaps": gaps, "mean_characters": characters, **share}
