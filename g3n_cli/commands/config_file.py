"""The person's own defaults: a TOML file with a table for each command."""

from __future__ import annotations

import inspect
import os
import tomllib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

from g3n_cli.errors import UsageError
from g3n_cli.registry.prompts import PromptTemplate

Defaults = dict[str, dict[str, object]]


def find_config_path() -> Path | None:
    """``$G3N_CONFIG``, or ``config.toml`` in the person's configuration folder if it is there."""
    if chosen := os.environ.get("G3N_CONFIG"):
        return Path(chosen)
    import platformdirs

    path = Path(platformdirs.user_config_dir("g3n")) / "config.toml"
    return path if path.exists() else None


def load_defaults(path: Path, commands: Mapping[str, Callable[..., None]]) -> Defaults:
    """Defaults of each command.

    A file looks like this::

        [chat]
        model = "smollm2"
        top-k = 40

    Args:
        path: The file.
        commands: The functions that may have a table, by name; keys are their options.

    Raises:
        UsageError: the file cannot be read, or has a key or a value that means nothing.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return {name: _check_table(path, name, table, commands) for name, table in tables.items()}


def _check_table(
    path: Path, name: str, table: object, commands: Mapping[str, Callable[..., None]]
) -> dict[str, object]:
    if name not in commands or not isinstance(table, dict):
        raise UsageError(
            f"{path}: no command {name!r}",
            hint="settings stand in a table for each command, such as [chat]",
        )
    kinds = _list_options(commands[name])
    checked = {}
    for key, value in table.items():
        option = key.replace("-", "_")
        if option not in kinds:
            raise UsageError(
                f"{path}: no option {key!r} in [{name}]", hint=f"see g3n {name} --help"
            )
        if not _is_of_kind(value, kinds[option]):
            wanted = _describe(kinds[option])
            raise UsageError(f"{path}: {key} in [{name}] must be {wanted}, not {value!r}")
        checked[option] = value
    return checked


def _list_options(command: Callable[..., None]) -> dict[str, Any]:
    """Options of a command and their types; arguments and the context are none."""
    kinds = get_type_hints(command)
    notes = get_type_hints(command, include_extras=True)
    return {
        name: _drop_none(kinds[name])
        for name in inspect.signature(command).parameters
        if any(isinstance(note, OptionInfo) for note in getattr(notes[name], "__metadata__", ()))
    }


def _drop_none(kind: Any) -> Any:  # noqa: ANN401  a type as written in a signature
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _is_of_kind(value: object, kind: Any) -> bool:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return isinstance(value, list) and all(_is_of_kind(v, item) for v in value)
    if isinstance(value, bool):  # Python's bool is an int, TOML's is not
        return kind is bool
    accepted = {float: (int, float), Path: (str,), PromptTemplate: (str,)}.get(kind, (kind,))
    return isinstance(value, accepted)


def _describe(kind: Any) -> str:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is list:
        return "a list of texts"
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, "a text")
