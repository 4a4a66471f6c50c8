"""inarch: grow one better, smaller, better-behaved language model out of open ones."""

__version__ = "0.1.0"
