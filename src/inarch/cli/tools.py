"""The verbs ``diff`` and ``extract``, and the command ``merge search``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from inarch.cli.options import DryRun, Out, Set, run_folder

Model = Annotated[str, typer.Argument(help="Folder, safetensors file, or id on the hub.")]


def diff(
    a: Model,
    b: Model,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with a row per tensor.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write an HTML page.")
    ] = None,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Show what tells two checkpoints apart: which layers moved, configs, tokens."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_diff import show_diff
    from inarch.flows import diff as flow
    from inarch.report import build_diff
    from inarch.settings import load

    settings = load(flow.DiffSettings, None, set_ or ())
    if dry_run:
        show_plan(flow.plan(a, b) | {"out": out or "the screen"}, settings)
        return
    found = flow.run(a, b, settings)
    if out:
        build_diff(found, out)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        show_diff(found)


def extract(  # noqa: PLR0913  (a flag each)
    finetuned: Annotated[str, typer.Argument(help="Folder, id on the hub, or model+adapter.")],
    base: Annotated[str, typer.Option("--base", help="What it was fine-tuned from.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the adapter.")],
    rank: Annotated[int | None, typer.Option("--rank", help="The same as --set rank=N.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per tensor that changed.")
    ] = False,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Make a LoRA adapter of what fine-tuning changed, by truncated SVD."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_merge import show_extracted
    from inarch.flows import extract as flow
    from inarch.settings import load

    flags = [] if rank is None else [f"rank={rank}"]
    settings = load(flow.ExtractSettings, None, [*(set_ or ()), *flags])
    if dry_run:
        show_plan(flow.plan(finetuned, base) | {"out": out}, settings)
        return
    report = flow.run(finetuned, base, out, settings)
    if as_json:
        for tensor in report.tensors:
            typer.echo(json.dumps(tensor._asdict()))
    else:
        show_extracted(report)
        typer.echo(out)


def search(
    recipe: Annotated[Path, typer.Argument(help="YAML file: a recipe, ranges, score, budget.")],
    set_: Set = None,
    out: Out = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per input and trial.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Search for the numbers and methods that make the best merge."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_merge import show_search
    from inarch.flows import search as flow

    settings = flow.load_search(recipe, set_ or ())
    out = run_folder(recipe, out)
    if dry_run:
        show_plan(flow.plan(settings) | {"out": out}, settings)
        return
    found = flow.run(settings, out)
    if as_json:
        for row in found.rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        show_search(found)
        typer.echo(out / flow.MODEL)
