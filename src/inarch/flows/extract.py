"""The flow behind ``inarch extract``: what fine-tuning changed, as a LoRA adapter."""

from pathlib import Path

from inarch.errors import SettingsError
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.merge._config import ModelEntry, ModelRef
from inarch.merge._extract import Extracted, ExtractReport, ExtractSettings, extract
from inarch.merge._models import OpenModel, open_models
from inarch.settings import to_dict

__all__ = ["ExtractReport", "ExtractSettings", "Extracted", "plan", "run"]

_DEFAULTS = ExtractSettings()


def run(
    finetuned: str, base: str, out: str | Path, settings: ExtractSettings = _DEFAULTS
) -> ExtractReport:
    """Write the change from `base` to `finetuned` as a PEFT folder; return what it keeps.

    A finished folder is left as it is.

    Args:
        finetuned: Folder, id on the hub, or ``model+adapter``.
        base: What it was trained from; the adapter is loaded on it.
        out: Folder of the adapter.
        settings: Ranks, and what is done with what is no matrix.

    Raises:
        SettingsError: Both are one model, or `out` holds something else.
        WeightsError: A model is absent or broken, or the two do not fit each other.
        DataError: The folder cannot be written, or the disk is full.
    """
    with open_models(_refs(finetuned, base)) as models:
        new, old = models.values()
        prints = {"finetuned": new.fingerprint(), "base": old.fingerprint()}
        with stage(out, "extract", to_dict(settings), prints) as opened:
            if not opened.done:
                total = _num_elements(old)
                with track("extract", total, "weights") as advance:
                    report = extract(new, old, settings, Path(out), advance)
                rows = [tensor._asdict() for tensor in report.tensors]
                opened.note(tensors=rows, unchanged=report.unchanged)
            tensors = tuple(Extracted(**row) for row in opened.facts["tensors"])
            return ExtractReport(tensors, opened.facts["unchanged"])


def plan(finetuned: str, base: str) -> dict[str, object]:
    """Return what extracting takes; only headers are read."""
    with open_models(_refs(finetuned, base)) as models:
        _, old = models.values()
        largest = max(info.num_elements for info in old.tensors.values())
        return {
            "finetuned": finetuned,
            "base": base,
            "tensors": len(old.tensors),
            "parameters": _num_elements(old),
            "memory for the largest matrix": f"{12 * largest / 1e9:.2f} GB",
        }


def _refs(finetuned: str, base: str) -> dict[str, ModelRef]:
    if finetuned == base:
        raise SettingsError(f"found {base} twice, expected a model and what was fine-tuned from it")
    return {name: ModelEntry.model_validate({"model": name}).model for name in (finetuned, base)}


def _num_elements(model: OpenModel) -> int:
    return sum(info.num_elements for info in model.tensors.values())
