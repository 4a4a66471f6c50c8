"""The demo's merges against formulas written again in float64, on weights that it trained."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from inarch.demo.experiment import EXPERTS, fused, taught
from inarch.demo.merges import MERGES, coefficients, merged, merging
from inarch.flows import merge
from inarch.merge import METHODS

PIVOT = {"a.weight": [[0.0, 0.0]], "b.weight": [[1.0, -1.0]]}
CHANGES = {  # of a.weight and b.weight
    "facts": ([3.0, 0.0], [1.0, 1.0]),
    "translator": ([0.0, 4.0], [-1.0, 1.0]),
    "reckoner": ([0.0, 0.0], [1.0, 3.0]),
}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 1}


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """A seed's folder with a pivot and three pairs of two tensors, and no tokenizers."""
    pairs = fused("pairs", tmp_path)
    weights = {taught("target", tmp_path): PIVOT}
    for source, (a, b) in CHANGES.items():
        moved = {"a.weight": a, "b.weight": b}
        weights[pairs[f"pair-{source}"]] = {
            name: np.add(PIVOT[name], change) for name, change in moved.items()
        }
    for folder, tensors in weights.items():
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        arrays = {name: np.array(rows, np.float32) for name, rows in tensors.items()}
        save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def _run(name: str, seed: Path) -> tuple[list[float], list[float]]:
    merge.run(merging(name, seed), merged(name, seed))
    found = load_file(merged(name, seed) / "model.safetensors")
    return found["a.weight"].ravel().tolist(), found["b.weight"].ravel().tolist()


def test_every_merge_is_a_method_with_settings_of_its_own() -> None:
    for row in MERGES.values():
        assert set(row.parameters) <= set(METHODS[row.method].settings.model_fields)
    recipes = [(row.method, tuple(row.parameters.items())) for row in MERGES.values()]
    assert len(set(recipes)) == len({row.label for row in MERGES.values()}) == len(recipes)
    shares = {
        row.label: row.parameters.get("density", row.parameters.get("select_topk", 1.0))
        for row in MERGES.values()
        if row.label.endswith("%")
    }
    assert shares == {label: float(label.split()[-1][:-1]) / 100 for label in shares}


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        # a: changes 3 0, 0 4, 0 0. b: 1 1, -1 1, 1 3, on 1 -1.
        ("merge-mean", [1, 4 / 3], [1 + 1 / 3, -1 + 5 / 3]),
        ("merge-sum", [3, 4], [2, 4]),
        # Squares of a: 9 16 0, of 25; of b: 2 2 10, of 14.
        ("merge-varm", [27 / 25, 64 / 25], [1 + 10 / 14, -1 + 34 / 14]),
        # Of each element of a all the change is one model's. b: (1 - 1 + 1) / 3, (1 + 1 + 27) / 11.
        ("merge-varm-element", [3, 4], [1 + 1 / 3, -1 + 29 / 11]),
        # As VaRM, without the -1 of b's first element.
        ("merge-sce", [27 / 25, 64 / 25], [1 + 12 / 14, -1 + 34 / 14]),
        # And divided by the weights that agree: 9/25 and 16/25 alone in a, 12/14 and 1 in b.
        ("merge-sce-mergekit", [3, 4], [2, -1 + 34 / 14]),
        # int(0.1 x 2) elements are selected: none.
        ("merge-sce-0.1", [0, 0], [1, -1]),
        # The mean of those with the sign of the sum.
        ("merge-ties", [3, 4], [2, -1 + 5 / 3]),
    ],
)
def test_merges_by_hand(name: str, a: list[float], b: list[float], seed: Path) -> None:
    found_a, found_b = _run(name, seed)
    assert found_a == pytest.approx(a, abs=1e-6)
    assert found_b == pytest.approx(b, abs=1e-6)


def test_weights_are_told_by_source_as_a_mean_over_tensors(seed: Path) -> None:
    _run("merge-varm", seed)
    # (9/25 + 2/14) / 2, (16/25 + 2/14) / 2, (0 + 10/14) / 2
    told = coefficients("merge-varm", seed)
    assert told == pytest.approx(dict(zip(EXPERTS, (0.2514286, 0.3914286, 0.3571429), strict=True)))
    _run("merge-varm-element", seed)
    assert coefficients("merge-varm-element", seed) is None
