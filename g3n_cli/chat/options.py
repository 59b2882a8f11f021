"""What a person can set about answers, before a chat and in the middle of one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from g3n_cli.engine.sampling import Greedy, Sampling, Stochastic
from g3n_cli.errors import UsageError


@dataclass(frozen=True)
class AnswerOptions:
    """How answers are made; the names are those of ``/set``.

    Attributes:
        seed: Makes the draw repeatable.
        temp: Temperature; 0 always takes the likeliest token.
        top_k: Keep the k likeliest tokens; 0 keeps all.
        top_p: Keep the smallest set of tokens with this probability; 1 is off.
        min_p: Drop tokens below this share of the likeliest one's probability; 0 is off.
        repeat_penalty: Divides the odds of tokens among the last 64; 1 is off.
        max_tokens: Most tokens of an answer; None ends only with the context.
    """

    seed: int
    temp: float = Stochastic.temperature
    top_k: int = Stochastic.top_k
    top_p: float = Stochastic.top_p
    min_p: float = Stochastic.min_p
    repeat_penalty: float = Stochastic.repeat_penalty
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"--max-tokens must be at least 1, not {self.max_tokens}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed must be between 0 and {2**32 - 1}, not {self.seed}")
        if self.temp < 0:
            raise UsageError(f"--temp must not be negative, not {self.temp}")
        self._draw(self.seed)  # checks the rest, also what a temperature of 0 leaves unused

    def make_sampling(self, attempt: int = 0) -> Sampling:
        """How the next token is chosen; another ``attempt`` draws another answer."""
        if self.temp == 0:
            return Greedy(self.repeat_penalty)
        return self._draw((self.seed + attempt) % 2**32)

    def _draw(self, seed: int) -> Stochastic:
        return Stochastic(
            seed=seed,
            temperature=self.temp or Stochastic.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
        )

    def change(self, name: str, value: str) -> AnswerOptions:
        """A copy with one option read from text.

        Raises:
            UsageError: no such option, or a value that makes no sense.
        """
        name = name.replace("-", "_")
        if name not in OPTION_NAMES:
            raise UsageError(f"no option {name!r}", hint="there are " + ", ".join(OPTION_NAMES))
        if name == "max_tokens" and value in ("none", "off"):
            return replace(self, max_tokens=None)
        is_whole = name in ("seed", "top_k", "max_tokens")
        change: dict[str, Any] = {}
        try:
            change[name] = int(value) if is_whole else float(value)
        except ValueError:
            kind = "a whole number" if is_whole else "a number"
            raise UsageError(f"{name} must be {kind}, not {value!r}") from None
        return replace(self, **change)


OPTION_NAMES = tuple(field.name for field in fields(AnswerOptions))
