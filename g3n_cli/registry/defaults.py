"""Settings that ``models.toml`` gives a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from g3n_cli.config import KvType, PleMode


@dataclass(frozen=True)
class SamplingDefaults:
    """How a model's authors recommend to sample; None where they don't say."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What they do say, by the names of ``AnswerOptions``."""
        return _drop_none(asdict(self), {"temperature": "temp"})


@dataclass(frozen=True)
class EngineDefaults:
    """Settings that a model is run with where no flag, variable or ``config.toml`` says other."""

    ctx: int | None = None
    kv: KvType | None = None
    ple: PleMode | None = None
    size: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those there are, by the names of ``EngineSettings``."""
        return _drop_none(asdict(self), {"ctx": "n_ctx"})


NO_SAMPLING, NO_DEFAULTS = SamplingDefaults(), EngineDefaults()


def _drop_none(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(k, k): value for k, value in values.items() if value is not None}
