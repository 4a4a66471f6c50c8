"""The published judgments of ``../shared/data/eval``, beside the checkout on some machines."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def eval_data(shared_data) -> Path:
    """The folder of published judgments and numbers."""
    folder = shared_data / "eval"
    if not folder.is_dir():
        pytest.skip(f"needs the published judgments of {folder}, which is absent")
    return folder
