"""What a run of SEFT will take, before it starts: prompts, tokens, disk and time.

Answers and revisions are counted at their full length, prompts at 4 bytes per token. Times divide
the arithmetic of the models on this machine, 2 operations per weight and token and 6 in training,
by the speed of a matrix product measured here and now.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from inarch.align._ranked import RankedSettings, ranked_rows
from inarch.flows._plan import num_weights, operations_per_s
from inarch.flows._seft.pool import fresh_prompts
from inarch.flows._seft.reviser import trained_model
from inarch.flows._seft.settings import SeftRun
from inarch.flows.teach import device_of
from inarch.train.plan import num_steps
from inarch.train.settings import TrainSettings

_BYTES_PER_TOKEN = 4
_UNKNOWN = "unknown"


def plan(settings: SeftRun) -> dict[str, object]:
    """Return what a run will take at most, by what it is; what is not here is unknown."""
    trained = _trained(settings)
    facts: dict[str, object] = {
        "rounds": [one.reviser for one in settings.rounds],
        "control": settings.control or "none",
        "revisers to train": sorted(trained) or "none",
        "annotation-free": "no" if settings.filters.min_gain is not None else "yes",
    }
    if not Path(settings.prompts.path).exists():
        costs = ("prompts per round", "disk", "memory", "time")
        return facts | dict.fromkeys(costs, _UNKNOWN)
    pool = fresh_prompts(settings)
    sizes = [len(fresh.rows) for fresh in pool]
    facts["prompts per round"] = sizes
    for name, source in trained.items():
        facts[f"lessons of {name}"] = _num_lessons(source)
    texts = [m.content for fresh in pool for row in fresh.rows for m in row.messages]
    per_prompt = sum(len(text.encode()) for text in texts) / _BYTES_PER_TOKEN / max(1, sum(sizes))
    return facts | _costs(settings, sizes, per_prompt)


def _trained(settings: SeftRun) -> dict[str, RankedSettings]:
    if settings.control == "self_sft":
        return {}
    return {name: one.data for name, one in settings.revisers.items() if one.data is not None}


def _num_lessons(source: RankedSettings) -> object:
    """Return the answers that are not the best to their prompt; some best ones come on top."""
    if not Path(source.path).exists():
        return _UNKNOWN
    return sum(len(row.answers) - 1 for row in ranked_rows(source, Counter()))


def _costs(settings: SeftRun, sizes: Sequence[int], per_prompt: float) -> dict[str, object]:
    policy, longest = num_weights(settings.policy, 32_000), settings.sampling.max_new_tokens
    answered, revised = per_prompt + longest, per_prompt + 2 * settings.decode.max_new_tokens
    operations, disk, memory, known = 0.0, 0.0, [0.0], policy is not None
    for size, one in zip(sizes, settings.rounds, strict=True):
        reviser = _reviser_weights(settings, one.reviser)
        known = known and reviser is not None
        operations += 2 * size * (answered * (policy or 0) + revised * (reviser or 0))
        operations += 6 * (policy or 0) * _rows_learnt(size, settings.train) * answered
        disk += 4 * (policy or 0)
        memory += [(4 if settings.train.lora else 16) * (policy or 0), 4 * (reviser or 0)]
    for name, source in _trained(settings).items():
        weights, train = _reviser_weights(settings, name), settings.revisers[name].train
        lessons = _num_lessons(source)
        known = known and weights is not None and isinstance(lessons, int)
        passes = _rows_learnt(lessons, train) if isinstance(lessons, int) else 0.0
        operations += 6 * (weights or 0) * passes * revised
        disk += 4 * (weights or 0)
        memory.append((4 if train.lora else 16) * (weights or 0))
    more, device = (
        "" if known else f"{_UNKNOWN} beyond what is on this machine; ",
        device_of(settings),
    )
    seconds = round(operations / operations_per_s(device))
    return {
        "disk": f"{more}{disk / 2**30:.2g} GiB of weights, without checkpoints",
        "memory": f"{more}{max(memory) / 2**30:.2g} GiB and activations",
        "time": f"{more}at most {timedelta(seconds=seconds)} on {device}",
    }


def _rows_learnt(num_rows: int, train: TrainSettings) -> float:
    return num_steps(max(1, num_rows), train) * train.batch_size


def _reviser_weights(settings: SeftRun, name: str) -> int | None:
    """Return the weights of a reviser; 0 where none is asked."""
    one = settings.revisers[name]
    if settings.control == "self_sft":
        return 0
    if one.path is not None:
        return num_weights(trained_model(Path(one.path)), 32_000)
    return num_weights(one.model or settings.policy, 32_000)
