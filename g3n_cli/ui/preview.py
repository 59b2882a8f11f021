"""A small picture in the terminal: drawn by it where it can, else two pixels in each character."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy.typing as npt
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from g3n_cli.ui.graphics import Graphics, draw
from g3n_cli.ui.terminal import Terminal

MOST_COLUMNS = 32
MOST_ROWS = 12
_UPPER_HALF = "▀"
_INDENT = "  "


def show_preview(values: npt.NDArray[Any], terminal: Terminal, graphics: Graphics | None) -> None:
    """Draw a picture on stderr.

    Args:
        values: [height, width, 3] uint8 RGB.
        terminal: One that can draw.
        graphics: How pictures can be sent to it; None for characters.
    """
    n_columns = max(1, min(MOST_COLUMNS, shutil.get_terminal_size().columns - 3))
    image = Image.fromarray(values)
    if graphics is None:
        drawn = _draw_blocks(image, n_columns)
    else:
        scale = min(1.0, n_columns / image.width, 2 * MOST_ROWS / image.height)
        columns = max(1, round(image.width * scale))
        rows = max(1, round(image.height * scale / 2))
        drawn = f"{_INDENT}{draw(image, graphics, columns, rows, terminal)}\n"
    terminal.stderr.write(drawn)
    terminal.stderr.flush()


def _draw_blocks(image: Image.Image, n_columns: int) -> str:
    image.thumbnail((n_columns, 2 * MOST_ROWS), Image.Resampling.BOX)
    console = Console(file=io.StringIO(), force_terminal=True, width=MOST_COLUMNS + 2)
    for row in range(0, image.height - image.height % 2, 2):
        cells = [_make_cell(image, column, row) for column in range(image.width)]
        console.print(_Row([Segment(_INDENT), *cells]), end="")
    drawn = console.file
    assert isinstance(drawn, io.StringIO)
    return drawn.getvalue()


class _Row:
    """Segments as rich prints them."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments

    def __rich_console__(self, *_: object) -> list[Segment]:
        return [*self._segments, Segment.line()]


def _make_cell(image: Image.Image, column: int, row: int) -> Segment:
    upper, lower = (_read_color(image, column, at) for at in (row, row + 1))
    return Segment(_UPPER_HALF, Style(color=upper, bgcolor=lower))


def _read_color(image: Image.Image, column: int, row: int) -> Color:
    pixel = image.getpixel((column, row))
    assert isinstance(pixel, tuple)
    red, green, blue = (int(value) for value in pixel[:3])
    return Color.from_rgb(red, green, blue)
