"""Pieces of llama.cpp's grammar notation (GBNF)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from g3n_cli.errors import UsageError

MOST_RULES = 20_000
"""llama.cpp follows rules by recursion, so their number bounds its stack."""

MOST_FACTORED = 100
"""Branches of a tree of texts from its root to a leaf."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Rules:
    """The rules of a grammar, each kept once."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, expression: str) -> str:
        """A name for ``expression``.

        Raises:
            UsageError: there are too many.
        """
        if expression not in self._names:
            name = self.reserve()
            self.define(name, expression)
            self._names[expression] = name
        return self._names[expression]

    def reserve(self) -> str:
        """A name to be defined later, so that rules may name each other.

        Raises:
            UsageError: there are too many.
        """
        if len(self._rules) >= MOST_RULES:
            raise UsageError(f"the schema is too large: it takes more than {MOST_RULES:,} rules")
        name = f"r{len(self._rules)}"
        self._rules[name] = ""
        return name

    def define(self, name: str, expression: str) -> None:
        """Give a name its meaning."""
        self._rules[name] = expression

    def format(self) -> str:
        """The grammar, one rule on a line."""
        return "\n".join(f"{name} ::= {expression}" for name, expression in self._rules.items())


def quote(text: str) -> str:
    """The expression for exactly this text."""
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


def join(*expressions: str) -> str:
    """One expression after the other; what is empty is left out."""
    return " ".join(e for e in expressions if e) or '""'


def choose(expressions: Sequence[str]) -> str:
    """Any one of these."""
    return expressions[0] if len(expressions) == 1 else "(" + " | ".join(expressions) + ")"


def repeat(expression: str, least: int, most: int | None, separator: str = "") -> str:
    """``expression`` so many times, with ``separator`` between; no upper limit if None."""
    if most == 0:
        return ""
    if not separator:
        return f"{expression}{_count(least, most)}"
    more = _count(max(least - 1, 0), None if most is None else most - 1)
    rest = "" if more == "{0,0}" else f" ({separator} {expression}){more}"
    return f"({expression}{rest})" if least else f"({expression}{rest})?"


def choose_text(texts: Sequence[str], rules: Rules) -> str:
    """Any one of these texts, as a tree: common beginnings are followed once, not once each."""
    return _branch(sorted(set(texts)), rules, 0)


def _branch(texts: list[str], rules: Rules, depth: int) -> str:
    if depth > MOST_FACTORED:
        return rules.add(choose([quote(text) for text in texts]))
    branches = []
    for _, group in groupby(texts, key=lambda text: text[:1]):
        alike = list(group)
        begin = _find_begin(alike[0], alike[-1])
        if len(alike) == 1:
            branches.append(quote(begin))
        else:
            ends = [text[len(begin) :] for text in alike]
            branches.append(f"{quote(begin)} {_branch(ends, rules, depth + 1)}")
    return rules.add(choose(branches))


def _find_begin(first: str, last: str) -> str:
    """What the first and the last of sorted texts, and so all, begin with."""
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:n] if n is not None else min(first, last, key=len)


def _count(least: int, most: int | None) -> str:
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"{{{least},{most}}}"
