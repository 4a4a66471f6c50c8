"""The verb ``align`` and its commands."""

from pathlib import Path
from typing import Annotated

import typer

from inarch.cli.options import DryRun, Out, Recipe, Set, run_folder

app = typer.Typer(
    no_args_is_help=True,
    help="Make a model prefer the better answer: `inarch align train RECIPE`.",
)


@app.command()
def train(
    recipe: Recipe,
    set_: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train a model on preferences: wrpo, dpo, ipo, ln_dpo, simpo, orpo, kto or sft."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_align import show_training
    from inarch.flows import align as flow
    from inarch.settings import load

    settings = load(flow.AlignRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
    else:
        flow.run(settings, out)
        show_training(out)
        typer.echo(out)


@app.command()
def seft(
    recipe: Recipe,
    set_: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Let a model learn from its own answers, which a reviser keeps or makes better."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_seft import show_rounds
    from inarch.flows import seft as flow
    from inarch.settings import load

    settings = load(flow.SeftRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
        return
    show_rounds(flow.run(settings, out))
    typer.echo(out)


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="YAML file: prompts, sources, target, scorer.")],
    set_: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Make rows to train on: answers of several models, scored; SFT of the target in between."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_build import show_build
    from inarch.flows import align_build as flow
    from inarch.settings import load

    settings = load(flow.BuildRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
    else:
        show_build(flow.run(settings, out))
        typer.echo(out)
