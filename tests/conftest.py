"""Set up for every test: no network, one torch thread, and the shared real data where it exists."""

import os

# Read when transformers and huggingface_hub are imported, so they are set before anything else is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# What a developer has fetched changes no test.
os.environ["INARCH_CACHE"] = os.devnull
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tokenizers and models, which is beside the checkout on some machines."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real tokenizers and models of {SHARED_DATA}, which is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def toxic_spans(shared_data: Path) -> Path:
    """The folder of the official files of SemEval-2021 Task 5, where they are."""
    folder = shared_data / "toxic_spans"
    if not folder.is_dir():
        pytest.skip(f"needs the posts of SemEval-2021 Task 5 in {folder}, which is absent")
    return folder
