"""What a pruning run will take, before it starts: forwards, blocks, time and memory.

Which blocks go is not known yet. The plan supposes that they go as in the lists that the reference
code published for Llama-2-7B: attention twice as often as feed-forward, from the middle to 0.95 of
the depth. What is not on this machine is said to be unknown.
"""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from inarch.errors import InarchError
from inarch.flows._plan import operations_per_s
from inarch.flows._plan import plan as plan_fuse
from inarch.flows._prune.calibration import calibrate
from inarch.flows._prune.heal import CUT, HealSettings, runs
from inarch.flows._prune.settings import MethodSettings, PruneRun
from inarch.io.models import DTYPES, max_positions, pick_device, quiet_transformers
from inarch.io.tokenizers import load_tokenizer
from inarch.prune import METHODS, Unit, _sizes, _units
from inarch.prune._blocks import BlockModel
from inarch.prune._cost import num_passes, plain_work, search_work
from inarch.prune._deci import refuse_unlike_llama
from inarch.prune._lane import Work
from inarch.prune._native import stock_config
from inarch.prune._sizes import Sizes

_UNKNOWN = "unknown"
_TOKENS_PER_SAMPLE = 130
"""Of a row of Alpaca, on which the published runs rest."""
_FIRST, _LAST = 0.5, 0.95
"""Depth at which blocks are supposed to go."""


class _Model(NamedTuple):
    """What is known of a model from its config."""

    blocks: BlockModel
    sizes: Sizes
    max_positions: int | None


def refuse_format(settings: PruneRun) -> None:
    """Refuse a format that cannot hold what the search is likely to leave, before the search.

    Raises:
        SettingsError: The model's config alone says so.
    """
    if settings.format == "gguf-safe" and not getattr(settings.method.own(), "paired", False):
        try:
            config = AutoConfig.from_pretrained(settings.model, trust_remote_code=False)
        except (OSError, ValueError):
            return  # told when the model is loaded
        refuse_unlike_llama(stock_config(config))


def plan(settings: PruneRun, healing: HealSettings | None = None) -> dict[str, object]:
    """Return what a run will take, by what it is.

    Raises:
        SettingsError: The format cannot hold the model.
    """
    refuse_format(settings)
    model = _model(settings)
    num_tokens, source = _tokens(settings, model)
    facts: dict[str, object] = {"calibration tokens": f"{num_tokens:,} ({source})"}
    if model is None:
        facts |= {"model": f"{settings.model} is not on this machine", "forwards": _UNKNOWN}
        facts |= {"time": _UNKNOWN, "memory": _UNKNOWN}
    else:
        facts |= _search_facts(settings, model, num_tokens)
    if healing:
        run = next(iter(runs(healing, Path(CUT), settings.model, settings.tokenizer_path).values()))
        facts |= {f"heal: {name}": value for name, value in plan_fuse(run).items()}
    return facts


def _search_facts(settings: PruneRun, model: _Model, num_tokens: int) -> dict[str, object]:
    order = _supposed(settings, model)
    names = Counter(block.kind for unit in order for block in unit)
    sizes = model.sizes
    gone = [block for unit in order for block in unit]
    share = _sizes.removed_frac(sizes, gone, embeddings=settings.target.count_embeddings)
    width = model.blocks.model.config.get_text_config().hidden_size
    itemsize = model.blocks.model.dtype.itemsize
    state_gib = min(settings.search.state_gib, _state_bytes(model, num_tokens, width, itemsize))
    saved = _sizes.shed_frac(sizes, gone, settings.format)
    facts: dict[str, object] = {
        "parameters": sizes.total.parameters,
        "blocks": len(model.blocks.blocks),
        "about to go": f"{names['mha']} attention, {names['mlp']} feed-forward: {share:.1%}",
        "the saved model": f"about {saved:.1%} smaller, as {settings.format}",
        "memory": f"{sizes.total.bytes / 2**30:.3g} GiB of weights, {state_gib:.3g} of states",
    }
    method = METHODS[settings.method.name]
    if method.needs != "losses":
        return facts | {"forwards": "1 to a few per row", "time": "seconds to minutes"}
    rule = _rule(settings.method, model.blocks)
    plain = plain_work(model.blocks.blocks, order, rule)
    ours = search_work(model.blocks.blocks, order, rule, settings.search)
    device = settings.devices[0] if settings.devices else pick_device()
    speed = operations_per_s(device)
    times = [
        timedelta(seconds=round(_operations(sizes, work, num_tokens) / speed))
        for work in (plain, ours)
    ]
    first = len(rule(model.blocks.blocks))
    steps = 1 if settings.method.name == "one_shot" else len(order)
    return facts | {
        "forwards": num_passes(first, steps),
        "blocks run": f"{ours.blocks:,} of {plain.blocks:,} of the plain algorithm",
        "time of the search": f"{times[1]} on {device}; the plain algorithm {times[0]}",
    }


