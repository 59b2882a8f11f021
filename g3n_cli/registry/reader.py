"""TOML files that people write, read key by key, each fault with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from g3n_cli.errors import UsageError


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a file.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


class TableReader:
    """Takes the keys of one table out of it, each with its type, and refuses what is left.

    Every method raises a UsageError that names the file, the table and the key.

    Args:
        path: The file.
        name: The table's name, or "" for the whole file.
        table: Its content.
    """

    def __init__(self, path: Path, name: str, table: object) -> None:
        self.path, self.name = path, name
        if not isinstance(table, Mapping):
            raise UsageError(f"{path}: {name!r} stands outside of a table such as [my-model]")
        self.table: dict[str, Any] = dict(table)

    def wrong(self, key: str, fault: str) -> UsageError:
        """What is to be raised about a key."""
        place = f"[{self.name}] {key}" if self.name else key
        return UsageError(f"{self.path}: {place}: {fault}")

    def take(self, key: str, kind: type, what: str) -> Any:  # noqa: ANN401  a value of ``kind``
        """A value of one type, described by ``what``; None if it is not there."""
        value = self.table.pop(key, None)
        if value is None:
            return None
        accepted = (int, float) if kind is float else (kind,)
        if type(value) not in accepted:  # Python's bool is an int, TOML's is not
            raise self.wrong(key, f"must be {what}, not {value!r}")
        return value

    def text(self, key: str) -> str | None:
        """A text."""
        value: str | None = self.take(key, str, "a text")
        if value is not None and "\0" in value:
            raise self.wrong(key, "holds a NUL")
        return value

    def number(self, key: str) -> int | None:
        """A whole number from 1 up."""
        value: int | None = self.take(key, int, "a whole number")
        if value is not None and value < 1:
            raise self.wrong(key, f"must be at least 1, not {value}")
        return value

    def need(self, key: str) -> str:
        """A text that must be there."""
        value = self.text(key)
        if not value:
            raise self.wrong(key, "is missing")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A text of one form, described by ``what``, that must be there."""
        value = self.need(key)
        if not pattern.fullmatch(value):
            raise self.wrong(key, f"must be {what}, not {value!r}")
        return value

    def choice(self, key: str, kind: Any) -> Any:  # noqa: ANN401  a Literal and its value
        """One of the values of a Literal."""
        value = self.text(key)
        if value is not None and value not in get_args(kind):
            raise self.wrong(key, f"must be one of {', '.join(get_args(kind))}, not {value!r}")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(key, list, "a list of texts") or []
        if not all(isinstance(value, str) and value for value in values):
            raise self.wrong(key, "must be a list of texts")
        return tuple(values)

    def inner(self, key: str) -> Self:
        """A table inside this one; empty if it is not there."""
        name = f"{self.name}.{key}" if self.name else key
        table = self.table.pop(key, {})
        if not isinstance(table, Mapping):
            raise self.wrong(key, f"must be a table, [{name}]")
        return type(self)(self.path, name, table)

    def end(self) -> None:
        """Nothing may be left."""
        if self.table:
            raise self.wrong(next(iter(self.table)), "means nothing here")
