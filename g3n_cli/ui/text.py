"""Text that is safe and pleasant to show."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# Ranges of characters that move the cursor, change its state, or reorder what is read:
# C0 except newline and tab, DEL, C1, line and paragraph separators, and bidirectional overrides;
# also halves of characters, which stand for bytes of file names that are no text.
_C0 = [c for c in range(0x20) if c not in (0x09, 0x0A)]
_BARE = [*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_BARE += range(0xD800, 0xE000)

_VISIBLE = {c: chr(0x2400 + c) for c in _C0}
_VISIBLE |= {c: f"<U+{c:04X}>" for c in _BARE}
_VISIBLE[0x7F] = "\N{SYMBOL FOR DELETE}"

_ESCAPED = {c: f"\\u{c:04x}" for c in _BARE}


def make_visible(text: str) -> str:
    """The text with control characters other than newline and tab replaced by pictures of them.

    ``ESC`` becomes ``␛``; characters without a picture become ``<U+009B>``. No sequence of the
    result drives a terminal.
    """
    return text.translate(_VISIBLE)


def escape_json(json: str) -> str:
    """JSON with what ``json.dumps`` leaves alone, but a terminal obeys, escaped; equal in value."""
    return json.translate(_ESCAPED)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells each, a line for each row, the columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
