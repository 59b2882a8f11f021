"""How the next token is chosen: settings only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from g3n_cli.errors import UsageError


@dataclass(frozen=True)
class Greedy:
    """Always the likeliest token.

    Attributes:
        repeat_penalty: Divides the odds of tokens among the last 64; 1.0 is off.
    """

    repeat_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a penalty that makes no sense."""
        _check_positive("--repeat-penalty", self.repeat_penalty)


@dataclass(frozen=True)
class Stochastic:
    """Draw from the distribution; defaults are those published with Gemma 3n.

    Attributes:
        seed: Makes the draw repeatable.
        temperature: Above 0.
        top_k: Keep the k likeliest; 0 keeps all.
        top_p: Keep the smallest set with this probability; 1.0 is off.
        min_p: Drop tokens below this share of the likeliest one's probability; 0.0 is off.
        repeat_penalty: Divides the odds of tokens among the last 64; 1.0 is off.
    """

    seed: int
    temperature: float = 1.0
    top_k: int = 64
    top_p: float = 0.95
    min_p: float = 0.0
    repeat_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _check_positive("--temp", self.temperature)
        _check_positive("--repeat-penalty", self.repeat_penalty)
        if self.top_k < 0:
            raise UsageError(f"--top-k must not be negative, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise UsageError(f"--min-p must be between 0 and 1, not {self.min_p}")


Sampling: TypeAlias = Greedy | Stochastic


def _check_positive(flag: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise UsageError(f"{flag} must be above 0, not {value}")
