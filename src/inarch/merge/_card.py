"""The model card of a merge, and the rows that say how each tensor was made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inarch import __version__
from inarch.merge._jobs import Job


def tensor_row(
    job: Job, coefficients: Sequence[float] | None, digests: Sequence[str | None] = ()
) -> dict[str, Any]:
    """Return how a tensor was made: a line of ``tensors.jsonl``.

    Args:
        job: Its ``parameters`` are the settings of the method: one value per model, or for all.
        coefficients: The weights that the method gave to the models, or None.
        digests: Of what was read of each source, None where that is made on the way, and of what
            was written; empty where nothing was.
    """
    labels = [source.label for source in job.sources]
    named = dict(zip((*labels, "result"), digests, strict=True)) if digests else {}
    return {
        "tensor": job.name,
        "method": job.method,
        "models": [source.label for source in job.models],
        "base": job.base.label if job.base else None,
        "parameters": job.settings.model_dump(mode="json"),
        "coefficients": None if coefficients is None else list(coefficients),
        **({"digests": named} if named else {}),
    }


def card(
    recipe: str,
    method: str,
    models: Mapping[str, str],
    hub_ids: Iterable[str],
    base: str | None,
    notes: Sequence[str],
) -> str:
    """Return the README.md of a merged model: what went in, how, and the recipe.

    Args:
        recipe: The YAML, as saved.
        method: Its name.
        models: Fingerprint of each model by its label.
        hub_ids: Models that the hub may link to.
        base: Label of the base model.
        notes: What the user should know about this merge.
    """
    ids = dict.fromkeys(hub_ids)
    front = ["---", "library_name: transformers", "tags:", "- merge", "- inarch"]
    if ids:
        front += ["base_model:", *(f"- {name}" for name in ids)]
    rows = [
        f"| `{label}`{' (base)' if label == base else ''} | `{print_}` |"
        for label, print_ in models.items()
    ]
    remarks = ["", "## Notes", "", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(
        [
            *front,
            "---",
            "",
            "# Merged model",
            "",
            f"Made by [inarch](https://pypi.org/project/inarch/) {__version__} with `{method}`.",
            "",
            "| model | fingerprint |",
            "|---|---|",
            *rows,
            *remarks,
            "",
            "## Recipe",
            "",
            "```yaml",
            recipe.rstrip(),
            "```",
            "",
            "How each tensor was made, its coefficients and digests are in `tensors.jsonl`; "
            "versions, wall time and memory in `manifest.json`.",
            "",
        ]
    )
