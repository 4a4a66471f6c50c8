"""The command ``evaluate judge``."""

from typing import Annotated

import typer

from inarch.cli.options import DryRun, Out, Recipe, Set, run_folder
from inarch.io.files import as_json as json_of


def judge(
    recipe: Recipe,
    set_: Set = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Let judges say which answers are better: AlpacaEval 2, Arena-Hard, MT-Bench."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_judging import show_judging
    from inarch.flows import judge as flow
    from inarch.settings import load

    settings = load(flow.JudgeRun, recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
        return
    told = flow.run(settings, out)
    if as_json:
        typer.echo(json_of(told))
    else:
        show_judging(told)
        typer.echo(out)
