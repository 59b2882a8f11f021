"""``--events``: all that happens, as JSON lines for a program that wraps g3n."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from g3n_cli.chat.conversation import Conversation, Reply
from g3n_cli.errors import G3nError
from g3n_cli.ui.figures import describe_answer
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import escape_json

if TYPE_CHECKING:  # a chat with a server needs no engine and nothing that comes with one
    from g3n_cli.chat.media import OnEncode
    from g3n_cli.engine.api import Progress

Ask: TypeAlias = "Callable[[Progress, OnEncode], Reply]"


class Events:
    """Writes an object on a line of stdout for each event; docs/scripting.md lists them.

    Args:
        terminal: Written to its stdout, each line at once.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def fail(self, error: G3nError, code: int) -> None:
        """The program ends with a failure, and this exit code."""
        self._tell("error", message=error.message, hint=error.hint, exit_code=int(code))

    def begin(self, stage: str) -> None:
        """A stage begins: "load" or "prefill"."""
        self._tell("stage", stage=stage)

    def answer(self, conversation: Conversation, ask: Ask, load_s: float | None) -> Reply:
        """Tell of an answer as it comes, and of its figures however it ends."""
        self.begin("prefill")
        reply = ask(self._watch("prefill"), lambda label: self._watch("encode", file=label))
        try:
            with closing(iter(reply)) as pieces:
                for piece in pieces:
                    self._tell("text", text=piece)
        finally:
            self._tell("answer", **describe_answer(conversation, reply, load_s))
        return reply

    def _watch(self, stage: str, **values: object) -> Progress:
        """What tells how far a stage is."""
        return lambda done, total: self._tell(
            "stage", stage=stage, **values, done=done, total=total
        )

    def _tell(self, event: str, **values: object) -> None:
        line = json.dumps({"event": event, **values}, ensure_ascii=False)
        self._terminal.write(escape_json(line) + "\n")
