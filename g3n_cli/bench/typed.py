"""Whether what was read from a file is what its dataclass declares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

_MOST = 2**63
"""No number is larger; those of JSON may be, and overflow where they are computed with."""


def find_misfit(value: object, hint: Any, place: str) -> str | None:  # noqa: ANN401  any annotation
    """The place of the first value that is not as annotated; None if all are.

    Args:
        value: What is looked at, with all that it holds.
        hint: Its type: plain ones, unions, tuples, dictionaries with texts as keys, dataclasses.
        place: What to call it.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return None
    if origin is UnionType:
        fits = any(find_misfit(value, each, place) is None for each in arguments)
        return None if fits else place
    if hint in (int, float):
        kinds = int | float if hint is float else int
        fits = isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < _MOST
        return None if fits else place
    if not isinstance(value, origin or hint):
        return place
    parts: Iterable[tuple[str, object, Any]] = ()
    if isinstance(value, tuple):
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            return place
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        parts = ((f"[{i}]", *part) for i, part in enumerate(zip(value, hints, strict=True)))
    elif isinstance(value, dict):
        parts = ((f"[{key!r}]", part, arguments[1]) for key, part in value.items())
    elif is_dataclass(value):
        known = get_type_hints(hint)
        parts = ((f".{f.name}", getattr(value, f.name), known[f.name]) for f in fields(value))
    found = (find_misfit(part, of_part, place + name) for name, part, of_part in parts)
    return next(filter(None, found), None)
