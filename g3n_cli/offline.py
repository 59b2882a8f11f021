"""Forbidding connections: one answer to whether the network may be used, asked before it is."""

from __future__ import annotations

import os

from g3n_cli.errors import G3nError

_SWITCH, _SWITCH_OF_HUB = "G3N_OFFLINE", "HF_HUB_OFFLINE"
_NO = ("", "0", "false", "no", "off")


def go_offline() -> None:
    """Forbid connections to this process and to those it starts, which inherit its environment."""
    os.environ[_SWITCH] = os.environ[_SWITCH_OF_HUB] = "1"


def is_offline() -> bool:
    """Whether the person forbids every connection."""
    return _is_set(_SWITCH)


def check_online(what: str) -> None:
    """Refuse a connection where they are forbidden.

    Args:
        what: Who is going to be spoken to.

    Raises:
        G3nError: they are.
    """
    if is_offline():
        raise G3nError(
            f"{what}: connections are forbidden (--offline or {_SWITCH})",
            "leave that out to connect",
        )


def check_hub(what: str) -> None:
    """Refuse to ask the Hub, which has a switch of its own.

    Raises:
        G3nError: connections are forbidden, or those to the Hub.
    """
    check_online(what)
    if _is_set(_SWITCH_OF_HUB):
        raise G3nError(
            f"{what}: nothing is fetched while {_SWITCH_OF_HUB} is set", f"unset {_SWITCH_OF_HUB}"
        )


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() not in _NO
