"""The verb ``spans`` and its commands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from inarch.cli import span_models
from inarch.cli.options import DryRun, Set

app = typer.Typer(
    no_args_is_help=True,
    help="Find the characters that make a text toxic: `inarch spans score --gold F --pred F`.",
)


app.command()(span_models.train)
app.command()(span_models.tag)
app.command()(span_models.export)


@app.command()
def score(  # noqa: PLR0913  (a flag each)
    gold: Annotated[
        Path, typer.Option("--gold", metavar="FILE", help="Posts: .csv, .jsonl, spans-pred.txt.")
    ],
    pred: Annotated[
        Path, typer.Option("--pred", metavar="FILE", help="Predictions for each, the same forms.")
    ],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="Another system's, for a paired test."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option("--train", metavar="FILE", help="Posts that baselines beside it learn from."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder, for `inarch report`.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count rows that are wrong, and go on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, then one per system beside.")
    ] = False,
) -> None:
    """Score predicted spans by the character F1 of SemEval-2021 Task 5."""
    from inarch.cli.show_spans import show_scores
    from inarch.flows import spans_score as flow

    found = flow.run(gold, pred, train=train, against=against, out=out, skip_bad=skip_bad)
    if not as_json:
        show_scores(found, str(pred))
        return
    typer.echo(json.dumps(flow.as_json(found.official)))
    for other in found.beside:
        row = {"beside": other.name, **flow.as_json(other.score), "cpu_s": other.cpu_s}
        typer.echo(json.dumps(row | {"better": flow.as_json(other.better)}))


@app.command()
def screen(  # noqa: PLR0913  (a flag each)
    data: Annotated[
        str, typer.Argument(help="Texts, chats or preferences: .jsonl, .json, .parquet, hub id.")
    ],
    model: Annotated[
        list[str], typer.Option("--model", metavar="DIR", help="A tagger. Several of them vote.")
    ],
    action: Annotated[
        str, typer.Option("--action", help="flag, drop or mask the rows with spans.")
    ] = "flag",
    min_votes: Annotated[
        int | None, typer.Option("--min-votes", help="Of several models. Default: a majority.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows without a text, and count them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Show what was found in full.")] = False,
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run folder. Default: runs/ and the data's."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Look for toxic spans in what a language model is to learn from."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_spans import show_report
    from inarch.flows import spans_screen as flow
    from inarch.settings import load

    settings = load(flow.ScreenSettings, None, [f"action={action}", *(set_ or ())])
    out = out or Path("runs") / f"{Path(data).stem}-screened"
    if dry_run:
        planned = flow.plan(data, model, settings, min_votes=min_votes, skip_bad=skip_bad)
        show_plan(planned | {"out": out}, settings)
        return
    report = flow.run(data, model, out, settings, min_votes=min_votes, skip_bad=skip_bad)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        show_report(report, plain=plain)
        typer.echo(out)
