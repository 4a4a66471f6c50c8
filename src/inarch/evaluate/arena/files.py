"""Arena-Hard's files: battles, judgments and style counts, read; judgments, written.

Source:  the shapes of lmarena/arena-hard-auto: ``arena_hard_battles.jsonl``, ``model_judgment``
         (``question_id`` in v0.1, ``uid`` and ``category`` in v2), ``conv_metadata`` of answers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.arena.battles import Battles
from inarch.evaluate.arena.pairings import COLUMNS, Pairings, pairings_of
from inarch.evaluate.arena.style import Style
from inarch.evaluate.arena.verdicts import RULES, Rules, Version, pair_outcomes
from inarch.evaluate.judges.answer_style import style_counts
from inarch.evaluate.judges.answers import read_answer
from inarch.io.files import write_jsonl
from inarch.records import Message

logger = logging.getLogger(__name__)

BASELINES: Mapping[Version, Mapping[str, str]] = {
    "v0.1": {"": "gpt-4-0314"},
    "v2": {
        "": "o3-mini-2025-01-31",
        "hard_prompt": "o3-mini-2025-01-31",
        "coding": "o3-mini-2025-01-31",
        "math": "o3-mini-2025-01-31",
        "creative_writing": "gemini-2.0-flash-001",
    },
}
"""The official ones by category; that of "" holds for the others."""
_COUNTS = ("token_len", "header_count", "list_count", "bold_count")
_SHAPE = (
    f"Arena-Hard's battles ({', '.join(COLUMNS)}) or judgments (question_id or uid, model, games)"
)


class Judgment(NamedTuple):
    """Both games of one prompt."""

    prompt: str
    model: str
    labels: tuple[str | None, str | None]
    """Of game 1, in which the baseline is A, and of game 2, in which the model is."""
    words: tuple[str, str] = ("", "")
    """What the judge wrote."""
    category: str = ""
    judge: str = ""
    baseline: str = ""
    """The model's opponent, where the file says so."""
    asked: tuple[tuple[Message, ...], tuple[Message, ...]] = ((), ())
    """What the judge was sent at first."""


def read_battles(
    path: Path, version: Version | None = None, baseline: str | None = None
) -> Battles:
    """Return the battles of a file, or of a folder of JSONL files.

    Args:
        path: Battles, or judgments of both games.
        version: Of the benchmark; read off the rows where none is given: those of v2 have a uid.
        baseline: The model that all others meet; where none is given the one that all battles
            share, or the benchmark's own.

    Raises:
        DataError: It is something else, of several judges, or against another baseline; the row is
            named.
    """
    rows = read_rows(path)
    version = version or ("v2" if "uid" in rows[0].values else "v0.1")
    if "winner" in rows[0].values:
        return _from_battles(rows, version, baseline)
    prompt = "uid" if "uid" in rows[0].values else "question_id"
    require(rows, (prompt, "model", "games"), _SHAPE)
    judgments = [_judgment(row, prompt, RULES[version]) for row in rows]
    return from_judgments(judgments, version, baseline)


def from_judgments(
    judgments: Sequence[Judgment], version: Version, baseline: str | None = None
) -> Battles:
    """Return the battles that judgments hold.

    Raises:
        DataError: They are of several judges, against another baseline or against themselves, or
            no game has a verdict.
    """
    judge = _one_judge("judgments", (row.judge for row in judgments))
    found: list[tuple[Judgment, float]] = []
    invalid: Counter[tuple[str, str]] = Counter()
    for row in judgments:
        outcomes, num_invalid = pair_outcomes(*row.labels, RULES[version])
        invalid[row.model, row.category] += num_invalid
        found += [(row, outcome.score) for outcome in outcomes for _ in range(outcome.weight)]
    if not found:
        raise DataError(f"found no verdict in {len(judgments)} judgments; judge the answers again")
    _warn_of_repeats(Counter((row.prompt, row.model) for row in judgments))
    return Battles(
        version=version,
        prompts=tuple(row.prompt for row, _ in found),
        models=tuple(row.model for row, _ in found),
        categories=tuple(row.category for row, _ in found),
        outcome_N=np.array([score for _, score in found]),
        baseline_of=_baselines([row for row, _ in found], version, baseline),
        judge=judge,
        num_invalid=invalid,
    )


