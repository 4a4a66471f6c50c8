"""``python -m inarch``."""

from inarch.cli.main import main

main()
