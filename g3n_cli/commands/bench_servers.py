"""Servers among the devices of ``g3n bench``: which of their models run, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from g3n_cli.errors import ServerError, UsageError

if TYPE_CHECKING:
    from g3n_cli.bench.case import BenchModel, Case
    from g3n_cli.ui.terminal import Terminal

_FOR_SERVERS = frozenset(
    (
        *("model", "device", "preset", "n_prompt", "n_gen", "n_depth", "repetitions", "ab"),
        *("file", "tokens", "format", "output", "plot"),
    )
)


def refuse_local_flags(context: typer.Context, devices: Sequence[str]) -> None:
    """Refuse flags that mean nothing on any of the devices.

    Raises:
        UsageError: there is such a flag.
    """
    from g3n_cli.bench.case import is_address
    from g3n_cli.commands.remote import refuse_engine_flags

    if all(map(is_address, devices)):
        refuse_engine_flags(context, _FOR_SERVERS)


def find_server_models(
    addresses: Sequence[str], names: Sequence[str], terminal: Terminal
) -> dict[str, list[BenchModel]]:
    """Models by address: those that are named, else each server's first.

    Raises:
        UsageError: an address or the key cannot be used.
        ServerError: a server does not tell its models.
    """
    from g3n_cli.bench.case import BenchModel
    from g3n_cli.bench.remote import open_server

    found: dict[str, list[BenchModel]] = {}
    for address in addresses:
        server = open_server(address, terminal.note)
        wanted = list(names) or server.list_models()[:1]
        if not wanted:
            raise ServerError(f"{server.address} has no model", "-m names the one to use")
        found[address] = [BenchModel(name, None) for name in wanted]
    return found


def check_servers(
    cases: Sequence[Case], content: str, terminal: Terminal, *, is_cold: bool
) -> None:
    """Refuse what servers cannot do, and those that do not answer.

    Raises:
        UsageError: it cannot be measured on a server.
        ServerError: a server cannot be reached, or refuses.
        ModelError: it has no such model.
    """
    remote = [case for case in cases if case.is_remote]
    if not remote:
        return
    from g3n_cli.bench.remote import check_server

    hint = "leave it or the server out"
    if is_cold:
        raise UsageError("--cold is for models on this machine, not for a server", hint)
    if content == "random":
        raise UsageError("--tokens random is for models on this machine, not for a server", hint)
    for case in {(case.device, case.model): case for case in remote}.values():
        check_server(case, terminal.note)
