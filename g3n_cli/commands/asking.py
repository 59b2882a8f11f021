"""What is asked: the command line, standard input, files and the microphone together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3n_cli.commands.media_options import STDIN, read_files
from g3n_cli.errors import UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.conversation import Question
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.media.parts import Attachment
    from g3n_cli.ui.terminal import Terminal


def ask(
    prompt: str | None,
    names: list[str],
    media: MediaOptions,
    terminal: Terminal,
    *,
    is_open: bool,
    record: bool = False,
) -> Question:
    """What is asked, and the files that go with it; without text where a conversation opens.

    Raises:
        UsageError: there is no question, or standard input would be needed twice.
        InputError: a file, or standard input, cannot be used.
    """
    from g3n_cli.chat.conversation import Question

    if names.count(STDIN) > 1:
        raise UsageError("-f - can be given once only")
    if STDIN in names and terminal.stdin.isatty():
        raise UsageError("-f - wants something piped in")
    text = ""
    if not is_open:
        text = read_prompt(prompt, terminal, reads_input=STDIN not in names)
    attachments = read_files(names, media, terminal)
    if record:
        attachments = (*attachments, record_sound(media, terminal))
    return Question(text, attachments)


def record_sound(media: MediaOptions, terminal: Terminal) -> Attachment:
    """What the microphone hears until the person presses Enter.

    Raises:
        G3nError: there is no program that records, or it fails.
        InputError: it heard nothing.
    """
    from g3n_cli.media.attach import read_attachment
    from g3n_cli.media.source import Source
    from g3n_cli.ui.recorder import record

    return read_attachment(Source.of_bytes(record(terminal), "recording"), media)


def is_at_terminal(terminal: Terminal) -> bool:
    """Whether a person can both type and read."""
    return terminal.stdin.isatty() and terminal.stdout.isatty()


def read_prompt(argument: str | None, terminal: Terminal, *, reads_input: bool = True) -> str:
    """The prompt of a single answer: argument and standard input, a blank line between.

    Args:
        argument: What the command line says.
        terminal: Whose input is read.
        reads_input: Standard input is for the prompt, and not a file's content.

    Raises:
        UsageError: there is neither.
        InputError: standard input is not text.
    """
    parts = [argument] if argument is not None and argument.strip() else []
    is_typed = terminal.stdin.isatty()
    if reads_input and (not is_typed or argument is None):
        if is_typed:
            terminal.note("Type your prompt; end it with Ctrl+D on a line of its own.")
        parts.append(terminal.read_input())
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise UsageError("no prompt", hint='try g3n chat "your question"')
    return prompt
