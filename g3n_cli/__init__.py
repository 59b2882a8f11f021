"""g3n: Gemma 3n on your own machine, from a terminal, and from Python: see ``Chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from g3n_cli.chat.api import Chat
    from g3n_cli.chat.options import AnswerOptions
    from g3n_cli.config import EngineSettings
    from g3n_cli.errors import G3nError
    from g3n_cli.media.options import MediaOptions

__version__ = "0.1.0"
__all__ = ["AnswerOptions", "Chat", "EngineSettings", "G3nError", "MediaOptions"]

_MODULES = {
    "AnswerOptions": "g3n_cli.chat.options",
    "Chat": "g3n_cli.chat.api",
    "EngineSettings": "g3n_cli.config",
    "G3nError": "g3n_cli.errors",
    "MediaOptions": "g3n_cli.media.options",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module has names of all kinds
    """Names of the Python API, imported when they are asked for: commands start without them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
