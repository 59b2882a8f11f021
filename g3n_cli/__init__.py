"""g3n: Gemma 3n on your own machine, from a terminal."""

__version__ = "0.1.0"
