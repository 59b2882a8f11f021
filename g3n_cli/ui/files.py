"""Files that go with the next message: named, dropped or pasted."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote as unquote_url
from urllib.parse import urlsplit

from g3n_cli.chat.conversation import Conversation
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment
from g3n_cli.ui.terminal import Terminal

if TYPE_CHECKING:  # it brings Pillow
    from g3n_cli.ui.graphics import Graphics

_WORD = re.compile(r"""'[^']*'|"[^"]*"|(?:\\.|[^\s\\])+""")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class NamedPath:
    """A path in a message.

    Attributes:
        name: The path, unquoted.
        is_all_of_it: The message is nothing else.
    """

    name: str
    is_all_of_it: bool


def find_paths(text: str) -> list[NamedPath]:
    """Files that a message names by a path with a slash in it, as a terminal drops them.

    A word without a slash is no path, so that no common word is taken for a file.
    """
    whole = unquote(text.strip())
    if "\n" not in whole and _is_path(whole) and os.path.exists(whole):
        return [NamedPath(whole, is_all_of_it=True)]
    names = [unquote(word) for word in _WORD.findall(text)]
    found = dict.fromkeys(name for name in names if _is_path(name) and os.path.isfile(name))
    return [NamedPath(name, is_all_of_it=False) for name in found]


def unquote(text: str) -> str:
    """A path as a shell would read it: quotes, backslashes, ``~`` and ``file://`` taken away."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    elif os.path.exists(text):
        return text
    else:
        text = _ESCAPE.sub(r"\1", text)
    if text.startswith("file://"):
        text = unquote_url(urlsplit(text).path)
    return os.path.expanduser(text)


def _is_path(name: str) -> bool:
    return os.sep in name and "\0" not in name


class Files:
    """What goes with the next message.

    Args:
        conversation: Whose messages.
        terminal: Where files are told of.
        options: How they are read.
        waiting: Files that are there from the start.
        has_preview: Show small pictures where the terminal can.

    Attributes:
        waiting: The files, in order.
    """

    def __init__(
        self,
        conversation: Conversation,
        terminal: Terminal,
        options: MediaOptions | None = None,
        waiting: Sequence[Attachment] = (),
        *,
        has_preview: bool = False,
    ) -> None:
        self.waiting = list(waiting)
        self._conversation = conversation
        self._terminal = terminal
        self._options = options or MediaOptions()
        self._has_preview = has_preview
        self._described: dict[str, list[Attachment]] = {}

    def describe(self, name: str) -> str:
        """What a file holds and costs; it is read for that.

        Raises:
            InputError: it cannot be used.
        """
        self._described = {name: self._read(name)}
        return "; ".join(self._format(attachment) for attachment in self._described[name])

    def add(self, name: str) -> None:
        """Let a file, a folder or a pattern go with the next message, and say so.

        Raises:
            InputError: it cannot be used; nothing is added.
        """
        attachments = self._described.pop(name, None)
        is_told = attachments is not None
        self._add(self._read(name) if attachments is None else attachments, is_told=is_told)

    def add_bytes(self, content: bytes, name: str) -> None:
        """Let bytes go with the next message, and say so.

        Raises:
            InputError: they cannot be used.
        """
        from g3n_cli.media.attach import read_attachment
        from g3n_cli.media.source import Source

        self._add([read_attachment(Source.of_bytes(content, name), self._options)])

    def has(self, name: str) -> bool:
        """Whether a file waits already."""
        return any(attachment.name == name for attachment in self.waiting)

    def clear(self) -> None:
        """Let nothing go along."""
        self.waiting = []

    def show(self, attachment: Attachment) -> None:
        """Tell what a file holds and costs."""
        self._terminal.note(f"  {self._format(attachment)}")

    def show_all(self) -> None:
        """Tell of all files that wait, with their pictures."""
        for attachment in self.waiting:
            self._show_with_picture(attachment, is_told=False)

    def _read(self, name: str) -> list[Attachment]:
        from g3n_cli.media.attach import read_all

        return read_all(name, self._options)

    def _add(self, attachments: list[Attachment], *, is_told: bool = False) -> None:
        for attachment in attachments:
            self._show_with_picture(attachment, is_told=is_told)
        self.waiting += attachments

    def _show_with_picture(self, attachment: Attachment, *, is_told: bool) -> None:
        if not is_told:
            self.show(attachment)
        pictures = [part for part in attachment.media if part.kind == "image"]
        if pictures and self._has_preview and self._terminal.can_animate:
            from g3n_cli.ui.preview import show_preview

            show_preview(pictures[0].values, self._terminal, self._graphics)

    @cached_property
    def _graphics(self) -> Graphics | None:
        """How the terminal draws pictures; asked for once."""
        from g3n_cli.ui.graphics import find_graphics

        return find_graphics(self._terminal)

    def _format(self, attachment: Attachment) -> str:
        cost = self._conversation.count_cost(attachment)
        name = Path(attachment.name).name or attachment.name
        of_tokens = "" if cost is None else f", {cost:,} tokens"
        return f"{name}: {attachment.description}{of_tokens}"
