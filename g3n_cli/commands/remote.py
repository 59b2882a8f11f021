"""``--device``: a server that is named by its address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from g3n_cli.errors import ServerError, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.options import ServerOptions
    from g3n_cli.chat.remote import RemoteSession
    from g3n_cli.ui.terminal import Terminal

_FOR_SERVERS = {
    *("prompt", "model", "device", "system", "stop", "max_tokens", "json", "stats"),
    *("temp", "top_k", "top_p", "min_p", "repeat_penalty", "seed"),
}


def is_address(device: str) -> bool:
    """Whether a device is named by an address."""
    return "://" in device


def refuse_engine_flags(context: typer.Context) -> None:
    """Refuse flags that are about models of this machine.

    Settings of the environment and of the configuration file are its defaults, and stay unused;
    but an answer that should follow a grammar must not come without.

    Raises:
        UsageError: there is such a flag.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        is_given = source is not None and source.name == "COMMANDLINE"
        is_needed = name == "grammar" and context.params[name] is not None
        if name not in _FOR_SERVERS and (is_given or is_needed):
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
    from g3n_cli.engine.server import Server, ServerAddress

    server = Server(ServerAddress.parse(device), read_key(), terminal.note)
    if model is None:
        models = server.list_models()
        if not models:
            raise ServerError(f"{server.address} has no model", "-m names the one to use")
        model = models[0]
    return RemoteSession(server, model, options, system, stop)


def read_key() -> str | None:
    """The server's key from the environment.

    Raises:
        UsageError: it cannot be sent.
    """
    key = os.environ.get("G3N_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("G3N_API_KEY has characters that no key has")
    return key or None
