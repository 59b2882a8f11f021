"""Asking before something cannot be taken back."""

from __future__ import annotations

from g3n_cli.errors import UsageError
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible


def confirm(question: str, terminal: Terminal) -> bool:
    """Whether the person says yes; nothing else is a yes.

    Raises:
        UsageError: nobody is there to ask.
    """
    if not terminal.stdin.isatty():
        raise UsageError(question, "agree with --yes")
    terminal.stderr.write(f"{make_visible(question)} [y/N] ")
    terminal.stderr.flush()
    return terminal.stdin.readline().strip().lower() in ("y", "yes")
