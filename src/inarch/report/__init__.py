"""Run folders become one HTML file with tables and plots; no model is loaded."""

from inarch.report._folder import ReportSettings, build

__all__ = ["ReportSettings", "build"]
