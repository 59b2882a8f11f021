"""``--device``: a server that is named by its address."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import typer

from g3n_cli.errors import ServerError, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.options import ServerOptions
    from g3n_cli.chat.remote import RemoteSession
    from g3n_cli.ui.terminal import Terminal

FOR_SERVERS = frozenset(
    (
        *("prompt", "model", "device", "system", "stop", "max_tokens", "json", "events", "stats"),
        *("file", "fps", "frames", "start", "end", "sound", "preview"),
        *("template", "param", "append", "extract", "extract_last", "num"),
        *("go_on", "session", "no_save", "kv_disk"),
        *("schema", "choice_exit"),
        *("temp", "top_k", "top_p", "min_p", "repeat_penalty", "seed"),
    )
)
"""Parameters of ``g3n chat`` that mean something to a server."""


def is_address(device: str) -> bool:
    """Whether a device is named by an address."""
    return "://" in device


def refuse_engine_flags(context: typer.Context, for_servers: Collection[str] = FOR_SERVERS) -> None:
    """Refuse flags that are about models of this machine.

    Settings of the environment and of the configuration file are its defaults, and stay unused;
    but an answer that should follow a grammar, be a choice, or begin with a text, must not come
    without.

    Args:
        context: Of the command.
        for_servers: Names of its parameters that mean something to a server.

    Raises:
        UsageError: there is such a flag.
    """
    for_servers = {*for_servers, "offline"}  # which says itself what it forbids
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        is_given = source is not None and source.name == "COMMANDLINE"
        is_needed = name in ("grammar", "choice", "prefix") and bool(context.params.get(name))
        if name not in for_servers and (is_given or is_needed):
            flag = max(parameter.opts, key=len)
            raise UsageError(
                f"{flag} is for models on this machine, not for a server",
                hint=f"leave out {flag} or --device",
            )


def open_remote(
    device: str,
    model: str | None,
    options: ServerOptions,
    system: str,
    stop: Sequence[str],
    terminal: Terminal,
) -> RemoteSession:
    """A conversation with the server at an address.

    Args:
        device: Its address.
        model: One of its models, or None for the first that it lists.
        options: What to ask for.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        terminal: Where the person is told of what takes longer.

    Raises:
        UsageError: the address or the key cannot be used.
        ServerError: the server does not list its models.
    """
    from g3n_cli.chat.remote import RemoteSession
    from g3n_cli.engine.server import Server, ServerAddress, read_key
    from g3n_cli.ui.progress import ERASE_LINE

    def tell(line: str) -> None:
        if terminal.can_animate:  # it may be waiting for an answer
            terminal.stderr.write(ERASE_LINE)
        terminal.note(line)

    server = Server(ServerAddress.parse(device), read_key(), tell)
    if model is None:
        models = server.list_models()
        if not models:
            raise ServerError(f"{server.address} has no model", "-m names the one to use")
        model = models[0]
    return RemoteSession(server, model, options, system, stop)