def _one_judge(what: str, names: Iterable[str]) -> str:
    judges = dict.fromkeys(names)
    if len(judges) > 1:
        raise DataError(
            f"found {what} by {', '.join(name or 'none' for name in judges)}; their verdicts do not"
            " mean the same: score each judge alone"
        )
    [judge] = judges
    return judge


def _baselines(
    judgments: Sequence[Judgment], version: Version, baseline: str | None
) -> dict[str, str]:
    """Return the baseline of each category: as the rows say, as given, or as officially."""
    official, found = BASELINES[version], dict[str, str]()
    for row in judgments:
        own = row.baseline or baseline or official.get(row.category, official[""])
        if baseline not in (None, own):
            raise DataError(
                f"found judgments against {own}, and --baseline {baseline}; leave it out"
            )
        if row.model == own:
            raise DataError(f"found {own} against itself on {row.prompt}; leave it out")
        if found.setdefault(row.category, own) != own:
            raise DataError(
                f"found judgments against {found[row.category]} and against {own}; a score is"
                " against one baseline: score each alone"
            )
    return found


def write_judgments(path: Path, judgments: Sequence[Judgment], version: Version) -> None:
    """Write judgments in the official shape of a version."""
    lines = []
    for row in judgments:
        line: dict[str, Any] = {"question_id" if version == "v0.1" else "uid": row.prompt}
        if version == "v2":
            line["category"] = row.category
        line |= {"model": row.model, "judge": row.judge}
        if row.baseline:
            line["baseline"] = row.baseline
        games = zip(row.asked, row.words, row.labels, strict=True)
        line["games"] = [_written(*game, version) for game in games]
        lines.append(line)
    write_jsonl(path, lines)


def _written(
    asked: Sequence[Message], words: str, label: str | None, version: Version
) -> dict[str, Any] | None:
    """Return a game as a version's file has it; under v2 one without a reply is null."""
    if version == "v0.1":
        shown = {"user_prompt": asked[-1].content} if asked else {}
        return {**shown, "judgment": words, "score": label}
    if label is None and not words:
        return None
    game = {"score": label, "judgment": {"answer": words}}
    return game | ({"prompt": [message._asdict() for message in asked]} if asked else {})


def read_judgments(path: Path, version: Version) -> tuple[Judgment, ...]:
    """Return official judgments; a game without a score is read from the judge's words.

    Raises:
        DataError: The file is something else; the row is named.
    """
    rows = read_rows(path)
    prompt = "uid" if version == "v2" else "question_id"
    require(rows, (prompt, "model", "games"), _SHAPE)
    return tuple(_judgment(row, prompt, RULES[version]) for row in rows)


def read_styles(path: Path) -> dict[tuple[str, str], Style]:
    """Return what is counted in answers, by prompt and model.

    Answers are counted anew if some are not counted, or not all in one way: tokens of two counters
    are no lengths to compare.

    Args:
        path: A CSV of ``question_id, model, token_len, header_count, list_count, bold_count``, or
            the official answers with ``conv_metadata`` (v0.1) or ``metadata`` (v2), a folder too.

    Raises:
        DataError: It is something else; the row is named.
    """
    rows = read_rows(path)
    counts_of = [_counts(row) for row in rows]
    counters = {counts.get("token_counter", "official") for counts in counts_of if counts}
    hold_answers = all(row.values.keys() & {"choices", "messages"} for row in rows)
    if hold_answers and (len(counters) > 1 or not all(counts_of)):
        logger.info("the style of %d answers is counted anew, in one way for all", len(rows))
        counts_of = [style_counts(read_answer(row, "arena_hard_v2").turns[0]) for row in rows]
    found = {}
    for row, counts in zip(rows, counts_of, strict=True):
        prompt = row.text("uid" if "uid" in row.values else "question_id")
        model = row.text("model" if "model" in row.values else "model_id")
        found[prompt, model] = style_of(counts, row.where)
    return found


