"""The program: its commands, its settings, and how failures end it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from g3n_cli import __version__
from g3n_cli.commands.index import AS_EVENTS, COMMANDS
from g3n_cli.errors import MEMORY_HINT, DoesNotFitError, ExitCode, G3nError, Terminated, UsageError
from g3n_cli.offline import go_offline, is_offline
from g3n_cli.ui.terminal import Terminal

if TYPE_CHECKING:
    from g3n_cli.commands.config_file import Defaults

HELP = """Gemma 3n on your own machine: chat, pipes and benchmarks.

\b
  g3n chat                            start a conversation
  g3n chat "Why is the sky blue?"     ask one question
  cat notes.txt | g3n chat "Sum up"   use it in a pipe
"""
_NO_THREAD = "can't start new thread"
"""What Python raises as a RuntimeError where the system has no memory for another thread."""

_WITH_PROMPT = ("g3n chat", "g3n map")


class RootGroup(TyperGroup):
    """The program. Its ``commands`` are names and lines of help, until one of them is resolved."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  Typer's own
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  Typer's own
        """Find and build the command that the command line names."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and self.build(name), rest

    def build(self, name: str) -> TyperCommand | TyperGroup:
        """A command with its options, or a group with its commands.

        ``--offline`` may stand among their flags too.
        """
        command = _build_command(name)
        (offline,) = (parameter for parameter in self.params if parameter.name == "offline")
        command.params.append(offline)
        if isinstance(command, TyperGroup):
            for nested in command.commands.values():
                nested.params.append(offline)
        return command


app = typer.Typer(
    cls=RootGroup,
    help=HELP,
    rich_markup_mode=None,  # rich would make up a third of the start-up time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    epilog=(
        "Settings come from flags, then the template of chat -t, then environment variables "
        "(G3N_MODEL, G3N_CTX, ...), then the file config.toml in your configuration folder (or "
        "$G3N_CONFIG), then defaults."
    ),
)


def build_program() -> RootGroup:
    """The program, none of whose commands is imported yet."""
    root = get_command(app)
    assert isinstance(root, RootGroup)
    return root


def _build_command(name: str) -> TyperCommand | TyperGroup:
    module_name, _, attribute = COMMANDS[name][0].partition(":")
    module = import_module(f"g3n_cli.commands.{module_name}")
    target = getattr(module, attribute)
    holder = typer.Typer(rich_markup_mode=None, callback=lambda: None)
    if isinstance(target, typer.Typer):
        holder.add_typer(target, name=name)
    else:
        # What a module does not say is the function's docstring, and a plain command.
        text, kind = getattr(module, "HELP", None), getattr(module, "COMMAND_CLASS", None)
        holder.command(name, help=text, cls=kind)(target)
    group = get_command(holder)
    assert isinstance(group, TyperGroup)
    command = group.commands[name]
    assert isinstance(command, TyperCommand | TyperGroup)
    return command


def _forbid_connections(*, wanted: bool) -> None:
    if wanted or is_offline():
        go_offline()


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"g3n {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    ctx: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Forbid every connection, also of what this starts. [env var: G3N_OFFLINE]",
            callback=_forbid_connections,
            expose_value=False,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Set up what all commands share."""
    del offline  # seen to already, as it may stand among a command's flags too
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit
    from g3n_cli.commands.config_file import find_config_path

    if path := find_config_path():
        ctx.default_map = _load_defaults(path)


def _load_defaults(path: Path) -> Defaults:
    from g3n_cli.commands import bench, chat, map_inputs, serve
    from g3n_cli.commands.config_file import load_defaults

    return load_defaults(
        path,
        {
            "chat": chat.chat,
            "bench": bench.bench,
            "map": map_inputs.map_inputs,
            "serve": serve.serve,
        },
    )


def run(arguments: Sequence[str]) -> int:
    """Run the program: the one place where failures become messages and exit codes.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGTERM, _terminate)
    told = {AS_EVENTS: _asks_for_events(arguments)}  # and what a command says of itself
    try:
        program = build_program()
        code = program.main(list(arguments), prog_name="g3n", standalone_mode=False, obj=told)
    except G3nError as error:
        return _report(error, error.exit_code, told)
    except typer.TyperException as error:
        return _report(_translate(error), error.exit_code, told)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # that is all Typer makes of it
            raise
        _discard_output()
        return ExitCode.CLOSED_PIPE
    except OSError as error:
        if error.errno == errno.ENOMEM:
            no_memory = DoesNotFitError("not enough memory", MEMORY_HINT)
            return _report(no_memory, no_memory.exit_code, told)
        place = f"{error.filename}: " if error.filename else ""
        failure = G3nError(f"{place}{error.strerror or error}")
        return _report(failure, failure.exit_code, told, is_output_broken=True)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and str(error) != _NO_THREAD:
            raise
        return _report(DoesNotFitError("not enough memory", MEMORY_HINT), ExitCode.MEMORY, told)
    except Terminated:
        return ExitCode.TERMINATED
    return code or ExitCode.OK


def _asks_for_events(arguments: Sequence[str]) -> bool:
    """Whether failures are events even if the command line cannot be read."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    flags = takewhile(lambda word: word != "--", arguments)
    return command == "chat" and "--events" in flags


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _translate(error: typer.TyperException) -> UsageError:
    """A complaint of Typer's in our words."""
    ctx = getattr(error, "ctx", None)
    command = "g3n" if ctx is None else ctx.command_path
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")  # pydantic's
    if "unexpected extra argument" in message and command in _WITH_PROMPT:
        hint = "put the prompt in quotes, and patterns of files too"
        return UsageError(f"there is more than one prompt: {message.partition('(')[2][:-1]}", hint)
    return UsageError(message, hint=f"see {command} --help")


def _report(
    error: G3nError, code: int, told: Mapping[str, bool], *, is_output_broken: bool = False
) -> int:
    """Tell of a failure on stderr, and with ``--events`` on stdout too; returns the exit code."""
    if told.get(AS_EVENTS):
        from g3n_cli.ui.events import Events

        try:
            Events(Terminal.of_process()).fail(error, code)
        except OSError:
            is_output_broken = True
    if is_output_broken:
        _discard_output()
    Terminal.of_process().report(error)
    return code


def _discard_output() -> None:
    """Keep the interpreter from writing what is left in a stream that nobody reads."""
    sys.stdout = sys.__stdout__  # Typer may have wrapped it, and None where there is none
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
