"""One prompt, one answer: ``g3n chat PROMPT`` and pipes."""

from __future__ import annotations

from contextlib import closing

from g3n_cli.chat.conversation import Conversation, Question, Reply
from g3n_cli.errors import ServerError
from g3n_cli.ui.answer import make_view, show_reply, show_waiting_for
from g3n_cli.ui.figures import format_json, format_stats
from g3n_cli.ui.progress import EncodingBars, ProgressBar
from g3n_cli.ui.terminal import Terminal


def answer_as_text(conversation: Conversation, prompt: str | Question, terminal: Terminal) -> None:
    """Write the answer to stdout as it comes, ended by a newline."""
    bar = ProgressBar(terminal)
    show_waiting_for(conversation, bar)
    show_reply(_start(conversation, prompt, bar, terminal), make_view(terminal), bar)


def answer_as_json(
    conversation: Conversation, prompt: str | Question, terminal: Terminal, load_s: float | None
) -> None:
    """Write one JSON object to stdout once the answer is complete, interrupted or broken off."""
    bar = ProgressBar(terminal)
    show_waiting_for(conversation, bar)
    reply = _start(conversation, prompt, bar, terminal)
    try:
        with closing(iter(reply)) as pieces, bar:
            for _ in pieces:
                bar.clear()
    except KeyboardInterrupt:
        terminal.write(format_json(conversation, reply, load_s) + "\n")
        raise
    except ServerError:
        if not reply.is_empty:
            terminal.write(format_json(conversation, reply, load_s) + "\n")
        raise
    terminal.write(format_json(conversation, reply, load_s) + "\n")


def note_stats(conversation: Conversation, terminal: Terminal) -> None:
    """Show the last answer's figures on stderr."""
    if conversation.last_stats is not None:
        terminal.note(format_stats(conversation, conversation.last_stats))


def _start(
    conversation: Conversation, prompt: str | Question, bar: ProgressBar, terminal: Terminal
) -> Reply:
    bars = EncodingBars(terminal)
    try:
        return conversation.reply(prompt, bar, bars)
    finally:
        bars.clear()