def _counts(row: Row) -> Mapping[str, Any]:
    """Return what a row holds of style; nothing where it is an answer that is not counted."""
    kept = row.values.get("conv_metadata") or row.values.get("metadata") or {}
    if not isinstance(kept, Mapping):
        raise DataError(f"{row.where}: found {kept!r:.80} for counts, expected an object")
    return kept or (row.values if "token_len" in row.values else {})


def style_of(counts: Mapping[str, Any], where: str = "an answer") -> Style:
    """Return the style that counts say, which may be by kind, such as levels of headers.

    Raises:
        DataError: One is absent.
    """
    summed = Row(where, {name: _summed(counts.get(name)) for name in _COUNTS})
    return Style(*map(summed.number, _COUNTS))


def _summed(count: Any) -> Any:
    """Return a count, which may be by kind, such as ordered and unordered lists."""
    return sum(count.values()) if isinstance(count, dict) else count


def _judgment(row: Row, prompt: str, rules: Rules) -> Judgment:
    games = row.values["games"]
    if not isinstance(games, list) or len(games) != 2:
        raise DataError(f"{row.where}: games: found {games!r:.80}, expected a list of two")
    (one, one_words), (two, two_words) = (_game(game, row.where, rules) for game in games)
    return Judgment(
        prompt=row.text(prompt),
        model=row.text("model"),
        labels=(one, two),
        words=(one_words, two_words),
        category=str(row.values.get("category") or ""),
        judge=str(row.values.get("judge") or ""),
        baseline=str(row.values.get("baseline") or ""),
    )


def _game(game: Any, where: str, rules: Rules) -> tuple[str | None, str]:
    if game is None:
        return None, ""
    if not isinstance(game, dict):
        raise DataError(f"{where}: games: found {game!r:.80}, expected an object or null")
    said = game.get("judgment")
    words = said.get("answer") if isinstance(said, dict) else said
    words = words if isinstance(words, str) else ""
    if "score" not in game:
        return rules.parse(words), words
    label = game["score"]
    if label is not None and not isinstance(label, str):
        raise DataError(f"{where}: score: found {label!r:.80}, expected a label such as A>B")
    return label, words


def _from_battles(rows: Sequence[Row], version: Version, baseline: str | None) -> Battles:
    found = pairings_of(rows)
    baseline = baseline or _common(found, version)
    models, outcomes = [], []
    for row, a, b, of_a in zip(rows, found.a, found.b, found.outcome_N, strict=True):
        if baseline not in (a, b):
            raise DataError(
                f"{row.where}: found {a} against {b}; expected one of them to be the baseline"
                f" {baseline}: name another with --baseline, or leave the row out"
            )
        models.append(b if a == baseline else a)
        outcomes.append(1 - of_a if a == baseline else of_a)
    categories = tuple(str(row.values.get("category") or "") for row in rows)
    return Battles(
        version=version,
        prompts=found.prompts,
        models=tuple(models),
        categories=categories,
        outcome_N=np.array(outcomes),
        baseline_of=dict.fromkeys(categories, baseline),
        judge=_one_judge("battles", (str(row.values.get("judge") or "") for row in rows)),
    )


def _common(battles: Pairings, version: Version) -> str:
    """Return the model that all battles share."""
    shared = battles.shared()
    if len(shared) == 1:
        return shared.pop()
    for name in BASELINES[version].values():
        if name in shared:
            return name
    found = (
        f"{' and '.join(sorted(shared))} in all battles" if shared else "no model in all battles"
    )
    raise DataError(f"found {found}; name the baseline: --baseline NAME")


def _warn_of_repeats(times: Mapping[tuple[str, str], int]) -> None:
    repeated = sum(number > 1 for number in times.values())
    if repeated:
        logger.warning("%d prompts are judged more than once for a model; each counts", repeated)
