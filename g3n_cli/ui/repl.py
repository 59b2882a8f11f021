"""The conversation in a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from g3n_cli import __version__
from g3n_cli.chat.conversation import Conversation, Question, Reply
from g3n_cli.errors import G3nError, InputError, ServerError
from g3n_cli.ui.answer import make_view, show_reply, show_waiting_for
from g3n_cli.ui.completion import ChatCompleter
from g3n_cli.ui.figures import format_stats
from g3n_cli.ui.files import Files, find_paths
from g3n_cli.ui.history import ChatHistory, find_history_path
from g3n_cli.ui.memory import read_rss_bytes
from g3n_cli.ui.progress import EncodingBars, ProgressBar
from g3n_cli.ui.prompt import InputLine
from g3n_cli.ui.slash import SlashCommands, escape_message, read_command
from g3n_cli.ui.slash_types import Draft, Leave, Regenerate
from g3n_cli.ui.terminal import Terminal, hide_typing
from g3n_cli.ui.text import make_visible
from g3n_cli.units import format_bytes

if TYPE_CHECKING:  # it comes with an engine, which a conversation with a server does without
    from g3n_cli.chat.autosize import AutoSize

ENDINGS = {
    "interrupted": "(stopped)",
    "length": "(ended by max_tokens)",
    "context": "(the context is full)",
}


class Repl:
    """Reads messages and shows answers until the person leaves.

    Args:
        conversation: The conversation.
        terminal: Both ends of it.
        auto: Keeps the model as large as memory allows, or None.
        notice: What there is to know before the conversation begins.
        files: What goes with the first message, and how files are read.
        show_stats: After each answer, show its figures.
    """

    def __init__(
        self,
        conversation: Conversation,
        terminal: Terminal,
        auto: AutoSize | None = None,
        notice: str = "",
        files: Files | None = None,
        *,
        show_stats: bool,
    ) -> None:
        self._auto, self._notice = auto, notice
        self._conversation = conversation
        self._terminal = terminal
        self._show_stats = show_stats
        self._files = Files(conversation, terminal) if files is None else files
        self._slash = SlashCommands(conversation, terminal, self._files)
        self._history = ChatHistory(find_history_path())
        commands = self._slash.commands
        completer = ChatCompleter(
            {name: command.description for name, command in commands.items()},
            {name: command.choices for name, command in commands.items()},
            [name for name, command in commands.items() if command.takes_path],
        )
        self._input = InputLine(completer, self._status, self._history)
        self._n_used: int | None = 0
        self._refusal = ""  # of a draft that leaves no room for it but below
        self._draft = escape_message(conversation.recorder.draft.text)
        self._files.waiting += conversation.recorder.draft.attachments
        self._is_warned = False

    def run(self) -> None:
        """Chat until the person leaves.

        Raises:
            KeyboardInterrupt: they left with Ctrl+C.
        """
        title = self._conversation.title
        self._terminal.note(f"g3n {__version__}, {title}. /help explains, Ctrl+D leaves.")
        if self._notice:
            self._terminal.note(self._notice)
        self._files.show_all()
        may_leave = False  # the last thing that happened was a Ctrl+C
        while True:
            try:
                line = self._read()
                may_leave = False
                if not self._obey(line):
                    return
            except EOFError:
                return
            except KeyboardInterrupt:
                if may_leave:
                    raise
                may_leave = True
                self._terminal.aside("(Ctrl+C again leaves)")
            except G3nError as error:
                self._terminal.report(error)
                self._refusal = error.message

    def _read(self) -> str:
        for note in self._conversation.recorder.take_notes():
            self._terminal.note(f"warning: {note}")
        if self._history.problem and not self._is_warned:
            self._is_warned = True
            self._terminal.note(f"warning: {self._history.problem}")
        draft, self._draft = self._draft, ""
        if not fills_screen(draft):
            self._refusal = ""  # it stands above the line
        try:
            return self._input.read(draft)
        finally:
            self._refusal = ""

    def _obey(self, line: str) -> bool:
        """Do what a line says; False to leave."""
        if not line.strip():
            return True
        command = read_command(line)
        if command is None:
            self._draft = line  # comes back if nothing is said to it
            self._send(line[1:] if line.startswith("//") else line)
            return True
        name, argument = command
        if not self._slash.knows(name):
            self._draft = line
        outcome = self._slash.run(name, argument)
        if isinstance(outcome, Leave):
            return False
        if isinstance(outcome, Regenerate):
            self._show(self._conversation.regenerate)
        if isinstance(outcome, Draft):
            self._draft = escape_message(outcome.text)
            self._files.waiting = list(outcome.attachments)
            for attachment in outcome.attachments:
                self._files.show(attachment)
        self._n_used = self._conversation.count_used()
        return True

    def _send(self, text: str) -> None:
        """Send a message, with the files that wait and those that it names, if so wished.

        Paths alone are no message: what they name waits for the next one.
        """
        named = find_paths(text)
        if named and named[0].is_all_of_it:
            self._files.add(*(path.name for path in named))
            self._draft = ""
            return
        for path in named:
            if not self._files.has(path.name):
                self._offer(path.name)
        question = Question(text, tuple(self._files.waiting))
        try:
            self._show(lambda bar, bars: self._conversation.reply(question, bar, bars))
        except (InputError, ServerError):
            if question.attachments and not self._is_said(question):
                self._terminal.aside("(the files still wait; /file - takes them back)")
            raise
        finally:
            if self._is_said(question):
                self._files.clear()

    def _is_said(self, question: Question) -> bool:
        turns = self._conversation.turns
        return bool(turns) and turns[-1].question == question

    def _offer(self, name: str) -> None:
        """Let a file that a message names go along, if so wished.

        Raises:
            InputError: it cannot be used, and the message shall not be sent without it.
        """
        try:
            described = self._files.describe(name)
        except InputError as error:
            if not self._input.confirm(f"{error.message}. Send the message without it?"):
                raise
            return
        if self._input.confirm(f"Send {described} along?"):
            self._files.add(name)

    def _show(self, start: Callable[[ProgressBar, EncodingBars], Reply]) -> None:
        """Show an answer and what there is to say about it."""
        if self._auto and (note := self._auto.check()):
            self._terminal.aside(f"({note})")
        bar, bars = ProgressBar(self._terminal), EncodingBars(self._terminal)
        try:
            reply = start(bar, bars)
        finally:
            bars.clear()
        n_told = reply.n_dropped
        self._tell_dropped(n_told)
        self._terminal.note("")
        try:
            with hide_typing(self._terminal):
                show_waiting_for(self._conversation, bar)
                show_reply(reply, make_view(self._terminal), bar)
        finally:
            stats = reply.stats
            self._n_used = self._conversation.count_used()
            if not reply.is_empty:
                self._draft = ""
            self._tell_dropped(reply.n_dropped - n_told)
            if stats.stop_reason in ENDINGS:
                self._terminal.aside(ENDINGS[stats.stop_reason])
            elif stats.stop_reason == "end" and reply.is_empty:
                self._terminal.aside("(an answer without text)")
        if self._show_stats:
            self._terminal.aside(format_stats(self._conversation, stats))
        self._terminal.note("")

    def _tell_dropped(self, n: int) -> None:
        if n:
            turns = "turn" if n == 1 else f"{n} turns"
            self._terminal.aside(f"(the context is full: forgot the oldest {turns})")

    def _status(self) -> str:
        """Model, context, speed of the last answer, memory; as far as they are known.

        A refusal of what fills the screen takes their place: the line above is out of sight.
        """
        if self._refusal:
            return make_visible(f"error: {self._refusal}")
        engine, stats = self._conversation.engine, self._conversation.last_stats
        parts = [self._conversation.title]
        if self._n_used is not None:
            total = "" if engine is None else f" of {engine.n_ctx:,}"
            parts.append(f"{self._n_used:,}{total} tokens")
        if stats is not None and stats.decode_tps is not None:
            parts.append(f"{stats.decode_tps:.1f} tok/s")
        if engine is not None:
            parts.append(format_bytes(read_rss_bytes()))
        return make_visible(" · ".join(parts))


def fills_screen(text: str) -> bool:
    """Whether a text in the input line pushes all that stands above it out of sight."""
    columns, rows = shutil.get_terminal_size()
    n_rows = sum(1 + len(line) // columns for line in text.splitlines())
    return n_rows + 5 > rows  # an error with its hint, and the status
