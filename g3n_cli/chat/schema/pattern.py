"""Regular expressions as grammars of JSON strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from g3n_cli.chat.schema.gbnf import choose, join, quote, repeat

Ranges: TypeAlias = list[tuple[int, int]]
"""Code points, first and last of each range."""

MOST_REPEATED = 1000

_LAST = 0x10FFFF
_DIGITS: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [(0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20)]
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C}
_IN_JSON = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x0C: "\\f"}
"""Code points that a JSON string holds escaped."""

_UNWRITTEN: Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]


class UnsupportedPatternError(Exception):
    """A regular expression that no grammar is made of."""


def write_pattern(pattern: str) -> str:
    """Contents of JSON strings that match a regular expression as a whole.

    Known are characters, classes, groups, alternatives and repetitions; anchors at the ends mean
    nothing here, as all of the text matches.

    Raises:
        UnsupportedPatternError: it has something else, such as an assertion.
    """
    parser = _Parser(pattern)
    expression, _ = parser.read_alternatives(depth=0)
    if parser.rest:
        raise UnsupportedPatternError
    return expression


class _Parser:
    """Reads an expression from left to right; all it reads it returns with "may be empty"."""

    def __init__(self, pattern: str) -> None:
        self.rest = pattern

    def read_alternatives(self, depth: int) -> tuple[str, bool]:
        if depth > 20:
            raise UnsupportedPatternError
        parts = [self._read_sequence(depth)]
        while self._take("|"):
            parts.append(self._read_sequence(depth))
        return choose([part for part, _ in parts]), any(empty for _, empty in parts)

    def _read_sequence(self, depth: int) -> tuple[str, bool]:
        if depth == 0:
            self._take("^")
        parts: list[str] = []
        is_empty = True
        while self.rest and self.rest[0] not in "|)":
            if depth == 0 and self.rest[0] == "$" and self.rest[1:2] in ("", "|"):
                self._take("$")
                break
            part, may_be_empty = self._read_repeated(depth)
            parts.append(part)
            is_empty = is_empty and may_be_empty
        return join(*parts), is_empty

    def _read_repeated(self, depth: int) -> tuple[str, bool]:
        atom, is_empty = self._read_atom(depth)
        counts = self._read_counts()
        if counts is None:
            return atom, is_empty
        self._take("?")  # whatever it prefers, the same texts match
        least, most = counts
        too_often = max(least, most or 0) > MOST_REPEATED or (most is not None and most < least)
        if is_empty or too_often or self.rest[:1] in ("*", "+", "?", "{"):
            raise UnsupportedPatternError
        return repeat(atom, least, most) or '""', least == 0

    def _read_counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        if not self._take("{"):
            return None
        inside, found, self.rest = self.rest.partition("}")
        least, comma, most = inside.partition(",")
        is_number = least.isdecimal() and (not most or most.isdecimal())
        if not found or not is_number or len(inside) > 9:
            raise UnsupportedPatternError
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else None

    def _read_atom(self, depth: int) -> tuple[str, bool]:
        c = self._next()
        if c == "(":
            if self.rest.startswith("?") and not self._take("?:"):
                raise UnsupportedPatternError
            group = self.read_alternatives(depth + 1)
            if not self._take(")"):
                raise UnsupportedPatternError
            return f"({group[0]})", group[1]
        if c == "[":
            return _write_class(self._read_class()), False
        if c == ".":
            return _write_class(_complement([(0x0A, 0x0A), (0x0D, 0x0D)])), False
        if c == "\\":
            return _write_class(self._read_escape()), False
        if c in "^$*+?{":
            raise UnsupportedPatternError
        return _write_class([(ord(c), ord(c))]), False

    def _read_class(self) -> Ranges:
        is_negated = self._take("^")
        ranges: Ranges = []
        while not self._take("]"):
            low = self._read_member()
            if self.rest.startswith("-") and self.rest[1:2] != "]":
                self._take("-")
                high = self._read_member()
                if len(low) + len(high) != 2 or low[0][0] > high[0][1]:
                    raise UnsupportedPatternError
                low = [(low[0][0], high[0][1])]
            ranges += low
        return _complement([*ranges, (0, 0x1F)]) if is_negated else ranges

    def _read_member(self) -> Ranges:
        c = self._next()
        if c == "[":  # means something else to each dialect
            raise UnsupportedPatternError
        return self._read_escape() if c == "\\" else [(ord(c), ord(c))]

    def _read_escape(self) -> Ranges:
        c = self._next()
        if c.lower() in _CLASSES:
            ranges = _CLASSES[c.lower()]
            return ranges if c.islower() else _complement([*ranges, (0, 0x1F)])
        if c in ("x", "u"):
            n = 2 if c == "x" else 4
            digits, self.rest = self.rest[:n], self.rest[n:]
            if len(digits) != n or not set(digits.lower()) <= set("0123456789abcdef"):
                raise UnsupportedPatternError
            return [(int(digits, 16), int(digits, 16))]
        if c in _CONTROLS:
            return [(_CONTROLS[c], _CONTROLS[c])]
        if c.isalnum():  # an assertion, a reference, a property
            raise UnsupportedPatternError
        return [(ord(c), ord(c))]

    def _next(self) -> str:
        if not self.rest:
            raise UnsupportedPatternError
        c, self.rest = self.rest[0], self.rest[1:]
        return c

    def _take(self, text: str) -> bool:
        is_there = self.rest.startswith(text)
        if is_there:
            self.rest = self.rest[len(text) :]
        return is_there


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    rest: Ranges = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            rest.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        rest.append((start, _LAST))
    return rest


def _write_class(ranges: Ranges) -> str:
    """Any one of these code points as a JSON string holds it."""
    outside = _complement(ranges)
    plain = _complement([*outside, *_UNWRITTEN])
    parts = [quote(text) for code, text in _IN_JSON.items() if _has(ranges, code)]
    if plain:
        if len(plain) == 1 and plain[0][0] == plain[0][1]:
            parts.append(quote(chr(plain[0][0])))
        else:
            shown = "".join(f"\\U{low:08X}-\\U{high:08X}" for low, high in plain)
            parts.append(f"[{shown}]")
    if not parts:
        raise UnsupportedPatternError
    return choose(parts)


def _has(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)
