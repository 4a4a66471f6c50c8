"""The verb ``merge``: ``inarch merge RECIPE OUT``, and commands around it."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from inarch.cli import tools
from inarch.errors import SettingsError

MERGE = "recipe"
"""The command that a merge without the name of a command means."""


class _MergeGroup(TyperGroup):
    """A group whose first argument, if it names no command, is a recipe to merge."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [MERGE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_MergeGroup,
    no_args_is_help=True,
    help="Combine checkpoints of one architecture: `inarch merge RECIPE OUT`.",
)


@app.command(MERGE)
def merge(  # noqa: PLR0913  (a flag each)
    recipe: Annotated[Path, typer.Argument(help="YAML file, in mergekit's form.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="Folder of the result.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show the weight of each model per layer; merge nothing."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --explain: print one JSON object per tensor.")
    ] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Parts merged at once; 0: one per core.")
    ] = 0,
    device: Annotated[
        Literal["cpu", "cuda", "auto"],
        typer.Option("--device", help="Where sums are computed."),
    ] = "cpu",
    shard_gb: Annotated[
        float, typer.Option("--shard-gb", help="Size of a shard of the result, in 10^9 bytes.")
    ] = 5.0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting: --set parameters.t=0.3."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The same as OUT; with --explain, an HTML page."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and what it takes.")
    ] = False,
) -> None:
    """Merge the models of a recipe (the command that is meant where none is named)."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_merge import show_coefficients
    from inarch.flows import merge as flow
    from inarch.merge import METHODS, load_config
    from inarch.report import build_explained
    from inarch.settings import validate

    if folder and out and folder != out:
        raise SettingsError(f"found two folders for the result, {folder} and {out}; give one")
    if as_json and not explain:
        raise SettingsError("--json has no effect without --explain; leave it out")
    folder = folder or out or Path("runs") / recipe.stem
    config = load_config(recipe, METHODS, set_ or ())
    costs = {"threads": threads, "device": device, "max_shard_gb": shard_gb}
    options = validate(flow.MergeOptions, costs, "--shard-gb")
    if dry_run:
        show_plan(flow.plan(config) | {"out": folder}, config)
    elif explain:
        rows = flow.explain(config, options)
        if out:
            build_explained(rows, recipe.stem, out)
        if as_json:
            _print_lines(rows)
        else:
            show_coefficients(rows)
    else:
        typer.echo(flow.run(config, folder, options))


app.command("search")(tools.search)


def _print_lines(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False))
