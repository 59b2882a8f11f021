"""Settings that ``models.toml`` gives a model, where the person says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from g3n_cli.config import EngineSettings

if TYPE_CHECKING:
    import typer

    from g3n_cli.registry.defaults import EngineDefaults


def apply_defaults(
    settings: EngineSettings, defaults: EngineDefaults, context: typer.Context
) -> EngineSettings:
    """``settings`` with a model's own in place of those that are only the program's defaults."""
    flags = {"n_ctx": "ctx"}
    changes = {
        name: value
        for name, value in defaults.given.items()
        if getattr(context.get_parameter_source(flags.get(name, name)), "name", "DEFAULT")
        == "DEFAULT"
    }
    return replace(settings, **changes)
