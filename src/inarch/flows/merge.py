"""The flow behind ``inarch merge``: a recipe in, a folder with the merged model out."""

import json
import logging
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat

from inarch.errors import SettingsError
from inarch.flows._cores import num_cores
from inarch.io.files import append_metrics, read_metrics, write_json, write_text
from inarch.io.folders import CONFIG, read_json
from inarch.io.headers import TensorInfo
from inarch.io.progress import track
from inarch.io.runs import Stage, stage
from inarch.io.shards import CheckpointWriter
from inarch.io.sidecar import PROCESSOR_FILES, copy_side_files
from inarch.merge import METHODS
from inarch.merge._card import card, tensor_row
from inarch.merge._config import MergeConfig
from inarch.merge._jobs import Job
from inarch.merge._models import OpenModel, open_models
from inarch.merge._names import place
from inarch.merge._outline import refs_of
from inarch.merge._plan import Plan, make_plan
from inarch.merge._rounding import rounding_notes
from inarch.merge._stream import measure_tensors, merge_tensors, rule_of
from inarch.merge._tokens import TokenPlan, token_plan
from inarch.merge._weighted import add_parts, shares
from inarch.merge.varm import VarmSettings, squared_change
from inarch.settings import Settings, dump, to_dict

logger = logging.getLogger(__name__)

RECIPE, TENSORS, CARD = "merge.yaml", "tensors.jsonl", "README.md"
GENERATION = "generation_config.json"


class MergeOptions(Settings):
    """What a merge costs, and not what it gives."""

    threads: NonNegativeInt = 0
    """Parts that are merged at once; 0: one per core."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where sums are computed; ``auto`` takes an accelerator where there is one. The processor
    keeps up with most disks."""
    max_shard_gb: PositiveFloat = 5.0
    """Size of a shard of the result, in 10^9 bytes."""


_DEFAULTS = MergeOptions()


def run(config: MergeConfig, out: str | Path, options: MergeOptions = _DEFAULTS) -> Path:
    """Merge as a recipe says; return the folder of the result, which plain transformers load.

    Beside the weights lie the recipe (``merge.yaml``), a card (``README.md``), and how each tensor
    was made (``tensors.jsonl``): parameters, coefficients, digests of what was read and written. A
    finished folder is left as it is; a killed merge goes on behind its last whole tensor.

    Args:
        config: The recipe.
        out: Folder of the result.
        options: Threads, device, size of shards.

    Raises:
        SettingsError: The recipe does not fit the models, or `out` holds another merge.
        WeightsError: A checkpoint is absent, broken or unlike the others.
        DataError: The folder cannot be written, the disk is full, or a run is at work in it.
    """
    out = Path(out)
    with open_models(refs_of(config)) as models:
        prints = {label: model.fingerprint() for label, model in models.items()}
        plan, tokens = _plan(config, models)
        with stage(out, "merge", to_dict(config), prints) as work:
            if not work.done:
                _write_weights(plan, work, options)
                _write_beside(plan, tokens, models, work, config)
    return out


def explain(config: MergeConfig, options: MergeOptions = _DEFAULTS) -> list[dict[str, Any]]:
    """Return how each tensor would be made, as ``tensors.jsonl`` has it; nothing is written.

    Methods that find coefficients read the models for it. The errors are those of `run`.
    """
    with open_models(refs_of(config)) as models:
        plan, _ = _plan(config, models)
        jobs = _share(plan.jobs, options)

        def row(job: Job, stack: Any) -> dict[str, Any]:
            rule = None if job.copy else rule_of(job, stack, METHODS)
            return tensor_row(job, getattr(rule, "coefficients", None))

        return list(measure_tensors(jobs, row, **_costs(options)))


def plan(config: MergeConfig) -> dict[str, object]:
    """Return what a merge will do and take, by what it is.

    Headers, configs and tokenizers are read, tensors of whole numbers, and for ``varm`` and ``sce``
    a stretch of some matrices. The errors are those of `run`, as far as these tell.
    """
    with open_models(refs_of(config)) as models:
        made, tokens = _plan(config, models)
        infos = [_info(job) for job in made.jobs]
        sources = [source for job in made.jobs for source in job.sources]
        read = sum(TensorInfo("", source.dtype, source.shape).num_bytes for source in sources)
    written = sum(info.num_bytes for info in infos)
    return {
        "models": list(models),
        "tensors": len(infos),
        "parameters": sum(info.num_elements for info in infos),
        "reads": f"{read / 1e9:.2f} GB",
        "writes": f"{written / 1e9:.2f} GB",
        "config and tokenizer of": made.origin,
        **{f"note {number}": note for number, note in enumerate((*made.notes, *tokens.notes), 1)},
    }