def _model(settings: PruneRun) -> _Model | None:
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(settings.model, trust_remote_code=False)
            with torch.device("meta"):
                empty = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError):
        return None
    dtype = config.dtype if settings.dtype == "auto" else DTYPES[settings.dtype]
    blocks = BlockModel.of(empty.to(dtype) if dtype else empty)
    return _Model(blocks, _sizes.measure(blocks), max_positions(config))


def _tokens(settings: PruneRun, model: _Model | None) -> tuple[int, str]:
    """Return the tokens that count, and how that is known."""
    try:
        tokenizer = load_tokenizer(settings.tokenizer_path)
        found = calibrate(settings.data, tokenizer, model.max_positions if model else None)
    except (InarchError, OSError):
        return settings.data.samples * _TOKENS_PER_SAMPLE, "supposed, as of Alpaca"
    return found.facts["num_tokens"], "counted"


def _rule(method: MethodSettings, model: BlockModel) -> _units.Candidates:
    """Return which units a method of losses may remove."""
    own = method.own()
    protected = _units.parse_protected(getattr(own, "protect", ()), model.blocks)
    if method.name == "sleb":
        return _units.layers(protected)
    if getattr(own, "paired", False):
        return _units.paired(protected)
    return _units.single(getattr(own, "kinds", "mix"), protected)


def _supposed(settings: PruneRun, model: _Model) -> list[Unit]:
    """Return an order that reaches the last target."""
    rule, alive = _rule(settings.method, model.blocks), list(model.blocks.blocks)
    order: list[Unit] = []
    stop = settings.target.stop(settings.target.values[-1])
    while units := rule(alive):
        gone = [block for unit in order for block in unit]
        if _sizes.reached(model.sizes, gone, stop, settings.format):
            break
        unit = min(units, key=lambda unit: _unlikely(unit, len(order), model.blocks.num_layers))
        order.append(unit)
        alive = [block for block in alive if block not in unit]
    return order


def _unlikely(unit: Unit, step: int, num_layers: int) -> tuple[bool, bool, int]:
    """Return what sorts the likely units of a step first."""
    depth = unit[0].layer / num_layers
    wanted = "mlp" if step % 3 == 2 else "mha"
    return (not _FIRST <= depth <= _LAST, unit[0].kind != wanted, -unit[0].layer)


def _operations(sizes: Sizes, work: Work, num_tokens: int) -> float:
    """Return the multiplications and additions of some work: two per weight and token."""
    per_kind: dict[str, int] = {}
    for kind in ("mha", "mlp"):
        found = [c.parameters for block, c in sizes.blocks.items() if block.kind == kind]
        per_kind[kind] = sum(found) // len(found)
    head = sizes.embeddings.parameters  # both tables where they are two: too much, if anything
    weights = work.mha * per_kind["mha"] + work.mlp * per_kind["mlp"] + work.heads * head
    return 2.0 * weights * num_tokens


def _state_bytes(model: _Model, num_tokens: int, width: int, itemsize: int) -> float:
    """Return the GiB of all states of all candidates."""
    num = len(model.blocks.blocks)
    return num * num / 2 * num_tokens * width * itemsize / 2**30
