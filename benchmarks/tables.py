"""What all tables of results are made with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def spread(values: Sequence[float], digits: int) -> str:
    """The median with minimum and maximum."""
    low, middle, high = (f"{x:.{digits}f}" for x in (min(values), median(values), max(values)))
    return f"{middle} ({low}-{high})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    rule = ["---", *("--:" for _ in heads[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]
