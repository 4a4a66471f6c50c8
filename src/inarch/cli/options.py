"""Arguments that many verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path, typer.Argument(help="YAML file with the settings.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: --set train.lr=1e-4."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run folder. Default: runs/ and the recipe's name."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done and what it takes; do nothing.")
]


def run_folder(recipe: Path, out: Path | None) -> Path:
    """Return the run folder that was given, or that of the recipe's name."""
    return out or Path("runs") / recipe.stem
