"""Putting text on the clipboard, also from a machine far away."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess

from g3n_cli.errors import G3nError
from g3n_cli.ui.terminal import Terminal

TOOLS = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    (None, ("pbcopy",)),
)
"""Environment variable that shows a tool can work, and its command line."""


def copy_text(text: str, terminal: Terminal) -> str:
    """Copy and return by what means.

    Without a tool of the desktop the terminal is asked to (OSC 52), which also works through SSH.

    Raises:
        G3nError: the tool failed, or there is no terminal to ask.
    """
    for variable, command in TOOLS:
        if (variable is None or os.environ.get(variable)) and shutil.which(command[0]):
            result = subprocess.run(command, input=text.encode(), check=False)
            if result.returncode:
                raise G3nError(f"{command[0]} failed with exit code {result.returncode}")
            return command[0]
    if not terminal.can_draw:
        raise G3nError("no clipboard here", hint="install xclip or wl-copy")
    encoded = base64.b64encode(text.encode()).decode()
    terminal.write(f"\x1b]52;c;{encoded}\x07")
    return "the terminal"
