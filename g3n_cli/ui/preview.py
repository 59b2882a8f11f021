"""A small picture in the terminal, two pixels in each character."""

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

from g3n_cli.ui.terminal import Terminal

MOST_COLUMNS = 32
MOST_ROWS = 12
_UPPER_HALF = "▀"


def show_preview(values: npt.NDArray[Any], terminal: Terminal) -> None:
    """Draw a picture on stderr.

    Args:
        values: [height, width, 3] uint8 RGB.
        terminal: One that can draw.
    """
    n_columns = max(1, min(MOST_COLUMNS, shutil.get_terminal_size().columns - 3))
    image = Image.fromarray(values)
    image.thumbnail((n_columns, 2 * MOST_ROWS), Image.Resampling.BOX)
    console = Console(file=io.StringIO(), force_terminal=True, width=MOST_COLUMNS + 2)
    for row in range(0, image.height - image.height % 2, 2):
        cells = [_make_cell(image, column, row) for column in range(image.width)]
        console.print(_Row([Segment("  "), *cells]), end="")
    drawn = console.file
    assert isinstance(drawn, io.StringIO)
    terminal.stderr.write(drawn.getvalue())
    terminal.stderr.flush()


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
