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
from g3n_cli.ui.progress import show_waiting
from g3n_cli.ui.terminal import Terminal

if TYPE_CHECKING:  # it brings Pillow
    from g3n_cli.ui.graphics import Graphics

_WORD = re.compile(r"""[(\[<]*(?:'[^']*'|"[^"]*")|(?:\\.|[^\s\\])+""")
_ESCAPE = re.compile(r"\\(.)")
_BEFORE, _AFTER = "([<", ".,;:!?)]>"
"""Punctuation that a sentence puts around a path."""


@dataclass(frozen=True)
class NamedPath:
    """A path in a message.

    Attributes:
        name: The path, unquoted.
        is_all_of_it: The message is nothing but paths.
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
    names = [_find_path(word) for word in _WORD.findall(text)]
    is_all_of_it = None not in names
    return [
        NamedPath(name, is_all_of_it)
        for name in dict.fromkeys(name for name in names if name is not None)
        if is_all_of_it or os.path.isfile(name)
    ]


def _find_path(word: str) -> str | None:
    """The path that a word of a message is, in a sentence perhaps with punctuation around it."""
    names = (unquote(word), unquote(word.lstrip(_BEFORE).rstrip(_AFTER)))
    return next((name for name in names if _is_path(name) and os.path.exists(name)), None)


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

    def add(self, *names: str) -> None:
        """Let files, folders or patterns go with the next message, and say so.

        Raises:
            InputError: one of them cannot be used; nothing is added.
        """
        described, self._described = self._described, {}
        found = [
            (attachment, name in described)
            for name in names
            for attachment in described.get(name) or self._read(name)
        ]
        for attachment, is_told in found:
            self._show_with_picture(attachment, is_told=is_told)
        self.waiting += [attachment for attachment, _ in found]

    def add_bytes(self, content: bytes, name: str) -> None:
        """Let bytes go with the next message, and say so.

        Raises:
            InputError: they cannot be used.
        """
        from g3n_cli.media.attach import read_attachment
        from g3n_cli.media.source import Source

        attachment = read_attachment(Source.of_bytes(content, name), self._options)
        self._show_with_picture(attachment, is_told=False)
        self.waiting.append(attachment)

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

        with show_waiting(self._terminal, f"reading {name} ..."):
            return read_all(name, self._options)

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
