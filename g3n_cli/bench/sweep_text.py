"""Values as people write them: ``128,512``, ``1-8*2``, ``prefill=skip,full``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import get_type_hints

from g3n_cli.config import EngineSettings, parse_widths
from g3n_cli.errors import UsageError

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?:([*+])(\d{1,9}))?)?")
_MOST_VALUES = 1000
_DERIVED = ("n_ctx", "named_sizes", "device")

SETTINGS = {
    field.name.removeprefix("n_").replace("_", "-"): field.name
    for field in fields(EngineSettings)
    if field.name not in _DERIVED
}
"""Fields of ``EngineSettings`` by the names of their flags."""


def parse_numbers(text: str, flag: str) -> list[int]:
    """Whole numbers: ``128,512``, ``1-4``, ``0-4096+1024``, ``1-8*2``, as in llama-bench.

    Raises:
        UsageError: it is no such list.
    """
    values: list[int] = []
    for word in parse_words(text, flag):
        if not (found := _RANGE.fullmatch(word)):
            raise UsageError(
                f"{flag} {word!r} is no number from 0 up", "for example 128,512 or 1-8*2"
            )
        value, last = int(found[1]), int(found[2] or found[1])
        step = int(found[4] or 1)
        if value > last:
            raise UsageError(f"{flag} {word!r} runs backwards", f"for example {last}-{value}")
        if step < 1 or (found[3] == "*" and (step < 2 or value == 0)):
            raise UsageError(f"{flag} {word!r} never ends", "for example 1-8*2 or 0-4096+1024")
        while value <= last:
            values.append(value)
            value = value * step if found[3] == "*" else value + step
            if len(values) > _MOST_VALUES:
                raise UsageError(f"{flag} {word!r} has more than {_MOST_VALUES:,} values")
    return values


def parse_words(text: str, flag: str) -> list[str]:
    """Words between commas.

    Raises:
        UsageError: one of them is empty.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{flag} {text!r} has an empty value")
    return words


def parse_setting(name: str, text: str) -> Sequence[object]:
    """Values of a setting, separated by commas, whatever their type.

    Args:
        name: One of ``SETTINGS``: that of its flag, without ``--``.
        text: Values as they would be given to the flag.

    Raises:
        UsageError: a value of another type.
    """
    kind = get_type_hints(EngineSettings)[SETTINGS[name]]
    if kind in (int, int | None):
        return parse_numbers(text, f"--{name}")
    if kind is bool:
        return [_parse_bool(word, name) for word in parse_words(text, f"--{name}")]
    if name.endswith("size") and parse_widths(text) is not None:  # one size, commas and all
        return [text]
    return parse_words(text, f"--{name}")


def _parse_bool(word: str, name: str) -> bool:
    if word not in ("true", "false"):
        raise UsageError(f"--{name} {word!r} is neither true nor false")
    return word == "true"
