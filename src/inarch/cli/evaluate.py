"""The verb ``evaluate``: published benchmarks, scored from what a judge wrote; comparisons."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from inarch.cli import evaluate_fetch, evaluate_judge
from inarch.errors import SettingsError
from inarch.io.files import as_json as json_of

app = typer.Typer(
    no_args_is_help=True,
    help="Score a model by published protocols, and compare two under the same one.",
)

app.command()(evaluate_judge.judge)
app.command()(evaluate_fetch.fetch)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Also write a result per model, to compare."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: --set bos=once."),
]


@app.command()
def alpaca(  # noqa: PLR0913  (a flag each)
    annotations: Annotated[
        Path, typer.Option("--annotations", help="annotations.json, or a CSV of lengths.")
    ],
    gamed: Annotated[
        Path | None, typer.Option("--gamed", help="df_gamed.csv; default: as fetched.")
    ] = None,
    c: Annotated[
        str, typer.Option("--c", metavar="VALUE|cv", help="Strength C of the regression.")
    ] = "cv",
    align: Annotated[
        Literal["instruction", "position"],
        typer.Option("--align", help="What difficulty goes by; the package: position."),
    ] = "instruction",
    solver: Annotated[
        Literal["liblinear", "exact"],
        typer.Option("--solver", help="Published numbers: liblinear."),
    ] = "liblinear",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="CSV of published weights, instead of a fit.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Name of the model; default: the file's.")
    ] = None,
    leaderboard: Annotated[
        Path | None, typer.Option("--leaderboard", help="Add a row to this CSV, as officially.")
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """AlpacaEval 2: win rate, discrete and length-controlled, from a judge's annotations."""
    from inarch.cli.show_evaluate import show_alpaca
    from inarch.evaluate.alpaca.files import add_to_leaderboard, leaderboard_row
    from inarch.evaluate.alpaca.length_control import LengthControlSettings
    from inarch.evaluate.alpaca.score import GAMED, AlpacaFiles, fetched_gamed, score_alpaca
    from inarch.evaluate.judges.official import is_fetched
    from inarch.evaluate.protocol import save_results
    from inarch.settings import validate

    fitted = {"--c": c != "cv", "--solver": solver != "liblinear"}
    if weights:
        _refuse(fitted, "--weights are not fitted")
    controlled = {"--weights": weights} | fitted | {"--align": align != "instruction"}
    if gamed is None and any(controlled.values()):
        if not is_fetched(GAMED):
            _refuse(
                controlled,
                "length is not controlled without --gamed; give it, too, or fetch it (inarch"
                " evaluate fetch alpaca)",
            )
        gamed = fetched_gamed()
    given = {"c": _number_or_cv(c), "align": align, "solver": solver}
    settings = validate(LengthControlSettings, given, "--c, --align, --solver")
    found = score_alpaca(AlpacaFiles(annotations, gamed, weights), settings, model, not as_json)
    if out:
        save_results(out, [found.result])
    if leaderboard:
        row = leaderboard_row(found.rate, found.controlled, found.avg_length)
        add_to_leaderboard(leaderboard, found.model, row)
    if as_json:
        typer.echo(json_of(found.numbers()))
    else:
        show_alpaca(found)


