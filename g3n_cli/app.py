"""The program: its commands, its settings, and how failures end it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from g3n_cli import __version__
from g3n_cli.commands import (
    bench,
    chat,
    clean,
    convert,
    debug,
    devices,
    estimate,
    local_models,
    map_inputs,
    ps,
    pull,
    quality,
    schema,
    serve,
    serve_device,
    sessions,
    show,
    slice,
    templates,
    transcribe,
    where,
)
from g3n_cli.commands.answer_options import AS_EVENTS
from g3n_cli.commands.config_file import find_config_path, load_defaults
from g3n_cli.commands.template_options import TemplateCommand
from g3n_cli.errors import DoesNotFitError, ExitCode, G3nError, Terminated, UsageError
from g3n_cli.offline import go_offline, is_offline
from g3n_cli.ui.terminal import Terminal

HELP = """Gemma 3n on your own machine: chat, pipes and benchmarks.

\b
  g3n chat                            start a conversation
  g3n chat "Why is the sky blue?"     ask one question
  cat notes.txt | g3n chat "Sum up"   use it in a pipe
"""

app = typer.Typer(
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
app.command(help=chat.HELP, cls=TemplateCommand)(chat.chat)
app.command("map", help=map_inputs.HELP)(map_inputs.map_inputs)
app.command(help=transcribe.HELP)(transcribe.transcribe)
app.command(help=pull.HELP)(pull.pull)
app.command("list")(local_models.list_models)
app.command()(show.show)
app.command("estimate")(estimate.estimate_model)
app.command()(local_models.verify)
app.command()(local_models.rm)
app.command()(devices.devices)
app.command(help=serve.HELP)(serve.serve)
app.command()(ps.ps)
app.command(help=serve_device.HELP)(serve_device.serve_device)
app.command("slice")(slice.slice_model)
app.command(help=convert.HELP)(convert.convert)
app.command(help=quality.HELP)(quality.quality)
app.command()(where.config)
app.command()(where.privacy)
app.command(help=clean.HELP)(clean.clean)
app.command("schema", help=schema.HELP)(schema.show_schema)
app.add_typer(bench.app, name="bench")
app.add_typer(sessions.app, name="sessions", no_args_is_help=False)
app.add_typer(templates.app, name="templates", no_args_is_help=False)
app.add_typer(debug.app, name="debug", no_args_is_help=False)


def build_command() -> TyperGroup:
    """The program; ``--offline`` may stand before a command's name and among its flags."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    (offline,) = (parameter for parameter in root.params if parameter.name == "offline")
    waiting = list(root.commands.values())
    while waiting:
        command = waiting.pop()
        command.params.append(offline)
        if isinstance(command, TyperGroup):
            waiting += command.commands.values()
    return root


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
    if path := find_config_path():
        ctx.default_map = load_defaults(
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
    told: dict[str, bool] = {}  # what a command says of itself before it runs
    try:
        command = build_command()
        code = command.main(list(arguments), prog_name="g3n", standalone_mode=False, obj=told)
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
        place = f"{error.filename}: " if error.filename else ""
        failure = G3nError(f"{place}{error.strerror or error}")
        return _report(failure, failure.exit_code, told, is_output_broken=True)
    except MemoryError:
        return _report(DoesNotFitError("not enough memory"), ExitCode.MEMORY, told)
    except Terminated:
        return ExitCode.TERMINATED
    return code or ExitCode.OK


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _translate(error: typer.TyperException) -> UsageError:
    """A complaint of Typer's in our words."""
    ctx = getattr(error, "ctx", None)
    command = "g3n" if ctx is None else ctx.command_path
    return UsageError(error.format_message().rstrip("."), hint=f"see {command} --help")


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