def _plan(config: MergeConfig, models: Mapping[str, OpenModel]) -> tuple[Plan, TokenPlan]:
    """Return what is to be done with the weights, and with the vocabulary."""
    labels = list(models)
    base = None if config.base_model is None else labels.index(str(config.base_model))
    tokens = token_plan(
        config.token_settings,
        config.chat_template,
        [model.for_tokens() for model in models.values()],
        base,
    )
    made = make_plan(config, models, METHODS, tokens.remap)
    if config.merge_method in ("varm", "sce"):
        made = made._replace(notes=(*made.notes, *rounding_notes(made.jobs)))
    return made, tokens


def _write_weights(plan: Plan, work: Stage, options: MergeOptions) -> None:
    """Merge every tensor that an earlier run has not."""
    rows = work.folder / TENSORS
    infos = [_info(job) for job in plan.jobs]
    key = json.dumps([work.manifest["settings"], work.manifest["inputs"]])
    max_shard = int(options.max_shard_gb * 1e9)
    with CheckpointWriter(work.folder, infos, max_shard, key=key) as writer:
        done = _keep_rows(rows, writer.done)
        num_done = sum(info.num_elements for info in infos if info.name in done)
        jobs = [job for job in _share(plan.jobs, options) if job.name not in done]
        by_name = {job.name: job for job in jobs}
        with track("merge", sum(i.num_elements for i in infos), "weights", num_done) as advance:
            for merged in merge_tensors(jobs, METHODS, writer, **_costs(options)):
                job = by_name[merged.name]
                append_metrics(rows, tensor_row(job, merged.coefficients, merged.digests))
                advance(_info(job).num_elements)
        writer.close(sync=False)


def _keep_rows(path: Path, done: Set[str]) -> set[str]:
    """Keep the rows of tensors that an earlier run finished, in their order; return their names."""
    rows = {row["tensor"]: row for row in (read_metrics(path) if path.exists() else [])}
    kept = [row for name, row in rows.items() if name in done]
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in kept))
    return {row["tensor"] for row in kept}


def _share(jobs: Sequence[Job], options: MergeOptions) -> list[Job]:
    """Return the jobs with the coefficients that VaRM shares among the tensors of a unit."""
    groups: dict[object, list[Job]] = {}
    for job in jobs:
        if isinstance(job.settings, VarmSettings) and job.settings.coefficients is None:
            where = place(job.name)
            layer = (where.stack, where.layer) if where.stack else job.name
            unit = {"model": "model", "layer": layer}.get(job.settings.unit)
            if unit is not None and not job.copy:
                groups.setdefault(unit, []).append(job)
    shared: dict[str, Job] = {}
    for group in groups.values():
        measured = measure_tensors(group, lambda _, stack: squared_change(stack), **_costs(options))
        found = shares(add_parts(list(measured), len(group[0].models)))
        for job in group:
            settings = job.settings.model_copy(update={"coefficients": found})
            shared[job.name] = job._replace(settings=settings)
    return [shared.get(job.name, job) for job in jobs]


def _write_beside(
    plan: Plan, tokens: TokenPlan, models: Mapping[str, OpenModel], work: Stage, recipe: MergeConfig
) -> None:
    """Write configs, tokenizer, recipe and card; the config, without which nobody loads, last."""
    out = work.folder
    labels = list(models)
    origin = models[plan.origin].folder
    speaker = origin if tokens.origin is None else models[labels[tokens.origin]].folder
    copy_side_files(origin, out, PROCESSOR_FILES)
    tokens.write(out)
    if (speaker / GENERATION).is_file():
        write_json(out / GENERATION, tokens.patch(read_json(speaker / GENERATION)))
    notes = (*plan.notes, *tokens.notes)
    base = None if recipe.base_model is None else str(recipe.base_model)
    prints = work.manifest["inputs"]
    write_text(out / RECIPE, dump(recipe))
    used = [ref.model for ref in refs_of(recipe).values()]
    hub_ids = [one.path for one in used if not Path(str(one)).expanduser().exists()]
    write_text(out / CARD, card(dump(recipe), recipe.merge_method, prints, hub_ids, base, notes))
    write_json(out / CONFIG, tokens.patch(plan.config))
    work.note(notes=list(notes))
    for note in notes:
        logger.warning("%s", note)


def _info(job: Job) -> TensorInfo:
    return TensorInfo(job.name, job.dtype, job.shape)


def _costs(options: MergeOptions) -> dict[str, Any]:
    """Return the threads and the device."""
    return {
        "threads": options.threads or num_cores(),
        "device": _find_device(options.device),
    }


def _find_device(wish: str) -> str:
    """Return a torch device, or ``cpu``, for which torch need not be loaded.

    Raises:
        SettingsError: There is no accelerator.
    """
    if wish == "cpu":
        return wish
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise SettingsError("--device cuda: torch finds none here; leave it out, or say auto")
    return "cpu"
