"""The verb ``prune``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from inarch.cli.options import DryRun, Set
from inarch.errors import SettingsError

TARGETS = ("ratio", "blocks", "size_gb", "kv_bytes", "latency")


def prune(  # noqa: PLR0913  (a flag each)
    model: Annotated[
        str, typer.Argument(help="Folder or hub id of a model, or a YAML file with all settings.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FILE", help="Rows of `text` or `messages` to judge blocks on."
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option("--ratio", help="Share of the parameters to remove. May be repeated."),
    ] = None,
    blocks: Annotated[
        list[int] | None, typer.Option("--blocks", help="Or: number of blocks to remove.")
    ] = None,
    size_gb: Annotated[
        list[float] | None, typer.Option("--size-gb", help="Or: size of the weights, 10^9 bytes.")
    ] = None,
    kv_bytes: Annotated[
        list[int] | None, typer.Option("--kv-bytes", help="Or: cache per token, in bytes.")
    ] = None,
    latency: Annotated[
        list[float] | None,
        typer.Option("--latency", help="Or: share of the time per written token to save."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="block_pruner (default), one_shot, sleb, ...: see docs/methods."
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="METHOD", help="Score another method's order beside."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="plain (default), native or gguf-safe.")
    ] = None,
    heal: Annotated[
        Path | None,
        typer.Option(
            "--heal", metavar="RECIPE", help="Then train on, with the whole model as teacher."
        ),
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option("--devices", help="Share the rows among devices: cuda:0. May be repeated."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: order, sizes, losses, speed.")
    ] = False,
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Run folder. Default: runs/ and the model's name."
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Remove whole attention and feed-forward blocks from a model."""
    from inarch.cli.show import show_plan
    from inarch.cli.show_prune import show_pruned
    from inarch.flows import prune as flow
    from inarch.settings import load

    is_recipe = Path(model).suffix in (".yaml", ".yml")
    given: dict[str, Any] = {
        "model": None if is_recipe else model,
        "data.path": data,
        "method": method,
        "compare": compare,
        "format": format_,
        "devices": devices,
    }
    targets = dict(zip(TARGETS, (ratio, blocks, size_gb, kv_bytes, latency), strict=True))
    given |= {f"target.{name}": values for name, values in targets.items()}
    flags = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value
    ]
    if not is_recipe and not data:
        raise SettingsError(
            "found no calibration texts; give them: --data FILE, rows of `text` or `messages`"
        )
    if not is_recipe and not any(flag.startswith("target.") for flag in (*flags, *(set_ or ()))):
        raise SettingsError("found no target; say how much is to go: --ratio 0.25, or --blocks 8")
    settings = load(flow.PruneRun, model if is_recipe else None, [*flags, *(set_ or ())])
    healing = load(flow.HealSettings, heal) if heal else None
    out = out or Path("runs") / (Path(model).stem if is_recipe else Path(model).name)
    if dry_run:
        show_plan(flow.plan(settings, healing) | {"out": out}, settings)
        return
    found = flow.run(settings, out, healing)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        show_pruned(found)
        typer.echo(out)
