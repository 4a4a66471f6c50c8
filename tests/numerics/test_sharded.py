import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_gradients_of_a_model_spread_over_processes_are_those_of_a_whole_one() -> None:
    script = Path(__file__).with_name("sharded.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(script)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=env, check=False, timeout=300).returncode == 0
