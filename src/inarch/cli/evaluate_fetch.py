"""The verb ``evaluate fetch``: the files in which benchmarks are published."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inarch.evaluate.judges.official_fetch import Fetched


def fetch(
    benchmarks: Annotated[
        list[str] | None,
        typer.Argument(metavar="BENCHMARK", help="alpaca, arena, mtbench; default: all."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take files that were fetched elsewhere."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The official questions, baselines' answers and prompts, each checked by its digest."""
    from inarch.evaluate.judges import official_fetch as area
    from inarch.evaluate.judges.official import cache_folder
    from inarch.io.progress import track

    files = area.files_of(benchmarks or ())
    found = []
    with track("fetch", len(files), "files") as advance:
        for fetched in area.fetch(files, source):
            found.append(fetched)
            advance(1)
    if as_json:
        rows = [
            {"name": row.file.name, "path": str(row.path), "size": row.path.stat().st_size}
            | {"digest": row.file.digest, "licence": row.file.licence, "how": row.how}
            for row in found
        ]
        typer.echo(json.dumps({"folder": str(cache_folder()), "files": rows}))
    else:
        _show(found, cache_folder())


def _show(found: Sequence["Fetched"], folder: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from inarch.cli.show import output
    from inarch.evaluate.judges.official import NON_COMMERCIAL, readable

    for benchmark in dict.fromkeys(row.file.benchmark for row in found):
        table = Table(benchmark, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("licence", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in found:
            if row.file.benchmark == benchmark:
                name = Text(f"{row.path.name}\n  {row.file.what}")
                size = readable(row.path.stat().st_size)
                table.add_row(name, size, row.file.licence, row.how)
        output.print(table)
    output.print(f"in {folder}", markup=False, highlight=False, soft_wrap=True)
    bound = [row.file.name for row in found if row.file.licence == NON_COMMERCIAL]
    if bound:
        output.print(f"CC BY-NC 4.0, no commercial use: {', '.join(bound)}", soft_wrap=True)
