"""The commands ``spans train``, ``spans tag`` and ``spans export``."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from inarch.cli.options import DryRun, Out, Recipe, Set, run_folder


def train(
    recipe: Recipe,
    set_: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train a tagger on posts with spans; the result is DIR/model."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_spans import show_scores
    from inarch.flows import spans_train as flow
    from inarch.settings import load

    settings = load(flow.SpansRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
    else:
        found = flow.run(settings, out)
        if found is not None:
            show_scores(found, str(out / "model"))
        typer.echo(out)


def tag(
    model: Annotated[
        list[str],
        typer.Option("--model", metavar="DIR", help="Folder of a tagger. Several vote."),
    ],
    file: Annotated[
        Path, typer.Argument(help="Texts: one per line, JSONL, or .csv; - for the standard input.")
    ] = Path("-"),
    min_votes: Annotated[
        int | None,
        typer.Option("--min-votes", help="Votes that keep a character. Default: a majority."),
    ] = None,
    decode: Annotated[
        Literal["viterbi", "posterior"],
        typer.Option("--decode", help="The best tags as a whole, or each above --threshold."),
    ] = "viterbi",
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Probability, for --decode posterior.")
    ] = None,
    form: Annotated[
        Literal["auto", "text", "jsonl"],
        typer.Option("--format", help="Of the lines. Default: by the file's name or first line."),
    ] = "auto",
) -> None:
    """Print the toxic spans of texts, one JSON object per text, in order; reads 2,048 ahead."""
    from inarch.flows import spans_tag as flow

    settings = flow.TagSettings(
        models=tuple(model), min_votes=min_votes, decode=decode, threshold=threshold
    )
    tagger = flow.tagger_of(settings)
    if str(file) == "-":
        rows = flow.line_texts(sys.stdin.buffer, "standard input", form)
    else:
        rows = flow.file_texts(file, form)
    for row in flow.tagged_rows(tagger, rows):
        line = json.dumps(row, ensure_ascii=False)
        # Half of a surrogate pair has no UTF-8, but an escape in JSON.
        typer.echo(line.encode("utf-8", "backslashreplace"))


def export(
    model: Annotated[str, typer.Argument(help="Folder of a tagger.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the ONNX files.")],
) -> None:
    """Write a tagger as ONNX, which `tag` and `screen` take as any other --model."""
    from inarch.spans.onnx_export import export_onnx
    from inarch.spans.tagger import load_coder, load_span_model

    loaded = load_span_model(model)
    export_onnx(loaded, load_coder(Path(model), loaded), out)
    typer.echo(out)
