"""One question and its answers: ``g3n chat PROMPT`` and pipes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial

from g3n_cli.chat.conversation import Conversation, Question, Reply
from g3n_cli.errors import ServerError
from g3n_cli.ui.answer import PlainView, make_view, show_reply, show_waiting_for
from g3n_cli.ui.events import Ask, Events
from g3n_cli.ui.extract import Extract, extract_block
from g3n_cli.ui.figures import format_json, format_stats
from g3n_cli.ui.progress import EncodingBars, ProgressBar
from g3n_cli.ui.terminal import Terminal


@dataclass(frozen=True)
class Form:
    """How single answers are given.

    Attributes:
        as_json: As a line of JSON each.
        show_stats: With their figures on stderr.
        extract: Which fenced block is wanted, or None for all of the answer.
        num: How many answers.
        as_events: As JSON lines of all that happens.
    """

    as_json: bool = False
    show_stats: bool = False
    extract: Extract | None = None
    num: int = 1
    as_events: bool = False

    @property
    def may_talk(self) -> bool:
        """Whether a conversation can be had in this form."""
        return not (self.as_json or self.as_events) and self.extract is None and self.num == 1


def answer(
    conversation: Conversation,
    question: str | Question,
    terminal: Terminal,
    form: Form,
    load_s: float | None = None,
) -> None:
    """Answer a question, as often as wished, each time with the next seed.

    Each answer takes the place of the one before in the conversation.
    """
    conversation.n_wanted = form.num
    is_said = False
    for i in range(form.num):
        ask: Ask = partial(conversation.reply, question, attempt=i)
        if is_said:
            ask = conversation.regenerate
        if form.as_events:
            reply = Events(terminal).answer(conversation, ask, load_s)
        elif form.as_json:
            reply = _answer_as_json(conversation, ask, terminal, form.extract, load_s)
        else:
            if i:
                terminal.write("\n")
            if form.num > 1:
                terminal.aside(f"--- {i + 1} of {form.num}")
            reply = _answer_as_text(conversation, ask, terminal, form.extract)
            if form.show_stats:
                note_stats(conversation, terminal)
        is_said = is_said or not reply.is_empty


def _answer_as_text(
    conversation: Conversation, ask: Ask, terminal: Terminal, extract: Extract | None
) -> Reply:
    """Write the answer to stdout as it comes, or a block of it in the end; ended by a newline."""
    bar = ProgressBar(terminal)
    show_waiting_for(conversation, bar)
    reply = start(ask, bar, terminal)
    if extract is None:
        show_reply(reply, make_view(terminal), bar)
        return reply
    _read_all(reply, bar)
    view = PlainView(terminal)
    view.write(extract_block(reply.text, extract))
    view.finish()
    if (reason := reply.stats.stop_reason) in ("length", "context"):
        terminal.note(f"warning: the answer is cut off ({reason}), maybe in the middle of a block")
    return reply


def _answer_as_json(
    conversation: Conversation,
    ask: Ask,
    terminal: Terminal,
    extract: Extract | None,
    load_s: float | None,
) -> Reply:
    """Write one JSON object to stdout once the answer is complete, interrupted or broken off."""
    bar = ProgressBar(terminal)
    show_waiting_for(conversation, bar)
    reply = start(ask, bar, terminal)

    def write() -> None:
        block = extract and extract_block(reply.text, extract)
        terminal.write(format_json(conversation, reply, load_s, block) + "\n")

    try:
        _read_all(reply, bar)
    except KeyboardInterrupt:
        write()
        raise
    except ServerError:
        if not reply.is_empty:
            write()
        raise
    write()
    return reply


def note_stats(conversation: Conversation, terminal: Terminal) -> None:
    """Show the last answer's figures on stderr."""
    if conversation.last_stats is not None:
        terminal.note(format_stats(conversation, conversation.last_stats))


def _read_all(reply: Reply, bar: ProgressBar) -> None:
    """Take an answer up to its end, or to the exception that ends it."""
    with closing(iter(reply)) as pieces, bar:
        for _ in pieces:
            bar.clear()


def start(ask: Ask, bar: ProgressBar, terminal: Terminal) -> Reply:
    """Ask, with a bar for each picture and sound that is encoded."""
    bars = EncodingBars(terminal)
    try:
        return ask(bar, bars)
    finally:
        bars.clear()
