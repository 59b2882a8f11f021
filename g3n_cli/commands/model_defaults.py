"""Settings that ``models.toml`` gives a model, where the person says nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from g3n_cli.config import EngineSettings

if TYPE_CHECKING:
    import typer

    from g3n_cli.registry.models import ModelSpec
    from g3n_cli.registry.table import EngineDefaults


def apply_defaults(
    settings: EngineSettings, defaults: EngineDefaults, context: typer.Context
) -> EngineSettings:
    """``settings`` with a model's own in place of those that are only the program's defaults."""
    changes = {
        "n_ctx" if name == "ctx" else name: value
        for name, value in asdict(defaults).items()
        if value is not None
        and getattr(context.get_parameter_source(name), "name", "DEFAULT") == "DEFAULT"
    }
    return replace(settings, **changes)


def recommended(spec: ModelSpec) -> dict[str, float]:
    """Sampling settings that the model's authors recommend, by the names of the flags."""
    sampling = spec.sampling
    values = {
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
    }
    return {name: value for name, value in values.items() if value is not None}
