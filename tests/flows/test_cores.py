"""Cores that may be used, where the system says it and where it does not."""

import os

from inarch.flows._cores import num_cores


def test_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert num_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    assert num_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1
