"""How amounts are worded."""

from __future__ import annotations


def format_bytes(n: int) -> str:
    """A size in GB, MB or kB, decimal, as files are sold."""
    if n >= 1e9:
        return f"{n / 1e9:.2f} GB"
    return f"{n / 1e6:.0f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"
