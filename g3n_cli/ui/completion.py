"""What Tab completes: commands, options and paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document


class ChatCompleter(Completer):
    """Completes ``/commands`` while they are typed, and paths when Tab is pressed.

    Args:
        commands: One line of help for each command, by its name without the slash.
        choices: What may follow a command.
    """

    def __init__(self, commands: Mapping[str, str], choices: Mapping[str, Iterable[str]]) -> None:
        self._commands, self._choices = commands, choices
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Completions of the word before the cursor."""
        text = document.text_before_cursor
        word = text.split()[-1] if text and not text[-1].isspace() else ""
        if text == word and word.startswith("/") and "/" not in word[1:]:
            yield from self._complete_command(word)
        elif text.startswith("/") and text.count(" ") == 1:
            yield from _match(word, self._choices.get(text.split()[0][1:], ()))
        elif complete_event.completion_requested and _may_be_path(word):
            yield from self._paths.get_completions(Document(word), complete_event)

    def _complete_command(self, word: str) -> Iterable[Completion]:
        for name, description in self._commands.items():
            if name.startswith(word[1:]):
                yield Completion(f"/{name}", -len(word), display_meta=description)


def _match(word: str, names: Iterable[str]) -> Iterable[Completion]:
    return (Completion(name, -len(word)) for name in names if name.startswith(word))


def _may_be_path(word: str) -> bool:
    return "/" in word or word.startswith((".", "~"))
