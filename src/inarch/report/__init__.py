"""Run folders become one HTML file with tables and plots; no model is loaded."""

from inarch.report._folder import ReportSettings, build, build_diff, build_explained

__all__ = ["ReportSettings", "build", "build_diff", "build_explained"]
