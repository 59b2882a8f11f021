"""What is asked: the command line, standard input, files and the microphone together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from g3n_cli.commands.media_options import STDIN, check_stdin, read_files
from g3n_cli.errors import UsageError
from g3n_cli.registry.prompts import PromptTemplate

if TYPE_CHECKING:
    from g3n_cli.chat.conversation import Question
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.media.parts import Attachment
    from g3n_cli.ui.terminal import Terminal


@dataclass(frozen=True)
class Wording:
    """What the command line says of a question.

    Attributes:
        prompt: The argument.
        template: How it is put, with its values; or None.
        append: What is asked after it and the input, or "".
    """

    prompt: str | None = None
    template: PromptTemplate | None = None
    append: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it asks nothing."""
        return self.prompt is None and not self.asks_without

    @property
    def asks_without(self) -> bool:
        """Whether it asks something without the argument and an input."""
        has_prompt = self.template is not None and self.template.prompt != ""
        return has_prompt or self.append.strip() != ""

    @property
    def needs_input(self) -> bool:
        """Whether there must be an argument or an input."""
        return not self.asks_without or (self.template is not None and self.template.takes_input)

    def put(self, text: str) -> str:
        """The question about ``text``, the argument and the input."""
        asked = text if self.template is None else self.template.make_prompt(text)
        return "\n\n".join(part for part in (asked, self.append) if part.strip())


def ask(
    wording: Wording,
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

    check_stdin(names, terminal, "-f -")
    text = ""
    if not is_open:
        text = read_question(
            wording, terminal, reads_input=STDIN not in names, has_files=bool(names) or record
        )
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


def read_question(
    wording: Wording, terminal: Terminal, *, reads_input: bool = True, has_files: bool = False
) -> str:
    """The text of a single question: argument and standard input, put as the wording says.

    Args:
        wording: What the command line says.
        terminal: Whose input is read.
        reads_input: Standard input is for the question, and not a file's content.
        has_files: Files go with the question, and a template may be about them alone.

    Raises:
        UsageError: there is neither, and the wording needs one.
        InputError: standard input is not text.
    """
    prompt, template = wording.prompt, wording.template
    must = wording.needs_input and not (template and has_files)
    parts = [prompt] if prompt is not None and prompt.strip() else []
    is_typed = terminal.stdin.isatty()
    if reads_input and (not is_typed or (prompt is None and must)):
        if is_typed:
            terminal.note("Type your prompt; end it with Ctrl+D on a line of its own.")
        parts.append(terminal.read_input())
    text = "\n\n".join(part for part in parts if part.strip())
    if not text and must:
        if template and template.takes_input:
            raise UsageError(
                f"template {template.name} asks about an input, and there is none",
                "pipe it in, or give it as PROMPT",
            )
        raise UsageError("no prompt", hint='try g3n chat "your question"')
    return wording.put(text)
