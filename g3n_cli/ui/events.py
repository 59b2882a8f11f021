"""``--events``: all that happens, as JSON lines for a program that wraps g3n."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from g3n_cli.chat.conversation import Conversation, Question
from g3n_cli.engine.api import Progress
from g3n_cli.errors import G3nError
from g3n_cli.ui.figures import describe_answer
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import escape_json


class Events:
    """Writes an object on a line of stdout for each event; docs/scripting.md lists them.

    Args:
        terminal: Written to its stdout, each line at once.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def tell(self, event: str, **values: object) -> None:
        """Write one event."""
        line = json.dumps({"event": event, **values}, ensure_ascii=False)
        self._terminal.write(escape_json(line) + "\n")

    def tell_stage(self, stage: str, **values: object) -> None:
        """Say that a stage begins, or how far it is."""
        self.tell("stage", stage=stage, **values)

    def watch_encoding(self, label: str) -> Progress:
        """What the encoding of a picture or a sound tells its progress."""
        return lambda done, total: self.tell_stage("encode", file=label, done=done, total=total)

    def answer(
        self, conversation: Conversation, question: str | Question, load_s: float | None
    ) -> None:
        """Tell of an answer as it comes; its last event is "answer", or "error" before it."""
        reply: Any = None
        try:
            self.tell_stage("prefill")
            reply = conversation.reply(
                question,
                lambda done, total: self.tell_stage("prefill", done=done, total=total),
                self.watch_encoding,
            )
            with closing(iter(reply)) as pieces:
                for piece in pieces:
                    self.tell("text", text=piece)
        except G3nError as error:
            self.tell_error(error)
            raise
        finally:
            if reply is not None:
                self.tell("answer", **describe_answer(conversation, reply, load_s))

    def tell_error(self, error: G3nError) -> None:
        """Say what failed, and the exit code that follows."""
        self.tell("error", message=error.message, hint=error.hint, exit_code=int(error.exit_code))
