"""Recipes for judges, runs of them that are killed, a tiny model that always says the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from inarch.flows.judge import JudgeRun
from inarch.settings import validate
from tests.tiny import byte_level, save_model

RUN = """
import sys
from pathlib import Path
from inarch.flows import judge
from inarch.settings import load
judge.run(load(judge.JudgeRun, sys.argv[1], []), Path(sys.argv[2]))
"""


def recipe(protocol: dict[str, Any], url: str, *models: Any, **more: Any) -> dict[str, Any]:
    """Return a recipe with one judge, whose endpoint may be changed by ``judge``."""
    endpoint = {"url": url, "model": "the-judge", "max_retries": 2} | more.pop("judge", {})
    return {"protocol": protocol, "models": models, "judges": [{"endpoint": endpoint}]} | more


def settings(protocol: dict[str, Any], url: str, *models: Any, **more: Any) -> JudgeRun:
    """Return a recipe's settings."""
    return validate(JudgeRun, recipe(protocol, url, *models, **more), "test")


def at(url: str, name: str = "cand", **more: Any) -> dict[str, Any]:
    """Return a model at an endpoint."""
    return {"name": name, "endpoint": {"url": url, "model": name, "max_retries": 2} | more}


def told_of(told: dict[str, Any], model: str) -> dict[str, Any]:
    """Return what a run tells of a model by the judge of `recipe`."""
    found: dict[str, Any] = told["judges"]["the-judge"]["models"][model]
    return found


@contextmanager
def running(recipe: Path, out: Path) -> Iterator[None]:
    """Run a recipe in a process of its own, and kill that at the end."""
    command = [sys.executable, "-c", RUN, str(recipe), str(out)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something is true, for a hundred seconds at most."""
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def says_always(folder: Path, tokens: Sequence[str]) -> Path:
    """Save a model that says these tokens whatever it is asked: each has one that follows."""
    hf = byte_level()
    save_model(folder, hf)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = hf.convert_tokens_to_ids(["<|assistant|>", *tokens, "<|end|>"])
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for place, (token, following) in enumerate(pairwise(ids)):
            model.model.embed_tokens.weight[token, place] = 1.0
            model.lm_head.weight[following, place] = 9.0
    model.save_pretrained(folder)
    save_ends(folder)
    return folder


def save_ends(folder: Path) -> None:
    """Let a server end answers where the model does."""
    ends = byte_level().convert_tokens_to_ids(["<|end|>", "<eos>"])
    GenerationConfig(do_sample=True, eos_token_id=ends).save_pretrained(folder)