@app.command()
def arena(  # noqa: PLR0913  (a flag each)
    battles: Annotated[
        Path, typer.Option("--battles", help="Battles or judgments: a file, or a folder of them.")
    ],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The model that all others meet.")
    ] = None,
    protocol: Annotated[
        Literal["v0.1", "v2"] | None, typer.Option("--protocol", help="Default: by the rows.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help="Only the prompts of this category.")
    ] = None,
    intervals: Annotated[
        Literal["prompts", "rows"],
        typer.Option("--intervals", help="What is drawn; officially rows, which claims too much."),
    ] = "prompts",
    control: Annotated[
        Literal["none", "style", "length", "markdown"],
        typer.Option("--control", help="What is held equal; needs --style."),
    ] = "none",
    style: Annotated[
        Path | None, typer.Option("--style", help="CSV of counts, or the official answers.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", help="Rate all by Bradley-Terry, and this model at 50."),
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Arena-Hard: scores against the baseline; Bradley-Terry's where no model is in all battles."""
    from inarch.cli.show_evaluate import show_arena, show_strengths
    from inarch.evaluate.arena.battles import ArenaSettings
    from inarch.evaluate.arena.bradley_terry import numbers, rate
    from inarch.evaluate.arena.pairings import pairings_without_baseline, read_pairings
    from inarch.evaluate.arena.score import ArenaChoice, score_arena
    from inarch.evaluate.protocol import save_results

    apart = anchor is None and baseline is None
    pairings = pairings_without_baseline(battles) if apart else None
    pairings = read_pairings(battles) if anchor is not None else pairings
    if pairings:
        against = {"--baseline": baseline, "--protocol": protocol, "--category": category}
        dead = against | {"--style": style, "--out": out, "--intervals": intervals == "rows"}
        dead |= {"--control": control != "none"}
        _refuse(dead, "Bradley-Terry rates all battles together, against no baseline")
        strengths = rate(pairings, anchor)
        if as_json:
            typer.echo(json_of(numbers(strengths)))
        else:
            show_strengths(strengths, anchor)
        return
    if (style is None) != (control == "none"):
        raise SettingsError("--style and --control need each other; give both, or leave both out")
    settings = ArenaSettings(intervals=intervals, control=control)
    found = score_arena(battles, settings, ArenaChoice(protocol, baseline, category), style)
    if out:
        save_results(out, found.results())
    if as_json:
        typer.echo(json_of(found.numbers()))
    else:
        show_arena(found)


@app.command()
def mtbench(
    judgments: Annotated[
        Path, typer.Option("--judgments", help="FastChat's judgments: a file, or a folder.")
    ],
    questions: Annotated[
        Path | None, typer.Option("--questions", help="question.jsonl, for other categories.")
    ] = None,
    references: Annotated[
        str, typer.Option("--references", help="Name of the references that the judge saw.")
    ] = "",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Of judgments in pairs: whom all others meet.")
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """MT-Bench: ratings of both turns, or wins in pairs, from a judge's judgments."""
    from inarch.cli.show_evaluate import show_mtbench, show_pairs
    from inarch.evaluate.mt_bench import pairwise
    from inarch.evaluate.mt_bench.files import read_ratings
    from inarch.evaluate.mt_bench.ratings import results, score_ratings
    from inarch.evaluate.protocol import made_of, save_results

    if pairwise.is_pairwise(judgments):
        pairs = pairwise.read_pairs(judgments, questions)
        scores = pairwise.score_pairs(pairs, baseline)
        if out:
            made = made_of({"judgments": judgments, "questions": questions})
            save_results(out, pairwise.results(pairs, baseline, references, made))
        if as_json:
            rows = {model: score._asdict() for model, score in scores.items()}
            typer.echo(json_of(rows))
        else:
            show_pairs(scores, pairwise.order_consistency(pairs, baseline), baseline)
        return
    _refuse({"--baseline": baseline}, "these judgments rate each model alone")
    ratings = read_ratings(judgments, questions)
    found = score_ratings(ratings)
    if out:
        made = made_of({"judgments": judgments, "questions": questions})
        save_results(out, results(ratings, references, found, made))
    if as_json:
        numbers = {model: score._asdict() for model, score in found.items()}
        typer.echo(json_of(numbers))
    else:
        show_mtbench(found)


@app.command()
def likelihood(  # noqa: PLR0913  (a flag each)
    model: Annotated[list[str], typer.Option("--model", help="Folder or hub id; repeat it.")],
    text: Annotated[
        Path, typer.Option("--text", help="A .txt, or rows with `text`: .jsonl, .json, .parquet.")
    ],
    window: Annotated[
        int | None, typer.Option("--window", help="Tokens read together; default: all positions.")
    ] = None,
    stride: Annotated[
        str, typer.Option("--stride", metavar="N|chunked", help="New tokens per window.")
    ] = "chunked",
    joined: Annotated[
        bool, typer.Option("--joined", help="Join the texts, as papers and guides do.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per model, each on a line.")
    ] = False,
    out: Out = None,
    set_: Set = None,
) -> None:
    """Bits per byte, and perplexity per byte, word and token, of a model over texts."""
    from inarch.cli.show_evaluate import show_likelihood
    from inarch.flows import evaluate_likelihood as flow
    from inarch.settings import load

    flags = [f"stride={stride}"] if stride != "chunked" else []
    flags += [] if window is None else [f"window={window}"]
    flags += ["joined=true"] if joined else []
    settings = load(flow.LikelihoodRun, None, [*(set_ or ()), *flags])
    rows = list(flow.run(model, text, settings, out).numbers())
    if as_json:
        for row in rows:
            typer.echo(json_of(row))
    else:
        show_likelihood(rows)


@app.command()
def tasks(
    model: Annotated[list[str], typer.Option("--model", help="Folder or hub id; repeat it.")],
    names: Annotated[
        str, typer.Option("--tasks", metavar="A,B", help="YAML files, or names of lm-eval.")
    ],
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only this many questions per task.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per model and task.")
    ] = False,
    out: Out = None,
    set_: Set = None,
) -> None:
    """Multiple choice and written answers: tasks of files, and public ones through lm-eval."""
    from inarch.cli.show_evaluate import show_tasks
    from inarch.flows import evaluate_tasks as flow
    from inarch.settings import load

    flags = [] if limit is None else [f"limit={limit}"]
    settings = load(flow.TasksRun, None, [*(set_ or ()), *flags])
    rows = flow.run(model, [name.strip() for name in names.split(",")], settings, out)
    if as_json:
        for row in rows:
            typer.echo(json_of(row))
    else:
        show_tasks(rows)


@app.command()
def compare(  # noqa: PLR0913  (a flag each)
    a: Annotated[Path, typer.Argument(help="A result, from --out of another command.")],
    b: Annotated[list[Path], typer.Argument(help="One or more; A is compared with each.")],
    candidates: Annotated[
        int | None,
        typer.Option("--candidates", help="Comparisons made in all; default: those given."),
    ] = None,
    any_protocol: Annotated[
        bool, typer.Option("--any-protocol", help="Compare though protocols differ.")
    ] = False,
    gamed: Annotated[
        Path | None,
        typer.Option("--gamed", help="df_gamed.csv, for length control; default: as fetched."),
    ] = None,
    c: Annotated[
        str, typer.Option("--c", metavar="VALUE|cv", help="Strength C of length control.")
    ] = "cv",
    solver: Annotated[
        Literal["liblinear", "exact"], typer.Option("--solver", help="Of length control.")
    ] = "liblinear",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per comparison.")
    ] = False,
) -> None:
    """How much better A is than B on the same prompts, with an interval, per category."""
    from inarch.cli.show_evaluate import show_comparison
    from inarch.evaluate.alpaca.files import read_gamed
    from inarch.evaluate.alpaca.length_control import LengthControlSettings
    from inarch.evaluate.alpaca.score import GAMED, fetched_gamed
    from inarch.evaluate.compare import CompareSettings, compare_all
    from inarch.evaluate.controlled import LengthControl, has_lengths
    from inarch.evaluate.judges.official import is_fetched
    from inarch.evaluate.protocol import load_result
    from inarch.settings import validate

    results = [load_result(path) for path in (a, *b)]
    if gamed is None and is_fetched(GAMED) and all(map(has_lengths, results)):
        gamed = fetched_gamed()
    if gamed is None and (c != "cv" or solver != "liblinear"):
        raise SettingsError("--c and --solver have no effect without --gamed; give it, too")
    given = {
        "any_protocol": any_protocol,
        "candidates": len(b) if candidates is None else candidates,
    }
    settings = validate(CompareSettings, given, "--candidates")
    lengths = {"c": _number_or_cv(c), "solver": solver}
    fit = validate(LengthControlSettings, lengths, "--c, --solver")
    control = LengthControl(read_gamed(gamed), fit) if gamed else None
    for found in compare_all(results[0], results[1:], settings, control):
        if as_json:
            typer.echo(json_of(found.numbers()))
        else:
            show_comparison(found)


def _refuse(flags: Mapping[str, object], reason: str) -> None:
    """Refuse the flags that are given."""
    given = ", ".join(name for name, value in flags.items() if value)
    if given:
        raise SettingsError(f"{given}: no effect, as {reason}; leave it out")


def _number_or_cv(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
