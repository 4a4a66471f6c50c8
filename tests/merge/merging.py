"""Models to merge, and mergekit as an oracle."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from inarch.merge import _loops
from inarch.merge._stack import PART_ELEMENTS, ArrayStack, Rule, Stack
from inarch.settings import Settings

KINDS = ("numpy", "torch")


def f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def random_models(
    num: int, shape: tuple[int, ...] = (24, 16), seed: int = 0, change: float = 0.1
) -> tuple[list[np.ndarray], np.ndarray]:
    """Models around a base, with a tenth of the changes exactly zero."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=shape).astype(np.float32)
    changes = rng.normal(scale=change, size=(num, *shape)) * (rng.random((num, *shape)) > 0.1)
    return [base + c.astype(np.float32) for c in changes], base


def stack(
    models: Sequence[np.ndarray],
    base: np.ndarray | None,
    kind: str = "numpy",
    part_elements: int = PART_ELEMENTS,
    name: str = "tensor",
) -> ArrayStack:
    wrap = torch.from_numpy if kind == "torch" else (lambda array: array)
    return ArrayStack(
        [wrap(np.array(m)) for m in models],
        None if base is None else wrap(np.array(base)),
        name,
        part_elements,
    )


def merged(
    method: Callable[[Stack, Any], Rule],
    settings: Settings,
    models: Sequence[np.ndarray],
    base: np.ndarray | None,
    **how: Any,
) -> np.ndarray:
    """The whole merged tensor, as numpy."""
    made = stack(models, base, **how)
    return np.asarray(made.merge(method(made, settings)))


def oracle(
    method: str, models: Sequence[np.ndarray], base: np.ndarray | None, **parameters: Any
) -> np.ndarray:
    """What mergekit makes of the same models, in float32."""
    merge_methods = pytest.importorskip("mergekit.merge_methods")
    tensors = [
        torch.from_numpy(np.array(m)) for m in ([] if base is None else [base]) + list(models)
    ]
    result = merge_methods.merge_tensors(
        tensors,
        method,
        parameters=parameters,
        base_index=None if base is None else 0,
        name="tensor",
        dtype=torch.float32,
    )
    return result.numpy()


def assert_parity(
    run: Callable[..., np.ndarray],
    method: str,
    models: Sequence[np.ndarray],
    base: np.ndarray,
    values: Mapping[str, Any],
) -> None:
    """A method gives what mergekit's gives; `values` are written as mergekit has them."""
    ours = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    assert_close(run(models, base, **ours), oracle(method, models, base, **values), 3)


def assert_plain_and_torch_alike(
    run: Callable[..., np.ndarray],
    loops: Sequence[str],
    models: Sequence[np.ndarray],
    base: np.ndarray,
    **values: Any,
) -> None:
    """Without these compiled loops, and with torch, a method gives the same bits."""
    fast = run(models, base, part_elements=500, **values)
    np.testing.assert_array_equal(run(models, base, kind="torch", **values), fast)
    with pytest.MonkeyPatch.context() as patch:
        for name in loops:
            patch.setattr(_loops, name, None)
        np.testing.assert_array_equal(run(models, base, part_elements=500, **values), fast)


def assert_defaults(settings: type[Settings], method: str) -> None:
    """Each parameter of mergekit's method is here, with the same default."""
    registry = pytest.importorskip("mergekit.merge_methods.registry")
    ours = {field.alias or name: field for name, field in settings.model_fields.items()}
    for parameter in registry.get(method).spec.parameters:
        field = ours[parameter.name]
        if not isinstance(parameter.default, bool | int | float):
            assert field.is_required()
        else:
            assert field.default in (parameter.default, (parameter.default,)), parameter.name


def assert_close(actual: np.ndarray, expected: np.ndarray, scale: float = 1.0) -> None:
    """Equal within a few roundings of numbers of the size `scale`."""
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=3e-7, atol=3e-7 * scale)
