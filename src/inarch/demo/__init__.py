"""The tiny world that needs no download: models that know different things, and their fusion."""

from inarch.demo.results import Results, Row, mean_sd
from inarch.demo.run import DemoSettings, plan, run

__all__ = ["DemoSettings", "Results", "Row", "mean_sd", "plan", "run"]
