"""What a person can set about answers, before a chat and in the middle of one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
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
        option = find_option(name)
        if option == "max_tokens" and value in _OFF:
            return replace(self, max_tokens=None)
        return replace(self, **_read(option, value))

    def show(self) -> dict[str, str]:
        """Values by name."""
        return {name: "none" if v is None else str(v) for name, v in asdict(self).items()}


@dataclass(frozen=True)
class ServerOptions:
    """How a server is asked to make answers; what is None is left to it.

    Attributes: as in ``AnswerOptions``.
    """

    seed: int | None = None
    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        given: dict[str, Any] = {k: v for k, v in asdict(self).items() if v is not None}
        AnswerOptions(**{"seed": 0, **given})

    def change(self, name: str, value: str) -> ServerOptions:
        """A copy with one option read from text; ``none`` leaves it to the server again.

        Raises:
            UsageError: no such option, or a value that makes no sense.
        """
        option = find_option(name)
        return replace(self, **({option: None} if value in _OFF else _read(option, value)))

    def show(self) -> dict[str, str]:
        """Values by name."""
        return {k: "as the server has it" if v is None else str(v) for k, v in asdict(self).items()}


OPTION_NAMES = tuple(field.name for field in fields(AnswerOptions))

_OFF = ("none", "off")


def find_option(name: str) -> str:
    """The option that was meant, also by the name of its flag.

    Raises:
        UsageError: there is none.
    """
    option = name.replace("-", "_")
    if option not in OPTION_NAMES:
        raise UsageError(f"no option {option!r}", hint="there are " + ", ".join(OPTION_NAMES))
    return option


def _read(option: str, value: str) -> dict[str, Any]:
    is_whole = option in ("seed", "top_k", "max_tokens")
    try:
        return {option: int(value) if is_whole else float(value)}
    except ValueError:
        kind = "a whole number" if is_whole else "a number"
        raise UsageError(f"{option} must be {kind}, not {value!r}") from None
