"""The line where a person types: keys, completion, history, status."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from prompt_toolkit import PromptSession, prompt
from prompt_toolkit.completion import Completer
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from g3n_cli.errors import Terminated
from g3n_cli.ui.history import ChatHistory
from g3n_cli.ui.text import make_visible

STYLE = Style.from_dict(
    {
        "prompt": "bold ansigreen",
        "bottom-toolbar": "noreverse ansibrightblack",
        "placeholder": "ansibrightblack",
    }
)


class InputLine:
    """Reads messages of any number of lines.

    Args:
        completer: What Tab offers.
        status: Text under the line, asked for whenever it is drawn.
        history: Earlier messages.
    """

    def __init__(
        self,
        completer: Completer,
        status: Callable[[], str],
        history: ChatHistory,
    ) -> None:
        self._prompts: PromptSession[str] = PromptSession(
            message=[("class:prompt", "> ")],
            prompt_continuation="  ",
            multiline=True,
            key_bindings=_bind_keys(),
            completer=completer,
            complete_while_typing=True,
            history=history,
            enable_open_in_editor=True,
            enable_suspend=True,
            tempfile_suffix=".md",
            bottom_toolbar=lambda: status(),
            placeholder=[("class:placeholder", "Ask something, or /help")],
            reserve_space_for_menu=6,
            style=STYLE,
        )

    def read(self, draft: str = "") -> str:
        """One message.

        Args:
            draft: What stands in the line at first.

        Raises:
            EOFError: Ctrl+D in an empty line.
            KeyboardInterrupt: Ctrl+C in an empty line.
            Terminated: SIGTERM arrived.
        """
        handler = signal.getsignal(signal.SIGTERM)
        try:
            return self._prompts.prompt(default=draft, pre_run=self._obey_sigterm)
        finally:
            signal.signal(signal.SIGTERM, handler)

    def confirm(self, question: str) -> bool:
        """Ask; Enter means yes.

        Raises:
            KeyboardInterrupt: Ctrl+C.
        """
        try:
            answer: str = prompt(f"{make_visible(question)} [Y/n] ")
        except EOFError:
            return False
        return answer.strip().lower() in ("", "y", "yes")

    def _obey_sigterm(self) -> None:
        """Let SIGTERM end the line; raised amid a task of the event loop, it would be lost."""
        app = self._prompts.app

        def end() -> None:
            if not app.is_done:
                app.exit(exception=Terminated())

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


def _bind_keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _clear_or_leave(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    @keys.add("c-g")
    def _edit(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    return keys
