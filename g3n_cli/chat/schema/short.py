"""The short form of a schema: ``name, age int, tags [str], note str?``."""

from __future__ import annotations

import re
from typing import Any

from g3n_cli.errors import UsageError

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

_FIELD = re.compile(
    r"(?P<name>[^\s:?\[\]{}\"]+)"
    r"(?:\s+(?P<type>\w+|\[\s*\w+\s*\]))?"
    r"\s*(?P<optional>\?)?"
    r"\s*(?::\s*(?P<description>.*))?",
)
_HINT = "for example 'name, age int, tags [str], note str?'"


def parse_short(text: str) -> dict[str, Any]:
    """The JSON Schema of an object that has the listed properties and no others.

    ``fields`` are separated by commas, or by line ends where there are any; all of it in brackets
    means a list of such objects::

        schema := fields | "[" fields "]"
        field  := name [type] ["?"] [":" description]
        type   := "str" | "int" | "float" | "bool" | "[" type "]"

    A field without a type is a text; ``?`` makes it optional.

    Raises:
        UsageError: it is not of this form.
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return {"type": "array", "items": parse_short(text[1:-1])}
    properties: dict[str, Any] = {}
    required = []
    for field in text.split("\n" if "\n" in text else ","):
        if not field.strip():
            continue
        match = _FIELD.fullmatch(field.strip())
        if match is None:
            raise UsageError(f"--schema: {field.strip()!r} is no field", _HINT)
        name = match["name"]
        if name in properties:
            raise UsageError(f"--schema: there are two fields {name!r}")
        properties[name] = _make_type(match["type"] or "str")
        if match["description"]:
            properties[name]["description"] = match["description"].strip()
        if not match["optional"]:
            required.append(name)
    if not properties:
        raise UsageError("--schema names no field", _HINT)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _make_type(text: str) -> dict[str, Any]:
    if text.startswith("["):
        return {"type": "array", "items": _make_type(text[1:-1].strip())}
    if text not in TYPES:
        raise UsageError(f"--schema: no type {text!r}", f"there are {', '.join(TYPES)} and [TYPE]")
    return {"type": TYPES[text]}
