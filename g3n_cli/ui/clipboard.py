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


PASTE_TOOLS = (
    ("WAYLAND_DISPLAY", ("wl-paste", "--list-types"), ("wl-paste", "--no-newline", "--type")),
    (
        "DISPLAY",
        ("xclip", "-selection", "clipboard", "-out", "-target", "TARGETS"),
        ("xclip", "-selection", "clipboard", "-out", "-target"),
    ),
)
"""Environment variable, command that lists types, command that gives one of them."""

PASTE_TEXT_TOOLS = (
    ("DISPLAY", ("xsel", "--clipboard", "--output")),
    (None, ("pbpaste",)),
)
"""Tools that give text alone; asked where there is none of those that know types."""

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff", "image/gif")
TEXTS = ("text/plain;charset=utf-8", "UTF8_STRING", "text/plain", "STRING")


def paste() -> bytes:
    """What is on the clipboard: a picture if there is one, else text.

    Raises:
        G3nError: there is no tool that can read it, or it is empty.
    """
    for variable, listing, giving in PASTE_TOOLS:
        if not (os.environ.get(variable) and shutil.which(listing[0])):
            continue
        listed = subprocess.run(listing, capture_output=True, text=True, check=False)
        types = listed.stdout.split("\n")
        for wanted in (*PICTURES, *TEXTS):
            if wanted in types:
                given = subprocess.run([*giving, wanted], capture_output=True, check=False)
                if given.stdout:
                    return given.stdout
        raise G3nError("the clipboard is empty")
    for needed, command in PASTE_TEXT_TOOLS:
        if (needed is None or os.environ.get(needed)) and shutil.which(command[0]):
            text = subprocess.run(command, capture_output=True, check=False).stdout
            if not text:
                raise G3nError("the clipboard is empty")
            return text
    raise G3nError("no clipboard to read here", hint="install wl-clipboard, xclip or xsel")


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
