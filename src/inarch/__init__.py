"""inarch: grow one better, smaller, better-behaved language model out of open ones.

Importing the package imports no torch: the functions below are loaded when they are first used.
"""

from importlib import import_module

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
