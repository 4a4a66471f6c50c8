"""The verb ``evaluate``: published benchmarks, scored from what a judge wrote; comparisons."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from inarch.errors import SettingsError

app = typer.Typer(
    no_args_is_help=True,
    help="Score a model by published protocols, and compare two under the same one.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Also write a result per model, to compare."),
]


@app.command()
def alpaca(  # noqa: PLR0913  (a flag each)
    annotations: Annotated[
        Path, typer.Option("--annotations", help="annotations.json, or a CSV of lengths.")
    ],
    gamed: Annotated[
        Path | None, typer.Option("--gamed", help="df_gamed.csv, for length control.")
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
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """AlpacaEval 2: win rate, discrete and length-controlled, from a judge's annotations."""
    from inarch.cli.show_evaluate import show_alpaca
    from inarch.evaluate.alpaca_score import AlpacaFiles, score_alpaca
    from inarch.evaluate.length_control import LengthControlSettings
    from inarch.evaluate.protocol import save_results
    from inarch.settings import validate

    if gamed is None and (weights or c != "cv"):
        raise SettingsError("--weights and --c have no effect without --gamed; give it, too")
    if weights and c != "cv":
        raise SettingsError("--c has no effect with --weights, which are not fitted; leave it out")
    given = {"c": _number_or_cv(c), "align": align, "solver": solver}
    settings = validate(LengthControlSettings, given, "--c, --align, --solver")
    found = score_alpaca(AlpacaFiles(annotations, gamed, weights), settings, model)
    if out:
        save_results(out, [found.result])
    if as_json:
        typer.echo(json.dumps(found.numbers()))
    else:
        show_alpaca(found)


def _number_or_cv(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
