"""A fenced block of an answer, such as its code."""

from __future__ import annotations

from typing import Literal, TypeAlias

Extract: TypeAlias = Literal["first", "last"]


def extract_block(text: str, which: Extract) -> str:
    """Content of a fenced block of Markdown; all of the text where there is none."""
    from markdown_it import MarkdownIt

    blocks = [token.content for token in MarkdownIt().parse(text) if token.type == "fence"]
    if not blocks:
        return text
    return blocks[0] if which == "first" else blocks[-1]
