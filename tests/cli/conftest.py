"""The command line, run within the test."""

import logging
import sys

import pytest

from inarch.cli import main as cli


@pytest.fixture
def inarch_says(capsys, monkeypatch):
    """A function that runs the command line here, and returns exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["inarch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    yield run
    logging.getLogger("inarch").handlers = []
