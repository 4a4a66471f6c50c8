"""Errors a user can fix.

    InarchError
    |-- SettingsError  (ValueError)   a setting is wrong
    |-- DataError      (ValueError)   a row, a file or a folder is wrong
    |-- WeightsError   (ValueError)   a checkpoint is absent or does not fit
    `-- MissingExtra   (ImportError)  an optional dependency is not installed

The CLI prints these without a traceback and exits with 2. Any other exception is a bug
in this package: its traceback is shown in full.

A message says what was found, what was expected, and what to do next.
"""


class InarchError(Exception):
    """Base of every error a user can fix."""


class SettingsError(InarchError, ValueError):
    """A setting is wrong."""


class DataError(InarchError, ValueError):
    """A row, a file or a folder is wrong."""


class WeightsError(InarchError, ValueError):
    """A checkpoint is absent or does not fit."""


class MissingExtra(InarchError, ImportError):
    """An optional dependency is not installed."""
