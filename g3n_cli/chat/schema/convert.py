"""A JSON Schema as a grammar of the documents that satisfy it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from g3n_cli.chat.schema.gbnf import Rules, choose, choose_text, join, quote, repeat
from g3n_cli.chat.schema.merge import NOTES, merge
from g3n_cli.chat.schema.numbers import ANY_INTEGER, ANY_NUMBER, write_integer, write_number
from g3n_cli.chat.schema.pattern import UnsupportedPatternError, write_pattern
from g3n_cli.errors import UsageError

MOST_REPEATED = 1000
"""Longer texts and lists are limited only by the check in the end; llama.cpp refuses many more."""

CHAR = (
    r'([^"\\\x00-\x1F\x7F\uD800-\uDFFF] | "\\" (["\\/bfnrt] | "u" '
    r"([0-9a-cA-CeEfF] [0-9a-fA-F] | [dD] [0-7]) [0-9a-fA-F] [0-9a-fA-F]))"
)
"""One character of a JSON string: also escaped, but no half of a surrogate pair."""

_DATE = (
    '[0-9]{4} "-" (("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8]) | "02-29"'
    ' | ("0" [13-9] | "1" [0-2]) "-" ("29" | "30") | ("0" [13578] | "1" [02]) "-31")'
)
_TIME = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})?'
    ' ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_HEX = "[0-9a-f]"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": ' "-" '.join(f"{_HEX}{{{n}}}" for n in (8, 4, 4, 4, 12)),
}
_COMMA, _COLON = '"," " "?', '":" " "?'

_OF_TYPES = {
    "object": {
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("propertyNames", "minProperties", "maxProperties"),
    },
    "array": {
        *("items", "prefixItems", "additionalItems", "minItems", "maxItems"),
        *("uniqueItems", "contains"),
    },
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_TYPES = ("string", "number", "boolean", "null", "object", "array")
_FOLLOWED = {
    *("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "required"),
    *("additionalProperties", "items", "prefixItems", "additionalItems", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "format", *NOTES),
}
_INCLUSIVE = {"minimum", "maximum"}
_BOUNDS = {*_INCLUSIVE, "exclusiveMinimum", "exclusiveMaximum"}
_MOST_DEPTH = 100
_MOST_MERGED = 10_000


class Converter:
    """Makes the grammar of a schema. What it cannot follow it leaves to the check in the end.

    Every document of the grammar is compact: on one line, with at most a space after commas and
    colons. Properties come in the order of the schema, and where it names some, only those.

    Args:
        root: The schema, known to be valid as one.

    Attributes:
        unfollowed: Keywords that the grammar does not, or not wholly, follow.
    """

    def __init__(self, root: Any) -> None:  # noqa: ANN401  any JSON
        self.unfollowed: set[str] = set()
        self._root = root
        self._rules = Rules()
        self._refs: dict[str, str] = {}
        self._waiting: list[str] = []
        self._depth = self._n_merged = 0
        self._any: str | None = None

    def convert(self) -> str:
        """The grammar.

        Raises:
            UsageError: nothing satisfies the schema, or it asks for what is not known here.
        """
        root = self._visit(self._root)
        while self._waiting:  # one by one: schemas may lie behind each other without end
            ref = self._waiting.pop()
            self._rules.define(self._refs[ref], self._visit(self._resolve(ref)))
        return f"{self._rules.format()}\nroot ::= {root}\n"

    # -------------------------------------------------------------------------------------- schemas

    def _visit(self, schema: Any) -> str:  # noqa: ANN401  any JSON
        """The name of a rule for documents that satisfy ``schema``."""
        if schema is False:
            raise UsageError("nothing satisfies the schema: it has a part that is false")
        if schema is True or not set(schema) - NOTES:
            return self._visit_any()
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise UsageError(f"the schema is nested more than {_MOST_DEPTH} deep")
        self.unfollowed |= set(schema) - _FOLLOWED - _BOUNDS
        name = self._visit_one(schema)
        self._depth -= 1
        return name

    def _visit_one(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            self.unfollowed |= set(schema) - NOTES - {"$ref"}
            return self._visit_ref(schema["$ref"])
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            self.unfollowed |= set(schema) - NOTES - {"const", "enum", "type"}
            if not values:
                raise UsageError("nothing satisfies the schema: it has an empty enum")
            return choose_text([write_json(value) for value in values], self._rules)
        if "allOf" in schema:
            return self._visit(self._merge_all(schema))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._visit_union(schema, key)
        if isinstance(schema.get("type"), list):
            types = [self._visit({**schema, "type": name}) for name in schema["type"]]
            return self._rules.add(choose(types))
        return self._guess(schema)

    def _guess(self, schema: dict[str, Any]) -> str:
        """A schema of one type, or of the one type that its keywords are about."""
        kinds = [kind for kind, keys in _OF_TYPES.items() if keys & set(schema)]
        kind = schema.get("type") or (kinds[0] if kinds else None)
        if kind == "object":
            return self._rules.add(self._write_object(schema))
        if kind == "array":
            return self._rules.add(self._write_array(schema))
        if kind == "string":
            return self._rules.add(self._write_string(schema))
        if kind in ("integer", "number"):
            return self._rules.add(self._write_bounded(schema, is_integer=kind == "integer"))
        if kind == "boolean":
            return self._rules.add('"true" | "false"')
        return self._rules.add('"null"') if kind == "null" else self._visit_any()

    def _visit_any(self) -> str:
        if self._any is None:
            self._any = self._rules.reserve()
            kinds = [self._guess({"type": kind}) for kind in _TYPES]
            self._rules.define(self._any, " | ".join(kinds))
        return self._any

    def _visit_ref(self, ref: str) -> str:
        if ref not in self._refs:
            self._resolve(ref)
            self._refs[ref] = self._rules.reserve()
            self._waiting.append(ref)
        return self._refs[ref]

    def _resolve(self, ref: str) -> Any:  # noqa: ANN401  any JSON
        """The schema that is meant, past those that only point on.

        Raises:
            UsageError: there is none in this document; others are not fetched.
        """
        seen = {ref}
        target = find(self._root, ref)
        while isinstance(target, dict) and set(target) - NOTES == {"$ref"}:
            if target["$ref"] in seen:
                raise UsageError(f"$ref {ref} only leads back to itself")
            seen.add(target["$ref"])
            target = find(self._root, target["$ref"])
        return target

    def _merge_all(self, schema: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            rest = self._merge(rest, part)
        return rest

    def _merge(self, schema: dict[str, Any], part: Any) -> dict[str, Any]:  # noqa: ANN401
        self._n_merged += 1
        if self._n_merged > _MOST_MERGED:
            raise UsageError("the schema is too large: it combines too many others")
        if isinstance(part, dict) and "$ref" in part:
            self.unfollowed |= set(part) - NOTES - {"$ref"}
            part = self._resolve(part["$ref"])
        if part is False:
            raise UsageError("nothing satisfies the schema: it has a part that is false")
        merged, lost = merge(schema, {} if part is True else part)
        self.unfollowed |= lost
        return merged

    def _visit_union(self, schema: dict[str, Any], key: str) -> str:
        rest = {name: value for name, value in schema.items() if name != key}
        if key == "oneOf":
            self.unfollowed.add(key)
        parts = [part for part in schema[key] if part is not False]
        if not parts:
            raise UsageError(f"nothing satisfies the schema: it has an empty {key}")
        if not set(rest) - NOTES:
            return self._rules.add(choose([self._visit(part) for part in parts]))
        return self._rules.add(choose([self._visit(self._merge(rest, part)) for part in parts]))

    # ---------------------------------------------------------------------------------------- types

    def _write_object(self, schema: dict[str, Any]) -> str:
        properties = dict(schema.get("properties", {}))
        others = schema.get("additionalProperties", True)
        required = set(schema.get("required", ()))
        for name in schema.get("required", ()):
            properties.setdefault(name, others)
        if not properties:
            if others is False:
                return '"{}"'
            pair = f"{self._write_text()} {_COLON} {self._visit(others)}"
            least, most = self._find_counts(schema, "Properties")
            return join('"{"', repeat(self._rules.add(pair), least, most, _COMMA), '"}"')
        pairs = [
            (
                self._rules.add(f"{quote(write_json(name))} {_COLON} {self._visit(part)}"),
                name in required,
            )
            for name, part in properties.items()
            if part is not False or name in required
        ]
        return join('"{"', self._chain(pairs), '"}"')

    def _chain(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """Pairs in order, those that are not required left out or not, with commas between."""
        first = rest = ""
        for pair, is_required in reversed(pairs):
            begun = join(pair, rest)
            if is_required:
                first, rest = begun, f"{_COMMA} {begun}"
            else:
                first = f"{begun} | {first}" if first else f"({begun})?"
                rest = join(f"({_COMMA} {pair})?", rest)
            first, rest = self._rules.add(first), self._rules.add(rest)
        return first

    def _write_array(self, schema: dict[str, Any]) -> str:
        items = schema.get("items", True)
        prefix = schema.get("prefixItems", [])
        if isinstance(items, list):  # as tuples were written up to draft 2019-09
            prefix, items = items, schema.get("additionalItems", True)
        least, most = self._find_counts(schema, "Items")
        prefix = prefix if most is None else prefix[:most]
        is_open = not prefix or "items" in schema or least > len(prefix)
        if items is False or not is_open:
            if least > len(prefix):
                raise UsageError("nothing satisfies the schema: minItems asks for too many items")
            most = len(prefix)
        parts = [self._visit(part) for part in prefix]
        n_more = None if most is None else most - len(parts)
        rest = ""
        if n_more != 0:
            item = self._visit(items)
            n_least = max(0, least - len(parts))
            if not parts:
                rest = repeat(item, n_least, n_more, _COMMA)
            else:
                rest = repeat(self._rules.add(f"{_COMMA} {item}"), n_least, n_more)
        return join('"["', f" {_COMMA} ".join(parts), rest, '"]"')

    def _write_string(self, schema: dict[str, Any]) -> str:
        is_limited = bool({"minLength", "maxLength"} & set(schema))
        if "pattern" in schema:
            try:
                content = write_pattern(schema["pattern"])
            except UnsupportedPatternError:
                self.unfollowed.add("pattern")
            else:
                if is_limited:
                    self.unfollowed |= {"minLength", "maxLength"} & set(schema)
                return f'"\\"" {content} "\\""'
        if schema.get("format") in FORMATS and not is_limited:
            return f'"\\"" {FORMATS[schema["format"]]} "\\""'
        return self._write_text(*self._find_counts(schema, "Length"))

    def _write_text(self, least: int = 0, most: int | None = None) -> str:
        return join('"\\""', repeat(self._rules.add(CHAR), least, most), '"\\""')

    def _find_counts(self, schema: dict[str, Any], what: str) -> tuple[int, int | None]:
        """``minItems`` and ``maxItems`` or the like, as far as a grammar follows them."""
        low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
        if high is not None and high < low:
            raise UsageError(f"nothing satisfies the schema: max{what} is below min{what}")
        if low > MOST_REPEATED:
            self.unfollowed.add(f"min{what}")
            low = 0
        if high is not None and high > MOST_REPEATED:
            self.unfollowed.add(f"max{what}")
            high = None
        return int(low), None if high is None else int(high)

    def _write_bounded(self, schema: dict[str, Any], *, is_integer: bool) -> str:
        lo, hi = _find_bounds(schema, is_integer=is_integer)
        for key in _BOUNDS & set(schema):
            read = _read(schema, key)
            is_exact = read and (is_integer or (read[0] == int(read[0]) and key in _INCLUSIVE))
            if not is_exact:
                self.unfollowed.add(key)
        if lo is None and hi is None:
            return ANY_INTEGER if is_integer else ANY_NUMBER
        wide = 10 ** (max(15, *(len(str(abs(n))) for n in (lo, hi) if n is not None)) + 1)
        lo, hi = -wide if lo is None else lo, wide if hi is None else hi
        if lo > hi:
            raise UsageError("nothing satisfies the schema: no number lies between its bounds")
        return (write_integer if is_integer else write_number)(lo, hi)


def _find_bounds(schema: dict[str, Any], *, is_integer: bool) -> tuple[int | None, int | None]:
    """The integers around which numbers may lie; None for what is too far off to matter."""
    lows = [math.ceil(n) if is_integer else math.floor(n) for n in _read(schema, "minimum")]
    highs = [math.floor(n) if is_integer else math.ceil(n) for n in _read(schema, "maximum")]
    step = 1 if is_integer else 0
    lows += [math.floor(n) + step for n in _read(schema, "exclusiveMinimum")]
    highs += [math.ceil(n) - step for n in _read(schema, "exclusiveMaximum")]
    return max(lows, default=None), min(highs, default=None)


def _read(schema: dict[str, Any], key: str) -> list[float]:
    match schema.get(key):
        case bool():  # as draft 4 has it
            return []
        case int() | float() as value if abs(value) < 1e30:  # more digits are beyond any use
            return [value]
    return []


def find(root: Any, ref: str) -> Any:  # noqa: ANN401  any JSON
    """What a reference within a document means.

    Raises:
        UsageError: it means nothing there.
    """
    if not ref.startswith("#"):
        raise UsageError(f"$ref {ref} leads out of the schema", "only #/... is followed")
    target = root
    for part in unquote(ref[1:]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, dict) and key in target:
            target = target[key]
        else:
            raise UsageError(f"$ref {ref} leads nowhere")
    if (ref != "#" and not ref.startswith("#/")) or not isinstance(target, dict | bool):
        raise UsageError(f"$ref {ref} leads to no schema", "only #/... is followed")
    return target


def write_json(value: Any) -> str:  # noqa: ANN401  any JSON
    """A value as answers have it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
