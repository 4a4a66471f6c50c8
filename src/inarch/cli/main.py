"""The command line: parse, call a flow, show.

``inarch --help`` loads neither torch nor pydantic: what a verb needs is imported inside the verb.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from inarch import __version__
from inarch.cli import align, evaluate, merge, prune, spans, tools
from inarch.cli.options import DryRun, Out, Recipe, Set, run_folder
from inarch.errors import InarchError

app = typer.Typer(
    help="Grow one better, smaller, better-behaved language model out of open ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(merge.app, name="merge")
app.add_typer(align.app, name="align")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(spans.app, name="spans")


def main() -> None:
    """Run the command line; exit with 2 after an error that the user can fix."""
    try:
        app()
    except InarchError as error:
        _complain(str(error))
        sys.exit(2)
    except SystemExit as ending:
        if ending.code == 130:  # typer's for ctrl-C
            _complain(
                "interrupted; the same command goes on from the last whole shard or checkpoint"
            )
        raise


@app.callback()
def inarch(
    verbose: Annotated[bool, typer.Option("--verbose", help="Log details.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=lambda asked: _print_version(asked)),
    ] = False,
) -> None:
    """Grow one better, smaller, better-behaved language model out of open ones."""
    from inarch.cli.show import log_to_screen

    log_to_screen(logging.DEBUG if verbose else logging.INFO)


@app.command()
def fuse(recipe: Recipe, set_: Set = None, out: Out = None, dry_run: DryRun = False) -> None:
    """Train a target model on what source models believe."""
    from inarch.cli.show import show_plan
    from inarch.flows import fuse as flow
    from inarch.flows.recipe import FuseRun
    from inarch.settings import load

    settings = load(FuseRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
    else:
        flow.run(settings, out)
        typer.echo(out)


@app.command()
def teach(
    recipe: Recipe,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only this source. May be repeated."),
    ] = None,
    set_: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Store what the source models of a fuse recipe believe about its corpus."""
    from inarch.cli.show import show_plan
    from inarch.flows import fuse as whole
    from inarch.flows import teach as flow
    from inarch.flows.recipe import FuseRun
    from inarch.settings import load

    settings = load(FuseRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(whole.plan(settings, train=False) | {"out": out}, settings)
    else:
        flow.run(settings, out, only=tuple(only or ()))
        typer.echo(out)


@app.command()
def match(  # noqa: PLR0913  (a flag each)
    target: Annotated[str, typer.Argument(help="Folder or hub id of the target's tokenizer.")],
    sources: Annotated[list[str], typer.Argument(help="Those of the sources.")],
    text: Annotated[Path, typer.Option("--text", help="UTF-8 file to measure on.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per source, each on a line.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the JSON lines here.")
    ] = None,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Show how well the tokens of sources can speak for those of a target; no model is run."""
    from inarch.cli.show import show_matches, show_plan
    from inarch.flows import match as flow
    from inarch.io.files import make_folder, write_atomic
    from inarch.settings import load

    settings = load(flow.MatchSettings, None, set_ or ())
    if dry_run:
        plan = {"target": target, "sources": sources, "text": text, "out": out or "the screen"}
        show_plan(plan, settings)
        return
    reports = {source: flow.run(target, source, text, settings) for source in sources}
    rows = [{"target": target, "source": source, **r._asdict()} for source, r in reports.items()]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    if out:
        make_folder(out.parent)
        with write_atomic(out) as temp:
            temp.write_text(lines)
    if as_json:
        typer.echo(lines, nl=False)
    else:
        sentence = flow.sentence_of(text)
        show_matches(rows, {source: flow.look(target, source, sentence) for source in sources})


@app.command()
def demo(
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Seed of a world. Repeat it to see the spread."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smaller world, to see it work.")
    ] = False,
    set_: Set = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run folder.")] = Path(
        "runs/demo"
    ),
    dry_run: DryRun = False,
) -> None:
    """Fuse tiny models that are made from scratch, and show what it brings."""
    from inarch import demo as room
    from inarch import report as page
    from inarch.cli.show import show_plan, show_results
    from inarch.settings import load

    flags = [f"seeds={seeds}"] if seeds else []
    flags += ["quick=true"] if quick else []
    settings = load(room.DemoSettings, None, [*(set_ or ()), *flags])
    if dry_run:
        show_plan(room.plan(settings) | {"out": out}, settings)
    else:
        show_results(room.run(out, settings))
        typer.echo(page.build(out))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the toxic words of posts, not a veil.")
    ] = False,
    set_: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: report.html in the run.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Make one HTML page of a run folder."""
    from inarch import report as page
    from inarch.cli.show import show_plan
    from inarch.settings import load

    flags = ["reveal=true"] if reveal else []
    settings = load(page.ReportSettings, None, [*(set_ or ()), *flags])
    out = out or run / "report.html"
    if dry_run:
        show_plan({"run": run, "out": out}, settings)
    else:
        typer.echo(page.build(run, out, settings))


app.command()(prune.prune)
app.command()(tools.diff)
app.command()(tools.extract)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"inarch {__version__}")
        raise typer.Exit


def _complain(text: str) -> None:
    """Print a message in red, without reading brackets in it as markup."""
    from inarch.io.progress import console

    console.print(text, style="bold red", markup=False, highlight=False, soft_wrap=True)
