"""Markdown in parts that can be shown one after the other while the text still grows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

# HTML would be dropped by the renderer; a link definition would change what is shown already.
_PARSER = (
    MarkdownIt()
    .enable(["strikethrough", "table"])
    .disable(["html_block", "html_inline", "reference"])
)


@dataclass(frozen=True)
class Block:
    """A part that looks the same whatever follows: a paragraph, a table, an item of a list.

    Attributes:
        kind: How it is shown.
        source: Its lines of Markdown.
        list_mark: Of an item, the mark that it shares with its list: ``-``, ``*``, ``.`` ...
        number: Of an item in a numbered list, its number.
        first_line: Where it begins in the text it was found in.
    """

    kind: Literal["text", "fence", "item"]
    source: str
    list_mark: str = ""
    number: int | None = None
    first_line: int = field(default=0, compare=False)

    def continues(self, before: Block | None) -> bool:
        """Whether it is the next item of a list."""
        return (
            before is not None
            and self.kind == before.kind == "item"
            and self.list_mark == before.list_mark
        )


def parse(source: str) -> list[Token]:
    """Tokens of a text; single line breaks are kept, as answers mean them."""
    tokens = _PARSER.parse(source)
    for token in tokens:
        for child in token.children or []:
            if child.type == "softbreak":
                child.type = "hardbreak"
    return tokens


def split_blocks(text: str, before: Block | None = None) -> list[Block]:
    """The blocks of a text in order.

    Args:
        text: Markdown that begins where a block does.
        before: The block before it, whose list may go on.
    """
    lines = text.split("\n")
    blocks: list[Block] = []
    for token in _PARSER.parse(text):
        if token.map is None or token.nesting < 0:
            continue
        start, stop = token.map
        source = "\n".join(lines[start:stop]).rstrip("\n")
        if token.level == 0 and not token.type.endswith("_list_open"):
            kind: Literal["text", "fence"] = "fence" if token.type == "fence" else "text"
            blocks.append(Block(kind, source, first_line=start))
        elif token.level == 1 and token.type == "list_item_open":
            number = int(token.info) if token.info else None
            item = Block("item", source, token.markup, number, start)
            last = blocks[-1] if blocks else before
            if last is not None and item.continues(last) and last.number is not None:
                item = replace(item, number=last.number + 1)
            blocks.append(item)
    return blocks


def find_code(text: str) -> list[str]:
    """Contents of the code blocks of a text, also of those in lists and of one that is cut off."""
    return [token.content for token in _PARSER.parse(text) if token.type == "fence"]


class BlockStream:
    """Turns a text that comes in pieces into blocks."""

    def __init__(self) -> None:
        self._pending = ""
        self._last: Block | None = None

    def feed(self, piece: str) -> list[Block]:
        """Take a piece and return the blocks that are complete by now.

        Whole lines alone decide: half of one may turn out to be something else. The last block
        of them may still grow.
        """
        self._pending += piece
        if "\n" not in piece:
            return []
        whole, _, rest = self._pending.rpartition("\n")
        blocks = split_blocks(whole + "\n", self._last)
        if len(blocks) < 2:
            return []
        *complete, growing = blocks
        lines = whole.split("\n")[growing.first_line :]
        self._pending = "\n".join([*lines, rest])
        self._last = complete[-1]
        return complete

    def unfinished(self) -> list[Block]:
        """Blocks of the text that is not complete yet."""
        return split_blocks(self._pending, self._last)
