"""``python -m inarch``."""

from inarch.cli.main import main

if __name__ == "__main__":  # the demo's processes import this module, too
    main()
