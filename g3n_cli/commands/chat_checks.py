"""Flags of ``g3n chat`` that make no sense, or not together: told before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from g3n_cli.config import AUTO
from g3n_cli.errors import UsageError


def check_stop(stop: Sequence[str]) -> None:
    """Refuse an empty text, before which everything ends.

    Raises:
        UsageError: there is one.
    """
    if "" in stop:
        raise UsageError("--stop must not be empty")


def check_events(context: typer.Context) -> None:
    """Refuse forms that ``--events`` does not have.

    Raises:
        UsageError: there is one.
    """
    given = context.params
    for name in ("json", "extract", "extract_last", "schema", "choice"):
        if given["events"] and given[name]:
            flag = name.replace("_", "-")
            raise UsageError(f"--events and --{flag} exclude each other", "give one of them")


def check_num(num: int, temp: float | None) -> None:
    """Refuse several answers that would all be the same.

    Raises:
        UsageError: they would.
    """
    if num > 1 and temp == 0:
        raise UsageError("--num: at temperature 0 all answers are the same", "raise --temp")


def check_min_tps(min_tps: float | None, size: str) -> None:
    """Refuse a speed that nothing can reach or that nothing follows.

    Raises:
        UsageError: it is one.
    """
    if min_tps is not None and (size != AUTO or min_tps <= 0):
        raise UsageError("--min-tps wants --size auto, and a number above 0")
