"""Run folders become one HTML file with tables and plots; no model is loaded."""

from inarch.report._folder import ReportSettings, build, build_diff, build_explained
from inarch.report._search import Search, value_text

__all__ = ["ReportSettings", "Search", "build", "build_diff", "build_explained", "value_text"]
