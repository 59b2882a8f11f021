"""What Tab completes: commands, options and paths."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

_LAST_WORD = re.compile(r"(?:\\.|[^\s\\])*$")


class ChatCompleter(Completer):
    """Completes ``/commands`` while they are typed, and paths when Tab is pressed.

    Args:
        commands: One line of help for each command, by its name without the slash.
        choices: What may follow a command.
        with_path: Commands that a path may follow.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        choices: Mapping[str, Iterable[str]],
        with_path: Container[str] = (),
    ) -> None:
        self._commands, self._choices, self._with_path = commands, choices, with_path
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Completions of the word before the cursor."""
        text = document.text_before_cursor
        name, space, argument = text.partition(" ")
        is_command = name.startswith("/") and "/" not in name[1:]
        if is_command and not space:
            yield from self._complete_command(name)
        elif is_command and name[1:] not in self._with_path:
            if " " not in argument:
                yield from _match(argument, self._choices.get(name[1:], ()))
        elif complete_event.completion_requested:
            if is_command:
                yield from self._paths.get_completions(Document(argument), complete_event)
            else:
                yield from self._complete_word(text, complete_event)

    def _complete_command(self, word: str) -> Iterable[Completion]:
        for name, description in self._commands.items():
            if name.startswith(word[1:]):
                yield Completion(f"/{name}", -len(word), display_meta=description)

    def _complete_word(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        """Paths that the last word may be, spaces in them escaped as ``find_paths`` wants them."""
        word = re.sub(r"\\(.)", r"\1", _LAST_WORD.findall(text)[0])
        if "/" in word or word.startswith((".", "~")):
            for found in self._paths.get_completions(Document(word), event):
                yield Completion(found.text.replace(" ", "\\ "), display=found.display)


def _match(word: str, names: Iterable[str]) -> Iterable[Completion]:
    return (Completion(name, -len(word)) for name in names if name.startswith(word))
