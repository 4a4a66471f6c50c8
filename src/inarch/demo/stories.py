"""BlockPruner in the demo on a small real model: what it writes with fewer blocks.

The model comes without texts, so it writes stories itself: some of them the blocks are judged on,
others the result.

Shapes: B = stories, T = tokens.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from inarch.errors import DataError
from inarch.flows import prune
from inarch.flows._prune.calibration import CalibrationSettings
from inarch.flows._prune.settings import MethodSettings, TargetSettings
from inarch.io.files import digest_folder, write_atomic
from inarch.io.models import load_model
from inarch.io.runs import stage
from inarch.io.tokenizers import Tokenizer, load_tokenizer

NUM_STORIES = 64
NUM_TOKENS = 160
"""Longest story."""
NUM_BLOCKS = 3
OPENING = "Once upon a time"
NUM_SHOWN = 64
"""Tokens that the model adds to the opening."""
COMPARED = ("one_shot", "sleb", "block_influence", "random")


def pruning(model: str, folder: Path) -> prune.PruneRun:
    """Return the settings of the run of ``inarch prune``: half of the stories choose."""
    return prune.PruneRun(
        model=model,
        data=CalibrationSettings(
            path=str(folder / "stories.jsonl"), samples=NUM_STORIES // 2, length=NUM_TOKENS
        ),
        target=TargetSettings(blocks=(NUM_BLOCKS,)),
        compare=tuple(MethodSettings(name=name) for name in COMPARED),
        devices=("cpu",),
        speed=False,
    )


def shrink(model: str, folder: Path) -> dict[str, Any]:
    """Prune the model, and return what came of it; all of it is kept in ``folder``."""
    own = {
        "num_stories": NUM_STORIES,
        "num_tokens": NUM_TOKENS,
        "num_shown": NUM_SHOWN,
        "num_blocks": NUM_BLOCKS,
        "opening": OPENING,
        "compared": COMPARED,
    }
    with stage(folder, "demo stories", own, {"model": digest_folder(model)}) as opened:
        if not opened.done:
            settings = pruning(model, folder)
            _write_stories(model, Path(settings.data.path))
            found = prune.run(settings, folder / "pruned")
            smaller = folder / "pruned" / found["models"][-1]["folder"]
            opened.note(
                model=settings.label,
                order=[f"{entry['kind']}{entry['layer']}" for entry in found["order"]],
                num_blocks=2 * found["num_layers"],
                perplexity={
                    method: [
                        {key: row[key] for key in ("blocks", "share")}
                        | {"perplexity": math.exp(row["held_out"])}
                        for row in curve
                    ]
                    for method, curve in found["curves"].items()
                },
                before=_told_by(model),
                after=_told_by(str(smaller)),
            )
        return opened.facts


def _write_stories(model: str, path: Path) -> None:
    """Write stories that the model samples, unless they are there."""
    if path.exists():
        return
    network, tokenizer = load_model(model), load_tokenizer(model)
    begin_BT = torch.full((NUM_STORIES, 1), _begin(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids_BT = _write(network, begin_BT, NUM_TOKENS - 1, do_sample=True, top_k=0, top_p=1.0)
    texts = [tokenizer.hf.decode(row, skip_special_tokens=True).strip() for row in ids_BT]
    with write_atomic(path) as temp:
        temp.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))


def _told_by(model: str) -> str:
    """Return the opening as the model goes on with it, word by most probable word."""
    network, tokenizer = load_model(model), load_tokenizer(model)
    ids_BT = torch.tensor([[_begin(tokenizer), *tokenizer.encode(OPENING).ids.tolist()]])
    written_BT = _write(network, ids_BT, NUM_SHOWN, do_sample=False)
    return str(tokenizer.hf.decode(written_BT[0], skip_special_tokens=True)).strip()


def _begin(tokenizer: Tokenizer) -> int:
    if "bos" not in tokenizer.roles:
        raise DataError(
            f"stories: found no begin token in the tokenizer of {tokenizer.name}, expected one, to"
            " begin a story with; give another model"
        )
    return tokenizer.roles["bos"]


@torch.no_grad()
def _write(network: Any, ids_BT: torch.Tensor, num: int, **how: Any) -> torch.Tensor:
    config = GenerationConfig(
        max_new_tokens=num, eos_token_id=network.config.eos_token_id, pad_token_id=0, **how
    )
    mask_BT = torch.ones_like(ids_BT)
    written: torch.Tensor = network.generate(
        ids_BT, attention_mask=mask_BT, generation_config=config
    )
    return written
