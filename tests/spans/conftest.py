"""The posts of SemEval-2021 Task 5, where they are."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toxic_spans(shared_data) -> Path:
    """The folder of the official files, which is beside the checkout on some machines."""
    folder = shared_data / "toxic_spans"
    if not folder.is_dir():
        pytest.skip(f"needs the posts of SemEval-2021 Task 5 in {folder}, which is absent")
    return folder
