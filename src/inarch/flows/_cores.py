"""How much of the machine a flow takes."""

import os


def num_cores() -> int:
    """Return the cores that this process may use, or where the system does not say, all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
