"""What ``/commands`` do."""

from __future__ import annotations

import os

from g3n_cli.chat.conversation import Conversation
from g3n_cli.chat.options import OPTION_NAMES, find_option
from g3n_cli.chat.saved import SavedChat
from g3n_cli.engine.api import Engine
from g3n_cli.engine.matformer import format_params
from g3n_cli.errors import UsageError
from g3n_cli.ui.clipboard import copy_text, paste
from g3n_cli.ui.figures import format_context, format_stats
from g3n_cli.ui.files import Files, unquote
from g3n_cli.ui.progress import ProgressBar
from g3n_cli.ui.slash_sessions import SessionCommands
from g3n_cli.ui.slash_types import Command, Draft, Leave, Outcome, Regenerate
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import suggest
from g3n_cli.units import format_bytes

_RECOMPUTE = "--recompute"


def read_command(line: str) -> tuple[str, str] | None:
    """Name and argument of a command, or None for a message.

    A message may begin with a path, or with two slashes that stand for one.
    """
    word, _, rest = line.strip().partition(" ")
    if not word.startswith("/") or "/" in word[1:] or (len(word) > 1 and os.path.exists(word)):
        return None
    return word[1:].lower(), rest.strip()


def escape_message(text: str) -> str:
    """What to type so that exactly ``text`` is sent as a message."""
    return f"/{text}" if text.startswith("//") or read_command(text) else text


