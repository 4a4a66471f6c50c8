"""What ``align build`` will take, before it starts: answers, scores, cost, disk, memory and time.

Answers are counted at their full length, prompts at 4 bytes per token. Times divide the arithmetic
of the models on this machine, 2 operations per weight and token and 6 in training, by the speed of
a matrix product measured here and now; endpoints and scorers take theirs beside that.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from inarch.align._candidates import first_part
from inarch.align._prompts import PromptRow, once, read_prompts
from inarch.align._rows import Dropped
from inarch.errors import DataError
from inarch.flows._build.settings import BuildRun
from inarch.flows._plan import num_weights, operations_per_s
from inarch.flows.recipe import ModelSettings
from inarch.flows.teach import device_of
from inarch.io.answers import AnswererSettings, foresee

_BYTES_PER_TOKEN = 4
_UNKNOWN = "unknown"


def plan(settings: BuildRun) -> dict[str, object]:
    """Return what a run will take at most, by what it is; what is not here is unknown."""
    facts: dict[str, object] = {"rows": settings.choose.form, "scorer": settings.scorer.kind}
    names = [source.name for source in settings.sources]
    if not Path(settings.prompts.path).exists():
        costs = ("prompts", "for SFT", "answers", "cost of sources", "disk", "memory", "time")
        absent = dict.fromkeys(costs, _UNKNOWN)
        absent["prompts"] += f": no {settings.prompts.path} on this machine"
        return facts | {"sources": names, "samples": settings.samples} | absent
    prompts = list(once(read_prompts(settings.prompts, Dropped()), Dropped()))
    if len(prompts) < 2:
        raise DataError(
            f"{settings.prompts.path}: found {len(prompts)} usable prompts, expected some for SFT"
            " and some for preferences"
        )
    num_sft = len(first_part(len(prompts), settings.sft.share, settings.sft.seed))
    num_rest = len(prompts) - num_sft if settings.choose.form == "triples" else 0
    facts |= {"prompts": len(prompts), "for SFT": num_sft}
    for source in settings.sources:
        facts[f"answers of {source.name}"] = len(prompts) * settings.samples
    if num_rest:
        facts[f"answers of {settings.target.label}, after SFT"] = num_rest * settings.samples
    if settings.scorer.judge is not None:
        num_answers = len(prompts) * len(settings.sources) + num_rest
        facts["calls of the judge"] = f"at most {num_answers * settings.samples:,}"
    return facts | _costs(settings, prompts, num_sft, num_rest)


def _costs(
    settings: BuildRun, prompts: Sequence[PromptRow], num_sft: int, num_rest: int
) -> dict[str, object]:
    samples, longest = settings.samples, settings.sampling.max_new_tokens
    per_prompt = sum(_num_tokens(prompt) for prompt in prompts) / max(1, len(prompts))
    per_answer = per_prompt + longest
    sources = [_weights_of(source) for source in settings.sources if source.path]
    target = num_weights(settings.target, 32_000)
    num_asked = len(prompts) * samples
    operations = 2.0 * sum(filter(None, sources)) * num_asked * per_answer
    memory = [4 * found for found in sources if found]
    disk = (
        2.0 * _BYTES_PER_TOKEN * longest * (len(settings.sources) * num_asked + num_rest * samples)
    )
    if target is not None:
        passes = settings.sft.train.epochs * num_sft
        if settings.sft.train.max_steps is not None:
            passes = settings.sft.train.max_steps * settings.sft.train.batch_size
        operations += (
            6 * target * passes * per_answer + 2 * target * num_rest * samples * per_answer
        )
        memory.append((4 if settings.sft.train.lora else 16) * target)
        disk += 4 * target
    known = target is not None and None not in sources
    more = "" if known else f"{_UNKNOWN} beyond what is on this machine; "
    device = device_of(settings)
    seconds = round(operations / operations_per_s(device))
    return {
        "cost of sources": _price(settings, prompts),
        "disk": f"{more}at most {disk / 2**30:.2g} GiB",
        "memory": f"{more}{max(memory, default=0) / 2**30:.2g} GiB and activations",
        "time": f"{more}at most {timedelta(seconds=seconds)} on {device}, without endpoints and"
        " scorer",
    }


def _price(settings: BuildRun, prompts: Sequence[PromptRow]) -> str:
    """Return what endpoints of sources cost at most."""
    chats = [prompt.messages for prompt in prompts]
    found = [foresee(s, chats, settings.sampling, settings.samples) for s in settings.sources]
    costs = [estimate.cost for estimate in found if estimate is not None]
    if None in costs:
        return f"{_UNKNOWN}: set endpoint.prompt_price and answer_price"
    return f"at most {sum(filter(None, costs)):.2f}" if costs else "none"


def _num_tokens(prompt: PromptRow) -> int:
    return sum(len(m.content.encode()) // _BYTES_PER_TOKEN + 4 for m in prompt.messages)


def _weights_of(source: AnswererSettings) -> int | None:
    return num_weights(ModelSettings(path=source.path, name=source.name), 32_000)
