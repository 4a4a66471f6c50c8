import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from inarch.train.settings import LoraSettings, TrainSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 2, "max_steps": 5}, "max_steps and epochs"),
        ({"batch_size": 10, "micro_batch_size": 4}, "divisor"),
        ({"schedule": "constant", "min_lr_frac": 0.1}, "never falls"),
        ({"save_every_steps": None, "keep_checkpoints": 2}, "there are none"),
        ({"deepspeed": "a.json", "fsdp": "b.json"}, "expected one of them"),
        ({"lora": LoraSettings(), "fsdp": "b.json"}, "cannot be merged"),
        ({"lr": 0}, "greater than 0"),
        ({"gradient_checkpointing": "false"}, "boolean"),
        ({"batchsize": 3}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**given)


def test_defaults_are_those_that_fusellm_publishes() -> None:
    plan = TrainSettings()
    assert (plan.epochs, plan.batch_size, plan.lr) == (1, 128, 1e-5)
    assert (plan.schedule, plan.warmup_frac) == ("cosine", 0.008)
    assert (plan.betas, plan.weight_decay, plan.clip) == ((0.9, 0.95), 0.1, 1.0)


def test_settings_need_no_torch() -> None:
    code = "import sys, inarch.train.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
