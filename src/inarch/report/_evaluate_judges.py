"""The part of a page about judges: how far each is to be trusted, and how far they agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.evaluate.judges.agreement import (
    JUDGED,
    OF_JUDGE,
    Agreement,
    agreement,
    pooled_agreement,
)
from inarch.evaluate.protocol import CANARY, ProtocolRecord, Result
from inarch.report._evaluate_scales import title_of
from inarch.report._html import table
from inarch.report._page import Part, fold, heading, paragraph, slug
from inarch.report._svg import Figure, heat
from inarch.report._words import count, percent, signed


class _Pair(NamedTuple):
    """Two judges and what both have judged."""

    a: str
    b: str
    title: str
    """Of the benchmark."""
    results: tuple[tuple[Result, Result], ...]
    """By model."""


def warning_parts(told: Mapping[str, Any]) -> list[Part]:
    """Return a warning of judges that like a constant answer, nothing where there are none.

    Raises:
        DataError: It is no ``judging.json``.
    """
    names = [n for n, about in _judges(told).items() if (about.get("canary") or {}).get("sings")]
    if not names:
        return []
    said = (
        f"Not to be trusted: {', '.join(names)}. A constant answer that says nothing does better"
        " with this judge than it may; see the last table."
    )
    return [paragraph(said, kind="warn")]


def style_parts(told: Mapping[str, Any]) -> list[Part]:
    """Return scores with style held equal, which hang on all models of the run together.

    Raises:
        DataError: It is no ``judging.json``.
    """
    try:
        rows = [
            (name, category, model, *(f"{score[key]:.1f}" for key in ("score", "lower", "upper")))
            for name, about in _judges(told).items()
            for category, found in about.get("style_controlled", {}).items()
            for model, score in found["scores"].items()
        ]
    except _BROKEN as error:
        raise DataError(f"judging.json: {error} is missing or something else") from None
    if not rows:
        return []
    head = ("judge", "prompts", "model", "score, %", "from", "to")
    return [heading("Style held equal"), table(head, rows, "Scores with style held equal")]


def trust_parts(told: Mapping[str, Any]) -> list[Part]:
    """Return what a live run notes of its judges in ``judging.json``.

    Raises:
        DataError: It is something else.
    """
    try:
        rows = [_trust(name, about) for name, about in _judges(told).items()]
    except _BROKEN as error:
        raise DataError(f"judging.json: {error} is missing or something else") from None
    return [
        heading("Judges"),
        table(("judge", *_TRUST), rows, "What is known of the judges"),
        paragraph(
            "Both orders: on how many prompts the judge names the same winner when the answers"
            " change places. First place: what being shown first adds to a model's chance, in"
            " points. A constant answer must stay below what is in brackets, or the judge is not to"
            " be trusted.",
            kind="note",
        ),
    ]


_BROKEN = (KeyError, TypeError, AttributeError)
"""What reading something else ends in."""


def _judges(told: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    found = told.get("judges") if isinstance(told, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(x, Mapping) for x in found.values()):
        raise DataError("judging.json: judges is missing or something else")
    return found


_TRUST = (
    *("calls itself", "cases", "no verdict", "both orders", "first place", "95 % interval"),
    *("constant answer", "replies", "cost"),
)


def _trust(name: str, about: Mapping[str, Any]) -> tuple[str, ...]:
    order, canary, spent = about["order"] or {}, about.get("canary"), about["spent"]
    models = about["models"].values()
    share = order.get("consistent_frac")
    bias = [signed(100 * order[key]) for key in ("first_bias", "lower", "upper")] if order else []
    return (
        name,
        str(about["model"]),
        *(count(sum(model[key] for model in models)) for key in ("n_cases", "n_invalid")),
        "–" if share is None else percent(share),
        *((bias[0], f"{bias[1]} to {bias[2]}") if bias else ("–", "–")),
        f"{canary['score']:.1f} ({canary['must_be_below']:.1f})" if canary else "–",
        count(spent["num_replies"]),
        "–" if spent["cost"] is None else f"{spent['cost']:.2f}",
    )


def judges_parts(results: Sequence[Result]) -> list[Part]:
    """Return how far judges agree, nothing where no answers have two judges."""
    pairs = list(_pairs(results))
    if not pairs:
        return []
    found = [pooled_agreement(pair.results) for pair in pairs]
    parts: list[Part] = [
        heading("Agreement of judges"),
        paragraph(
            "On the same answers: the share on which two judges name the same winner, or the same"
            " rating when rounded. Kappa is the agreement beyond what judges with these habits have"
            " by chance: 0 none, 1 all. Their scores are apart by that much in the mean.",
            kind="note",
        ),
        table(_HEAD, list(map(_row, pairs, found)), "Agreement of judges, all models"),
        tuple(map(_matrix, pairs, found)),
    ]
    single = [
        (f"{a.model}: {pair.a} and {pair.b}", *_numbers(agreement(a, b)))
        for pair in pairs
        for a, b in pair.results
    ]
    if len(single) > len(pairs):
        parts.append(fold("By model", table(_HEAD, single, "Agreement of judges, by model")))
    return parts


_HEAD = ("judges", "answers", "agree", "kappa", "95 % interval", "correlation", "apart by")


def _row(pair: _Pair, found: Agreement) -> tuple[str, ...]:
    return f"{pair.title}: {pair.a} and {pair.b}", *_numbers(found)


def _numbers(found: Agreement) -> tuple[str, ...]:
    lower, upper = found.kappa_lower, found.kappa_upper
    between = "–" if lower is None or upper is None else f"{_two(lower)} to {_two(upper)}"
    return (
        count(found.n),
        percent(found.agree_frac),
        _two(found.kappa),
        between,
        _two(found.correlation),
        _two(found.mean_abs_difference),
    )


def _matrix(pair: _Pair, found: Agreement) -> Figure:
    title = f"{pair.title}: {pair.a} (rows) and {pair.b} (columns), % of answers"
    shares = [[cell / found.n for cell in row] for row in found.table]
    alt = f"{title}. " + "; ".join(
        f"{row} and {column} {100 * share:.0f}"
        for row, line in zip(found.labels, shares, strict=True)
        for column, share in zip(found.labels, line, strict=True)
        if share
    )
    name = f"judges-{slug(pair.a)}-{slug(pair.b)}"
    return heat((name, title, alt), found.labels, found.labels, shares)


def _pairs(results: Sequence[Result]) -> Iterator[_Pair]:
    """Yield every two judges that have judged the same answers."""
    judged = [result for result in results if _of_one_judge(result)]
    for same in _by(judged, lambda result: _part(result, of_judge=False)):
        judges = _by(same, lambda result: _part(result, of_judge=True))
        names = _names([some[0].protocol for some in judges])
        by_model = [{some[0].model: some[0] for some in _by(of, _model)} for of in judges]
        title = title_of(same[0].protocol.model_copy(update={"judge": ""}))
        for (a, one), (b, other) in combinations(zip(names, by_model, strict=True), 2):
            both = [(one[model], other[model]) for model in one if model in other]
            shared = tuple(pair for pair in both if _meet(*pair))
            if shared:
                yield _Pair(a, b, title, shared)


def _of_one_judge(result: Result) -> bool:
    is_mean = isinstance(result.made.get("judges"), list)
    return result.protocol.benchmark in JUDGED and result.model != CANARY and not is_mean


def _by(results: Sequence[Result], key: Callable[[Result], str]) -> list[list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(key(result), []).append(result)
    return list(found.values())


def _part(result: Result, *, of_judge: bool) -> str:
    """Return the fields of a record that are about the judge, or the others."""
    record = result.protocol.model_dump()
    return json.dumps({k: v for k, v in record.items() if (k in OF_JUDGE) == of_judge})


def _model(result: Result) -> str:
    return result.model


def _names(judges: Sequence[ProtocolRecord]) -> list[str]:
    """Return what each judge is called, with how it is asked where names alone do not tell."""
    names = [record.judge or "unknown" for record in judges]
    more = [" ".join(filter(None, [record.judging, record.prompts])) for record in judges]
    return [
        f"{name} ({how})" if names.count(name) > 1 and how else name
        for name, how in zip(names, more, strict=True)
    ]


def _meet(a: Result, b: Result) -> bool:
    return not {row.prompt for row in a.scores}.isdisjoint(row.prompt for row in b.scores)


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
