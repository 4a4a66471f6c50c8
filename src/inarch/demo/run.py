"""Run the demo: all it makes is made by jobs, and the jobs of all seeds share a few processes."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import NonNegativeInt

from inarch.demo import align_results, aligns, evolves, prune_results, prunes, stories
from inarch.demo.experiment import (
    VARIANTS,
    Size,
    fused,
    fusing,
    num_fusing_steps,
    num_teaching_steps,
    questions,
    taught,
    teaching,
    write_data,
)
from inarch.demo.merges import MERGES, merged, merging
from inarch.demo.models import SOURCES, TARGET
from inarch.demo.results import Results, collect
from inarch.demo.scores import score
from inarch.errors import SettingsError
from inarch.flows import fuse, merge
from inarch.io import progress
from inarch.io.files import read_metrics, write_atomic
from inarch.settings import Settings

SEEDS = (101, 102, 103)
"""Seeds of the default demo. None of its settings were chosen on them."""
FULL = Size(
    ("plain", "fusellm-0.9", "fusellm-0.5", "pairs"),
    merges=tuple(MERGES),
    pruned="fusellm-0.5",
    aligned=True,
)
QUICK = Size(("plain", "fusellm-0.5"))
STORIES = Path("../shared/data/models/stories260K")
"""Where a checkout may have a small real model."""

_MAX_PROCESSES = 8
_PARTS = (("taught",), ("fused", "prepared"), ("pruned", "merged", "aligned", "evolved"))
"""What may run at once, in the order in which one needs the other."""
_STEPS_PER_MINUTE = 2000
"""Optimiser steps that two processes of one thread do in a minute, with all that goes with them;
measured, for ``--dry-run``."""


class Job(NamedTuple):
    """One model, or several, and their scores."""

    seed: int
    part: str
    """``taught``: one of the four; ``fused``: a variant of the target; ``prepared``: the first
    stage of alignment, and what SEFT reads; ``aligned``: what follows it; ``evolved``: SEFT;
    ``pruned``; ``merged``."""
    name: str
    num_steps: int
    """Optimiser steps; without training there are none."""


class DemoSettings(Settings):
    """How much of the demo is run."""

    seeds: tuple[NonNegativeInt, ...] = SEEDS
    """One world each, with models of its own."""
    quick: bool = False
    """One world, plain training and one fusion only."""
    stories: str | None = None
    """Folder of a small real model that is pruned, too; by default Karpathy's stories260K in
    ../shared/data/models, if it is there."""

    @property
    def worlds(self) -> tuple[int, ...]:
        """Return the seeds that are run."""
        return self.seeds[:1] if self.quick else self.seeds

    @property
    def size(self) -> Size:
        """Return what is trained in each world."""
        if self.quick:
            return QUICK
        there = str(STORIES) if STORIES.is_dir() else ""
        return FULL._replace(stories=there if self.stories is None else self.stories)


def run(out: Path, settings: DemoSettings) -> Results:
    """Run the demo, or what is left of it, and return what it found.

    Writes ``out/results.json`` and one folder per seed with everything that led there.
    """
    with _processes() as pool:
        return grow(out, settings.worlds, settings.size, pool)


def plan(settings: DemoSettings) -> dict[str, object]:
    """Return what `run` would do, and how long it takes on two cores."""
    jobs = [job for seed in settings.worlds for job in _jobs(seed, settings.size)]
    num_steps = sum(job.num_steps for job in jobs)
    return {
        "models": [model.name for model in (*SOURCES, TARGET)],
        "variants": [VARIANTS[name].label for name in settings.size.variants],
        "merges": [MERGES[name].label for name in settings.size.merges],
        "aligned": [way.label for way in aligns.WAYS.values()] if settings.size.aligned else [],
        "pruned": [name for name in (settings.size.pruned, settings.size.stories) if name],
        "training steps": num_steps,
        "time on two cores": f"about {max(1, round(num_steps / _STEPS_PER_MINUTE))} min",
    }


def grow(out: Path, seeds: Sequence[int], size: Size, pool: Executor) -> Results:
    """Run a demo of any size; see `run`.

    Args:
        out: Folder of the demo.
        seeds: One world each.
        size: How much to do.
        pool: Runs the trainings.
    """
    began, folders = time.monotonic(), {seed: _folder(out, seed) for seed in seeds}
    if size.stories and not Path(size.stories, "config.json").is_file():
        raise SettingsError(
            f"stories: found no model in {size.stories}, expected a folder with config.json and"
            " weights; leave it out, or give another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    for seed, folder in folders.items():
        write_data(seed, size, folder)
    jobs = [job for seed in seeds for job in _jobs(seed, size)]
    # The longest first, so that no process is left alone with it at the end.
    jobs.sort(key=lambda job: (-job.num_steps, job.part != "pruned"))
    total = sum(job.num_steps for job in jobs)
    steps_done = _count_steps([*folders.values()])
    with progress.track("demo", total, "steps", done=steps_done()) as advance:
        for parts in _PARTS:
            futures: set[Future[Any]] = {
                pool.submit(_do, job, size, out) for job in jobs if job.part in parts
            }
            if size.stories and "taught" in parts:
                futures.add(pool.submit(stories.shrink, size.stories, out / "stories"))
            _watch(futures, steps_done, advance)
    results = prune_results.add(collect(folders, size), folders, size)
    results = align_results.add(results, folders, size)
    facts = results.as_json() | {"wall_s": round(time.monotonic() - began, 1)}
    with write_atomic(out / "results.json") as temp:
        temp.write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    return results


def _folder(out: Path, seed: int) -> Path:
    return out / f"seed-{seed}"


def _jobs(seed: int, size: Size) -> list[Job]:
    lessons = [
        Job(seed, "taught", model.name, num_teaching_steps(model, size))
        for model in (*SOURCES, TARGET)
    ]
    fusions = [
        Job(seed, "fused", name, len(fused(name, Path())) * num_fusing_steps(VARIANTS[name], size))
        for name in size.variants
    ]
    removals = [Job(seed, "pruned", size.pruned, 0)] if size.pruned else []
    merges = [Job(seed, "merged", name, 0) for name in size.merges]
    ways = [
        Job(seed, _part(name), name, evolves.num_steps(name))
        for name in aligns.WAYS
        if size.aligned
    ]
    return lessons + fusions + removals + merges + ways


def _part(way: str) -> str:
    """Return which part of a seed one of the WAYS is."""
    if way == aligns.FIRST:
        return "prepared"
    return "aligned" if aligns.WAYS[way].method else "evolved"


def _do(job: Job, size: Size, out: Path) -> None:
    folder = _folder(out, job.seed)
    own = folder / job.part / job.name
    tasks = questions(job.seed, size)
    if job.part == "pruned":
        prunes.removals(job.name, folder, job.seed, tasks)
        return
    if job.part in ("prepared", "aligned"):
        aligns.make(job.name, folder, tasks)
        if job.part == "prepared":
            evolves.write_lessons(folder, job.seed)
        return
    if job.part == "evolved":
        evolves.make(job.name, folder)
        aligns.measure(job.name, folder, tasks)
        return
    if job.part == "taught":
        model = next(m for m in (*SOURCES, TARGET) if m.name == job.name)
        fuse.run(teaching(model, job.seed, size, folder), own)
        made = {job.name: taught(job.name, folder)}
    elif job.part == "fused":
        fuse.run(fusing(job.name, job.seed, size, folder), own)
        made = fused(job.name, folder)
    else:
        made = {job.name: merged(job.name, folder)}
        merge.run(merging(job.name, folder), made[job.name], merge.MergeOptions(threads=1))
    for name, model_folder in made.items():
        score(model_folder, tasks, folder / "scores" / name)


@contextmanager
def _processes() -> Iterator[Executor]:
    """Give a pool of processes of one thread each, and leave nothing running after an error."""
    num = min(os.cpu_count() or 1, _MAX_PROCESSES)
    # Not forked: a child of a process in which torch has threads may hang.
    pool = ProcessPoolExecutor(num, mp_context=get_context("spawn"), initializer=_begin_process)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """Keep a process to one thread, which is faster for models so small, and off the screen."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    progress.console.quiet = True
    logging.disable(logging.WARNING)  # what is left out is told by the results
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; else it would hold the folders it works in."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _watch(
    futures: set[Future[Any]], steps_done: Callable[[], int], advance: Callable[[int], None]
) -> None:
    """Wait for jobs and show how far they are; the first error is raised."""
    before = steps_done()
    while futures:
        done, futures = wait(futures, timeout=1.0, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        now = steps_done()
        advance(now - before)
        before = now


def _count_steps(folders: Sequence[Path]) -> Callable[[], int]:
    """Return what counts the optimiser steps that are done, from what the runs have logged.

    What a training logged that was killed before this call does not count: it starts over.
    """
    began = time.time()

    def steps_of(path: Path) -> int:
        is_stale = path.stat().st_mtime < began and not (path.parent / "model").exists()
        rows = [] if is_stale else read_metrics(path)
        return int(rows[-1]["step"]) if rows else 0

    return lambda: sum(steps_of(path) for f in folders for path in f.rglob("metrics.jsonl"))
