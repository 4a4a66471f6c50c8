"""inarch: grow one better, smaller, better-behaved language model out of open ones.

Importing the package imports no torch: the functions below are loaded when they are first used.
It does make transformers know the pruned models that `prune` saves as ``native``, as soon as
transformers itself is imported, before or after this package.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

__version__ = "0.1.0"

_FUNCTIONS = {
    "run_fuse": "inarch.flows.fuse",
    "run_match": "inarch.flows.match",
    "run_teach": "inarch.flows.teach",
}
"""Public function and the flow whose ``run`` it is. ``inarch.fuse`` and the like are the areas."""

__all__ = ["__version__", *_FUNCTIONS]


def __getattr__(name: str) -> object:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'inarch' has no attribute {name!r}")
    return import_module(_FUNCTIONS[name]).run


_AUTO = "transformers.models.auto.configuration_auto"
"""The module of transformers that knows the types of models."""


class _AfterAuto(MetaPathFinder):
    """Registers the type of pruned models once `_AUTO` has been imported, and not before."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != _AUTO:
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: object) -> None:
                run(module)  # type: ignore[arg-type]
                _register()

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    import_module("inarch.io.modeling_inarch_pruned")


if _AUTO in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterAuto())
