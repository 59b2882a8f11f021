"""Reading the fields of a request, whatever a stranger has put into them."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from g3n_cli.serve.refusal import Json, RefusedError

MOST_STOPS = 64
MOST_NUMBER = 2**53
"""Larger whole numbers are not exact in JSON."""


def parse_body(content: bytes) -> Json:
    """The JSON object that a request consists of.

    Raises:
        RefusedError: it is none.
    """
    try:
        body = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "the body is no JSON object")
    return body


def refuse(param: str, message: str) -> NoReturn:
    """Refuse the value of a field.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(400, f"{param} {message}", param, "invalid_value")


def refuse_given(body: Json, names: tuple[str, ...]) -> None:
    """Refuse what is not supported, where it is asked for; empty values ask for nothing.

    Raises:
        RefusedError: one of the fields asks for something.
    """
    for name in names:
        if body.get(name):
            raise RefusedError(400, f"{name} is not supported", name, "unsupported_parameter")


def read_text(body: Json, name: str) -> str:
    """A text; "" where there is none."""
    value = body.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else refuse(name, "must be a string")


def read_flag(body: Json, name: str, *, default: bool) -> bool:
    """True or false."""
    value = body.get(name)
    if value is None:
        return default
    return value if isinstance(value, bool) else refuse(name, "must be true or false")


def read_number(body: Json, name: str, low: float, high: float) -> float | None:
    """A number from ``low`` to ``high``, or None."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        refuse(name, f"must be a number from {low:g} to {high:g}")
    return float(value)


def read_whole(body: Json, name: str, low: int, high: int = MOST_NUMBER) -> int | None:
    """A whole number from ``low`` to ``high``, or None; 3.0 counts as one."""
    value: Any = body.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(name, "must be a whole number")
    if not low <= value <= high:
        refuse(name, f"must be from {low} to {high}, not {value}")
    return int(value)


def read_object(body: Json, name: str) -> Json:
    """An object; an empty one where there is none."""
    value = body.get(name)
    if value is None:
        return {}
    return value if isinstance(value, dict) else refuse(name, "must be an object")


def read_objects(body: Json, name: str) -> list[Json]:
    """A list of objects; an empty one where there is none."""
    value = body.get(name)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    refuse(name, "must be a list of objects")


def read_stop(body: Json) -> tuple[str, ...]:
    """Texts that end an answer; empty ones, before which everything ends, are left out."""
    value = body.get("stop")
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        refuse("stop", "must be a string or a list of strings")
    if len(texts) > MOST_STOPS:
        refuse("stop", f"must hold at most {MOST_STOPS} texts")
    return tuple(text for text in texts if text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
