"""What `inarch evaluate` prints for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli.show import output

if TYPE_CHECKING:
    from inarch.evaluate.alpaca.score import AlpacaScore
    from inarch.evaluate.arena.bradley_terry import Strength
    from inarch.evaluate.arena.score import ArenaLeaderboard
    from inarch.evaluate.compare import Comparison, Difference
    from inarch.evaluate.controlled import ControlledDifference
    from inarch.evaluate.judges.agreement import Consistency
    from inarch.evaluate.mt_bench.pairwise import PairScore
    from inarch.evaluate.mt_bench.ratings import MtScore
    from inarch.evaluate.protocol import ProtocolRecord


def show_alpaca(found: "AlpacaScore") -> None:
    """Print a model's win rates."""
    rate, lc = found.rate, found.controlled
    table = _table(f"AlpacaEval 2: {found.model}", "win rate", "%", "standard error")
    table.add_row("preference", f"{rate.win_rate:.2f}", _rating(found.numbers()["standard_error"]))
    table.add_row("discrete", f"{rate.discrete_win_rate:.2f}", "")
    if lc:
        table.add_row("length-controlled", f"{lc.win_rate:.2f}", f"{lc.standard_error:.2f}")
    if found.bootstrap_error is not None:
        table.add_row("  over draws of instructions", "", f"{found.bootstrap_error:.2f}")
    output.print(table)
    fit = "" if lc is None or lc.c is None else f"; C = {lc.c:.6g}"
    left_out = f", {rate.num_invalid} rows without a preference left out" * bool(rate.num_invalid)
    whole = f" of {found.num_instructions}" * bool(found.num_instructions)
    output.print(
        f"{rate.n}{whole} judgments: {rate.num_wins} won, {rate.num_losses} lost, {rate.num_draws}"
        f" drawn{left_out}{fit}",
        highlight=False,
        soft_wrap=True,
    )


def show_arena(found: "ArenaLeaderboard") -> None:
    """Print a leaderboard, with a column per category."""
    rows = found.numbers()
    categories = list(dict.fromkeys(name for row in rows.values() for name in row["by_category"]))
    numbers = ("score", "interval", "prompts", "left out", *categories)
    title = f"Arena-Hard {found.battles.version}, % won against the baseline"
    table = _table(title, "model", *numbers)
    for model, row in rows.items():
        interval = f"{row['lower']:.1f} to {row['upper']:.1f}"
        parts = [row["by_category"].get(name) for name in categories]
        table.add_row(
            Text(model),
            *(f"{row['score']:.2f}", interval, str(row["n_prompts"]), str(row["n_invalid"])),
            *(f"{part['score']:.2f}" if part else "" for part in parts),
        )
    output.print(table)
    if found.coefficients:
        parts = [f"{name} {weight:+.3f}" for name, weight in found.coefficients.items()]
        output.print(f"style, per standard deviation: {', '.join(parts)}", highlight=False)


def show_strengths(found: Mapping[str, "Strength"], anchor: str | None) -> None:
    """Print strengths, best first."""
    whom = anchor or "a model of mean strength"
    numbers = ("score", "interval", "Elo", "prompts", "battles")
    table = _table("", "model", *numbers)
    for model, row in found.items():
        interval = f"{row.lower:.1f} to {row.upper:.1f}"
        elo = f"{row.elo:.0f}" if row.finite else f"({row.elo:.0f})"
        counts = str(row.n_prompts), str(row.n_battles)
        table.add_row(Text(model), f"{row.score:.2f}", interval, elo, *counts)
    output.print(Text(f"Bradley-Terry, % that a model would win against {whom}"), table, sep="\n")


def show_mtbench(scores: Mapping[str, "MtScore"]) -> None:
    """Print the ratings of all models, best first, and those of each category."""
    best_first = sorted(scores.items(), key=lambda item: -(item[1].average or 0))
    categories = list(
        dict.fromkeys(name for score in scores.values() for name in score.by_category)
    )
    numbers = ("turn 1", "turn 2", "average", "interval", "ratings", "left out")
    table = _table("MT-Bench, 1 to 10", "model", *numbers)
    for model, score in best_first:
        interval = "" if score.lower is None else f"{score.lower:.2f} to {score.upper:.2f}"
        table.add_row(
            Text(model),
            *(_rating(score.turn_1), _rating(score.turn_2), _rating(score.average), interval),
            *(str(score.n), str(score.n_invalid)),
        )
    output.print(table)
    for start in range(0, len(best_first), _MODELS_ACROSS):
        some = dict(best_first[start : start + _MODELS_ACROSS])
        parts = _table("", "category", *some)
        for name in categories:
            ratings = (_rating(score.by_category.get(name)) for score in some.values())
            parts.add_row(Text(name), *ratings)
        output.print(parts)


def show_pairs(
    scores: Mapping[str, "PairScore"], orders: "Consistency", baseline: str | None
) -> None:
    """Print what models won in pairs, best first, and what the order of answers does."""
    names = ("adjusted", "interval", "won", "lost", "drawn", "left out")
    table = _table("", "model", *names, *("turn 1", "turn 2"))
    for model, row in scores.items():
        interval = f"{100 * row.lower:.1f} to {100 * row.upper:.1f}"
        counts = map(str, (row.win, row.loss, row.tie, row.n_invalid))
        turns = (row.by_turn.get(turn) for turn in ("1", "2"))
        parts = ("" if rate is None else f"{100 * rate:.1f}" for rate in turns)
        table.add_row(Text(model), f"{100 * row.win_rate_adjusted:.2f}", interval, *counts, *parts)
    whom = f"against {baseline}" if baseline else "against all others"
    output.print(Text(f"MT-Bench in pairs, % of turns won {whom}, a tie half"), table, sep="\n")
    categories = _table("", "category", *scores)
    for name in dict.fromkeys(name for row in scores.values() for name in row.by_category):
        rates = (row.by_category.get(name) for row in scores.values())
        shown = ("" if rate is None else f"{100 * rate:.1f}" for rate in rates)
        categories.add_row(Text(name), *shown)
    output.print(categories)
    output.print(
        f"both orders name the same winner in {100 * orders.consistent_frac:.1f} % of {orders.n}"
        f" turns; being shown first is worth {100 * orders.first_bias:+.1f} points"
        f" ({100 * orders.lower:+.1f} to {100 * orders.upper:+.1f})",
        highlight=False,
        soft_wrap=True,
    )


