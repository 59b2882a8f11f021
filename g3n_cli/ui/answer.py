"""Showing an answer while it comes."""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

from g3n_cli.chat.conversation import Conversation, Reply
from g3n_cli.errors import G3nError
from g3n_cli.ui.progress import ProgressBar
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible


class AnswerView(Protocol):
    """Where the pieces of an answer go."""

    def write(self, piece: str) -> None:
        """Show one more piece."""
        ...

    def finish(self) -> None:
        """The answer ends here, complete or not."""
        ...


class PlainView:
    """Text as it comes, ended by a newline."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._ends_line = False

    def write(self, piece: str) -> None:
        """Write a piece at once."""
        self._terminal.write(make_visible(piece))
        self._ends_line = piece.endswith("\n")

    def finish(self) -> None:
        """End the last line."""
        if not self._ends_line:
            self._terminal.write("\n")


def make_view(terminal: Terminal) -> AnswerView:
    """Markdown where answers go to a terminal that can draw it, else plain text."""
    if not terminal.can_draw:
        return PlainView(terminal)
    from g3n_cli.ui.markdown_view import MarkdownView

    return MarkdownView(terminal)


def show_waiting_for(conversation: Conversation, bar: ProgressBar) -> None:
    """Say who is waited for, where nobody tells how far the prompt is read."""
    if conversation.engine is None:
        bar.wait(f"waiting for {conversation.title} ...")


def show_reply(reply: Reply, view: AnswerView, bar: ProgressBar) -> None:
    """Show an answer up to its end, or to the exception that ends it."""
    is_refused = False
    try:
        with closing(iter(reply)) as pieces:
            for piece in pieces:
                bar.clear()
                view.write(piece)
    except G3nError:
        is_refused = reply.is_empty
        raise
    finally:
        bar.clear()
        if not is_refused:
            view.finish()