class SlashCommands:
    """The commands of one chat.

    Args:
        conversation: What they change.
        terminal: Where they answer.
        files: What goes with the next message.
    """

    ALIASES = {  # noqa: RUF012
        "?": "help",
        "quit": "exit",
        "bye": "exit",
        "q": "exit",
        "rename": "save",
    }

    def __init__(self, conversation: Conversation, terminal: Terminal, files: Files) -> None:
        self._conversation = conversation
        self._files = files
        self._terminal = terminal
        engine = conversation.engine
        self.commands = {
            "help": Command("", "show this help", self._help),
            "file": Command(
                "[PATH]",
                "send a file, folder or pattern along; - takes all back",
                self._file,
                takes_path=True,
            ),
            "paste": Command("", "send what is on the clipboard along", self._paste),
            "regen": Command("", "answer the last message again", lambda _: Regenerate()),
            "edit": Command("", "take the last message back into the input line", self._edit),
            "undo": Command("", "forget the last message and its answer", self._undo),
            "clear": Command("", "begin another conversation", self._clear),
            "system": Command("[TEXT]", "show or set the system text; - removes it", self._system),
            "set": Command(
                "[NAME VALUE]", "show or set how answers are made", self._set, OPTION_NAMES
            ),
            "size": Command(
                "[SIZE]",
                "show or choose the nested model; --recompute reads all again",
                self._size,
                tuple(size.name for size in engine.sizes) if engine else (),
            ),
            "context": Command("", "show how full the context is", self._context),
            "stats": Command("", "show the figures of the last answer", self._stats),
            "copy": Command(
                "[code]", "copy the last answer, or the code in it", self._copy, ("code",)
            ),
        }
        if isinstance(conversation.recorder, SavedChat):
            self.commands |= SessionCommands(conversation.recorder, terminal).commands
        self.commands["exit"] = Command("", "leave", lambda _: Leave())

    def knows(self, name: str) -> bool:
        """Whether there is a command of this name."""
        return self.ALIASES.get(name, name) in self.commands

    def run(self, name: str, argument: str) -> Outcome:
        """Run one command.

        Raises:
            UsageError: there is no such command, or not now, or not with this argument.
        """
        command = self.commands.get(self.ALIASES.get(name, name))
        if command is None:
            meant = suggest(name, [*self.commands, *self.ALIASES])
            hint = f"did you mean /{meant}?" if meant else "/help lists the commands"
            raise UsageError(f"no command /{name}", hint=f"{hint} (// sends a / as text)")
        if argument and not command.arguments:
            raise UsageError(f"/{name} takes no argument")
        return command.run(argument)

    def _say(self, text: str) -> None:
        self._terminal.note(text)

    def _help(self, _: str) -> None:
        rows = [(f"/{name} {c.arguments}", c.description) for name, c in self.commands.items()]
        rows += [
            ("", ""),
            ("Enter", "send"),
            ("Alt+Enter, Ctrl+J", "new line"),
            ("Ctrl+G", "write in your editor ($VISUAL, $EDITOR)"),
            ("Tab", "complete commands and paths"),
            ("Ctrl+R, up, down", "find earlier messages"),
            ("Ctrl+C", "stop the answer, or clear the line; once more to leave"),
            ("Ctrl+D", "leave"),
        ]
        self._say("\n".join(f"  {left:20}{right}".rstrip() for left, right in rows))

    def _edit(self, _: str) -> Draft:
        question = self._conversation.undo()
        return Draft(question.text, question.attachments)

    def _undo(self, _: str) -> None:
        message = self._conversation.undo().text
        first = message.split("\n", 1)[0]
        self._say(f"Forgot: {first[:60]}{'...' if message != first[:60] else ''}")

    def _file(self, name: str) -> None:
        if name == "-":
            self._files.clear()
        elif name:
            self._files.add(unquote(name))
            return
        if not self._files.waiting:
            self._say("No files go with the next message.")
        for attachment in self._files.waiting:
            self._files.show(attachment)

    def _paste(self, _: str) -> None:
        self._files.add_bytes(paste(), "clipboard")

    def _clear(self, _: str) -> None:
        count = len(self._conversation.turns)
        self._conversation.clear()
        self._say(f"Forgot {count} turn{'s' if count != 1 else ''}.")

    def _system(self, text: str) -> None:
        if text:
            self._conversation.system = "" if text == "-" else text
        told = self._conversation.system
        self._say(f"System: {told}" if told else "No system text.")

    def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        if name and not value:
            raise UsageError(f"which value for {name}?", hint="for example /set temp 0.7")
        if name:
            options = self._conversation.options
            self._conversation.options = options.change(name, value.strip())
        for option, current in self._conversation.options.show().items():
            if not name or option == find_option(name):
                self._say(f"  {option:16}{current}")

    def _size(self, argument: str) -> None:
        engine = self._conversation.engine
        if engine is None:
            raise UsageError("a server's model has the size that the server gives it")
        words = argument.split()
        names = [word for word in words if word != _RECOMPUTE]
        if len(names) > 1 or (words and not names):
            raise UsageError("which size?", f"for example /size 70%, or /size full {_RECOMPUTE}")
        if names:
            self._resize(engine, names[0], recompute=_RECOMPUTE in words)
            return
        for size in engine.sizes:
            mark = "*" if size.name == engine.info.size else " "
            counts = f"{format_params(size.n_params)} parameters, {format_bytes(size.n_bytes)}"
            self._say(f"  {mark} {size.name:16}{counts} of weights")
        if engine.info.size not in [size.name for size in engine.sizes]:
            self._say(f"  * {engine.info.size}")
        if engine.sizes:
            self._say("  or a share (70%), parameters (3b), widths by layer (8192*20,-*5,8192*10)")

    def _resize(self, engine: Engine, name: str, *, recompute: bool) -> None:
        had = engine.n_past
        bar = ProgressBar(self._terminal, "loading", format_bytes)
        try:
            engine.resize(name, recompute=recompute, on_progress=bar)
        except KeyboardInterrupt:
            outcome = f"(stopped, still {engine.info.size})"
        else:
            lost = had - engine.n_past
            outcome = engine.info.size + (f"; {lost:,} tokens are read again" if lost else "")
        finally:
            bar.clear()
        self._say(f"  {outcome}")

    def _context(self, _: str) -> None:
        self._say(format_context(self._conversation))

    def _stats(self, _: str) -> None:
        if self._conversation.last_stats is None:
            raise UsageError("nothing was said yet")
        self._say(format_stats(self._conversation, self._conversation.last_stats))

    def _copy(self, what: str) -> None:
        if what not in ("", "code"):
            raise UsageError(f"/copy takes no {what!r}", hint="/copy, or /copy code")
        if not self._conversation.turns:
            raise UsageError("nothing was said yet")
        text = self._conversation.turns[-1].text
        if what == "code":
            from g3n_cli.ui.blocks import find_code

            blocks = find_code(text)
            if not blocks:
                raise UsageError("no code in the last answer")
            text = "\n".join(blocks)
        means = copy_text(text, self._terminal)
        self._say(f"Copied {len(text):,} characters with {means}.")