_MODELS_ACROSS = 4
"""Models side by side, so that their names stay legible at 80 columns."""


def show_likelihood(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print bits per byte and perplexities, a row per model."""
    first = rows[0]
    units = [u for u in ("byte", "word", "token") if first[f"{u}_perplexity"] is not None]
    bits = ["bits per byte"] * (first["bits_per_byte"] is not None)
    table = _table("Likelihood", "model", *bits, *(f"perplexity per {u}" for u in units), "tokens")
    for row in rows:
        table.add_row(
            Text(row["model"]),
            *(f"{row['bits_per_byte']:.4f}" for _ in bits),
            *(_perplexity(row[f"{unit}_perplexity"]) for unit in units),
            f"{row['n_tokens']:,.0f}",
        )
    output.print(table)
    output.print(
        f"{first['reading']}; first token: {first['first_token']}", highlight=False, markup=False
    )


def show_tasks(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print scores, a row per model, task and metric, and those of categories below."""
    table = _table("Tasks", "task", "metric", "model", "score", "standard error", "questions")
    for row in rows:
        for name, value in row.items():
            if name == "n" or "_stderr" in name or not isinstance(value, int | float):
                continue
            metric, _, rest = name.partition(",")
            error = row.get(f"{metric}_stderr{',' * bool(rest)}{rest}")
            table.add_row(
                *(Text(str(part)) for part in (row["task"], name, row["model"])),
                f"{value:.4f}",
                f"{error:.4f}" if isinstance(error, float) else "",
                str(row["n"] or ""),
            )
            for category, part in row.get("by_category", {}).items():
                named = Text(f"  {category or 'no category'}")
                table.add_row("", named, "", f"{part[name]:.4f}", "", "")
    output.print(table)


def _perplexity(number: float | None) -> str:
    return "" if number is None else f"{number:,.4f}" if number < 1e6 else f"{number:.4g}"


_SCORES = {
    "alpaca_eval2": "win rate in %, not length-controlled",
    "arena_hard": "score in %, style not controlled",
    "mt_bench": "rating, 1 to 10",
}
"""What is compared, by benchmark; of others as the record says."""
_SMALL = {"likelihood", "multiple_choice", "generate", "lm_eval"}
"""Benchmarks whose scores are about 1, so that two digits behind the point would hide much."""


def show_comparison(found: "Comparison") -> None:
    """Print a difference and its parts."""
    scores = dict.fromkeys(_score_of(protocol) for protocol in found.protocols)
    fine = {protocol.benchmark for protocol in found.protocols} & _SMALL
    digits = 4 if fine else 2
    a_score, b_score = f"{found.a_score:.{digits}f}", f"{found.b_score:.{digits}f}"
    output.print(
        Text(f"{found.a} ({a_score}) less {found.b} ({b_score})"),
        Text(f"{' against '.join(scores)}, on the {found.whole.n} shared prompts"),
        sep="\n",
        soft_wrap=True,
    )
    table = _table(
        "",
        *("prompts of", "difference", f"{100 * found.level:.4g} % interval", "p", "prompts"),
    )
    table.add_row(*_difference("all", found.whole, digits, found.p_value))
    if found.controlled:
        at_equal = found.controlled
        table.add_row(*_difference("all, at equal length", at_equal, digits, at_equal.p_value))
    for name, part in found.by_category.items():
        table.add_row(*_difference(name or "no category", part, digits))
    output.print(table)
    lines = []
    if found.controlled:
        rates = f"{found.controlled.a_score:.2f} less {found.controlled.b_score:.2f}"
        strengths = ", ".join("none" if c is None else f"{c:.6g}" for c in found.controlled.c)
        lines.append(f"length-controlled: {rates}; C = {strengths}")
    if found.num_candidates > 1:
        raised = f"p {_p_value(found.p_adjusted)}"
        if found.controlled:
            raised += f", at equal length {_p_value(found.controlled.p_adjusted)}"
        lines.append(f"of {found.num_candidates} comparisons, all at once (Holm): {raised}")
    for line in lines:
        output.print(line, highlight=False, soft_wrap=True)


def _score_of(protocol: "ProtocolRecord") -> str:
    in_pairs = protocol.benchmark == "mt_bench" and protocol.baseline
    return protocol.score if in_pairs else _SCORES.get(protocol.benchmark, protocol.score)


def _difference(
    name: str,
    part: "Difference | ControlledDifference",
    digits: int,
    p_value: float | None = None,
) -> tuple[Text, str, str, str, str]:
    interval = f"{part.lower:+.{digits}f} to {part.upper:+.{digits}f}"
    p = "" if p_value is None else _p_value(p_value)
    return Text(name), f"{part.difference:+.{digits}f}", interval, p, str(part.n)


def _p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.001 else "< 0.001"


def _rating(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _table(title: str, first: str, *others: str) -> Table:
    """Return an empty table that folds what is too long: a cut name may be another model's."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table
