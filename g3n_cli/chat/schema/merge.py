"""Several schemas that hold at once, as one."""

from __future__ import annotations

from typing import Any

NOTES = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "$id", "$anchor", "$defs", "definitions"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    )
)
"""Keywords that refuse nothing."""


def merge(first: dict[str, Any], second: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What both ask for, and keywords of which only the second's are in it."""
    merged, lost = {**first, **second}, set[str]()
    for key in first.keys() & second.keys():
        a, b = first[key], second[key]
        if key == "properties":
            merged[key] = {**a, **b}
            if any(a[name] != b[name] for name in a.keys() & b.keys()):
                lost.add(key)
        elif key == "required":
            merged[key] = list(dict.fromkeys([*a, *b]))
        elif key == "allOf":
            merged[key] = [*a, *b]
        elif a != b and key not in NOTES:
            lost.add(key)
    return merged, lost
