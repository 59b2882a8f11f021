"""Pictures that a terminal draws itself: whether it can, and what it wants to be sent."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import re
import select
import struct
import termios
import time
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from g3n_cli.ui.terminal import Terminal

Graphics: TypeAlias = Literal["kitty", "iterm", "sixel"]

PATIENCE_S = 0.5
"""Longest wait for a terminal's answer."""

_WHO_ARE_YOU = "\x1b[c"
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL = b"4"
_CHUNK = 4096
_PIXELS_OF_CELL = (8, 16)
"""Of a terminal that does not tell; a smaller picture does no harm."""

_N_COLORS = 128
_BAND = 6


def find_graphics(terminal: Terminal, environ: Mapping[str, str] | None = None) -> Graphics | None:
    """How pictures can be sent to a terminal; None where only characters can.

    What the environment does not tell, the terminal is asked, and waited for for ``PATIENCE_S`` at
    most. Inside tmux and screen the environment is that of the terminal around them.

    Args:
        terminal: Its stderr is drawn on.
        environ: The environment; that of this process if None.
    """
    environ = os.environ if environ is None else environ
    if not terminal.can_animate:
        return None
    name, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if not ("TMUX" in environ or "STY" in environ or name.startswith(("screen", "tmux"))):
        if "KITTY_WINDOW_ID" in environ or name in ("xterm-kitty", "xterm-ghostty"):
            return "kitty"
        if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
    return "sixel" if _SIXEL in _ask_attributes(terminal) else None


def draw(image: Image.Image, how: Graphics, columns: int, rows: int, terminal: Terminal) -> str:
    """What makes a terminal draw a picture where the cursor is.

    Args:
        image: RGB.
        how: What the terminal understands.
        columns: Width in characters.
        rows: Height in lines.
        terminal: Asked for the size of a character.
    """
    width, height = _read_cell(terminal)
    small = image.resize((columns * width, rows * height), Image.Resampling.BOX)
    match how:
        case "kitty":
            return draw_kitty(small, columns, rows)
        case "iterm":
            return draw_iterm(small, columns, rows)
        case "sixel":
            return draw_sixel(small)


def draw_kitty(image: Image.Image, columns: int, rows: int) -> str:
    """A picture for kitty, which is not to answer.

    **Source**: kitty's "Terminal graphics protocol".
    """
    payload = _encode_png(image)
    chunks = [payload[at : at + _CHUNK] for at in range(0, len(payload), _CHUNK)]
    heads = [f"a=T,f=100,q=2,c={columns},r={rows},", *["q=2,"] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(
        f"\x1b_G{head}m={m};{chunk}\x1b\\"
        for head, m, chunk in zip(heads, more, chunks, strict=True)
    )


def draw_iterm(image: Image.Image, columns: int, rows: int) -> str:
    """A picture for iTerm2. **Source**: its "Inline Images Protocol"."""
    payload = _encode_png(image)
    size = f"width={columns};height={rows};preserveAspectRatio=0"
    return f"\x1b]1337;File=inline=1;{size}:{payload}\x07"


def draw_sixel(image: Image.Image) -> str:
    """A picture as DEC's terminals draw it, six lines of pixels at a time, color after color.

    **Source**: "VT330/VT340 Programmer Reference Manual", volume 2, chapter 14.
    """
    image = image.quantize(_N_COLORS, dither=Image.Dither.NONE)
    palette = np.reshape(image.getpalette() or (), (-1, 3))
    pixels = np.asarray(image)
    colors = [
        "#{};2;{};{};{}".format(index, *(round(int(part) / 2.55) for part in palette[index]))
        for index in np.unique(pixels)
    ]
    bands = [
        "$".join(_draw_band(pixels[top : top + _BAND])) for top in range(0, len(pixels), _BAND)
    ]
    raster = f'"1;1;{image.width};{image.height}'
    return f"\x1bP0;1q{raster}{''.join(colors)}{'-'.join(bands)}\x1b\\"


def _draw_band(pixels: npt.NDArray[np.uint8]) -> Iterator[str]:
    """A line of sixels for each color of ``[at most _BAND, width]`` palette indices."""
    bits = 1 << np.arange(len(pixels))
    for index in np.unique(pixels):
        sixels = bits @ (pixels == index)
        starts = np.flatnonzero(np.diff(sixels, prepend=-1))
        lengths = np.diff(starts, append=len(sixels))
        runs = zip(sixels[starts].tolist(), lengths.tolist(), strict=True)
        yield f"#{index}" + "".join(f"!{n}{chr(63 + sixel)}" for sixel, n in runs)


def _encode_png(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _read_cell(terminal: Terminal) -> tuple[int, int]:
    """Pixels of a character, as far as the terminal tells."""
    try:
        answer = fcntl.ioctl(terminal.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (OSError, ValueError):  # nothing behind the stream
        return _PIXELS_OF_CELL
    rows, columns, width, height = struct.unpack("4H", answer)
    if not (rows and columns and width >= columns and height >= rows):
        return _PIXELS_OF_CELL
    return width // columns, height // rows


def _ask_attributes(terminal: Terminal) -> list[bytes]:
    """What a terminal says that it can; nothing if it does not answer, or somebody is typing.

    **Source**: xterm's "Control Sequences", Primary Device Attributes.
    """
    try:
        fd = terminal.stdin.fileno()
        before = termios.tcgetattr(fd)
    except (OSError, ValueError, termios.error):  # no terminal, or nothing behind the stream
        return []
    silent = termios.tcgetattr(fd)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(fd, termios.TCSANOW, silent)
    try:
        if select.select([fd], [], [], 0)[0]:
            return []
        terminal.stderr.write(_WHO_ARE_YOU)
        terminal.stderr.flush()
        answer = _read_answer(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
    return answer[1].split(b";")[1:] if answer else []  # the first number is its generation


def _read_answer(fd: int) -> re.Match[bytes] | None:
    text, end = b"", time.monotonic() + PATIENCE_S
    while (left := end - time.monotonic()) > 0 and select.select([fd], [], [], left)[0]:
        if not (read := os.read(fd, 64)):
            return None
        text += read
        if answer := _ATTRIBUTES.search(text):
            return answer
    return None
