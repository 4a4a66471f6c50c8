"""What ``inarch evaluate judge`` shows: scores by each judge, and how far to trust the judges."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli.show import output, percent


def show_judging(told: Mapping[str, Any]) -> None:
    """Print the scores of all models by each judge, and what is known of the judges."""
    for name, about in told["judges"].items():
        _scores(f"{name} ({about['model']})" if about["model"] != name else name, about)
        _trust(about)
    if told.get("together"):
        _table("mean of all judges", told["together"])
    for pair in told.get("agreement", ()):
        output.print(
            f"{pair['a']} and {pair['b']} agree on {percent(pair['agree_frac'])} of"
            f" {pair['n']:,} answers{_kappa(pair['kappa'])}",
            highlight=False,
            markup=False,
        )


def _kappa(kappa: float | None) -> str:
    return "; each always says the same" if kappa is None else f", kappa {kappa:.2f}"


def _scores(title: str, about: Mapping[str, Any]) -> None:
    counted = {
        model: (row["summary"] or {}) | {"cases": row["n_cases"], "no verdict": row["n_invalid"]}
        for model, row in about["models"].items()
    }
    _table(title, counted)
    for category, rows in _by_category(counted).items():
        _table(category, rows)
    for category, found in about.get("style_controlled", {}).items():
        _table(f"{category}, style held equal", found["scores"])


def _by_category(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return the parts of scores by category and model; those of a single number stand together."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, row in rows.items():
        parts = row.get("by_category") or {}
        single = {name: part for name, part in parts.items() if not isinstance(part, Mapping)}
        if single:
            found.setdefault("by category", {})[model] = single
        for name in parts.keys() - single.keys():
            found.setdefault(name, {})[model] = parts[name]
    return dict(sorted(found.items()))


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    names = {
        name: None
        for row in rows.values()
        for name, value in row.items()
        if isinstance(value, int | float) and not _says_nothing(name, rows)
    }
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=Text(title))
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for model, row in rows.items():
        table.add_row(Text(model), *(_cell(row.get(name)) for name in names))
    output.print(table)


def _says_nothing(name: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a column repeats another one, or counts what never was."""
    never = name.startswith("n_") and not any(row.get(name) for row in rows.values())
    return never or (name == "n_invalid" and any("no verdict" in row for row in rows.values()))


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _trust(about: Mapping[str, Any]) -> None:
    spent, order, canary = about["spent"], about["order"], about.get("canary")
    cost = "" if spent["cost"] is None else f", cost {spent['cost']:.2f}"
    lines = [
        f"{spent['num_replies']:,} replies, {spent['num_prompt_tokens']:,} tokens of prompts and"
        f" {spent['num_answer_tokens']:,} of replies{cost}"
    ]
    if order is not None:
        bias = f"{100 * order['first_bias']:+.1f} points"
        bounds = f"{100 * order['lower']:+.1f} to {100 * order['upper']:+.1f}"
        lines.append(f"being shown first changes a model's chance by {bias} ({bounds})")
    if order is not None and "consistent_frac" in order:
        lines.append(f"both orders name the same winner in {percent(order['consistent_frac'])}")
    failed = sum(row["n_failed"] for row in about["models"].values())
    if failed:
        lines.append(f"{failed:,} cases got no reply; the same command asks for them again")
    if canary is not None:
        verdict = ", so this judge is not to be trusted" if canary["sings"] else ""
        lines.append(
            f"a constant answer gets {canary['score']:.1f}, and must stay below"
            f" {canary['must_be_below']:.1f}{verdict}"
        )
    for line in lines:
        output.print(line, highlight=False, markup=False)
