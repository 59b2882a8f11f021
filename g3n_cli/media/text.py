"""Bytes as text, and text as blocks with a name."""

from __future__ import annotations

import re

from g3n_cli.errors import InputError
from g3n_cli.media.detect import is_text

_BOMS = (("utf-8-sig", b"\xef\xbb\xbf"), ("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff"))
_HEAD = 4096

LEAST_TO_GUESS = 256
"""Bytes; of fewer, an encoding cannot be told from their frequencies."""

_FENCES = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def decode_text(content: bytes, name: str) -> str:
    """Text in whatever encoding it seems to be; line ends become newlines.

    Raises:
        InputError: it is binary, or no encoding fits.
    """
    if not is_text(content[:_HEAD]) or (b"\0" in content and not _find_bom(content)):
        raise InputError(f"{name} is binary, not text")
    text = _decode(content, name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode(_find_bom(content) or "utf-8")
    except UnicodeDecodeError:
        if len(content) < LEAST_TO_GUESS:
            return content.decode("cp1252", errors="replace")
        from charset_normalizer import from_bytes

        best = from_bytes(content).best()
        if best is None:
            raise InputError(f"{name} is text in no encoding that is known") from None
        return str(best)


def _find_bom(content: bytes) -> str | None:
    return next((encoding for encoding, bom in _BOMS if content.startswith(bom)), None)


def fence(name: str, text: str, language: str = "") -> str:
    """A named code block that no line of ``text`` can end."""
    longest = max((len(ticks) for ticks in _FENCES.findall(text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{name}:\n{ticks}{language}\n{text.rstrip()}\n{ticks}"
