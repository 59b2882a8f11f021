"""Charts in a terminal, of Braille dots: two by four in each cell."""

from __future__ import annotations

import shutil
import string
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible

_HEIGHT = 12
_MOST_WIDTH = 100
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a cell by column and row. **Source**: Unicode, block "Braille Patterns"."""

_WHOLE = 0xFF
_MOST_MARKED = 20
"""Points of a series that have a letter each where there are no colours; of more the last one."""

_LETTERS = string.ascii_lowercase
_COLOURS = (34, 33, 32, 35, 36, 31)

Point = tuple[float, float]


class Series(Protocol):
    """Points that belong together; see ``g3n_cli.bench.charts.Series``."""

    @property
    def name(self) -> str:
        """For the legend."""
        ...

    @property
    def points(self) -> tuple[Point, ...]:
        """By rising x."""
        ...


class Chart(Protocol):
    """One picture; see ``g3n_cli.bench.charts.Chart``."""

    @property
    def title(self) -> str:
        """What it shows."""
        ...

    @property
    def x_title(self) -> str:
        """With its unit."""
        ...

    @property
    def y_title(self) -> str:
        """With its unit."""
        ...

    @property
    def series(self) -> Sequence[Series]:
        """At least one."""
        ...

    @property
    def is_joined(self) -> bool:
        """Points of a series are joined by lines."""
        ...


def plot(chart: Chart, terminal: Terminal) -> str:
    """The chart as lines of text, each series in a colour or, without colours, with a letter."""
    columns = shutil.get_terminal_size().columns if terminal.stdout.isatty() else _MOST_WIDTH
    points = [point for series in chart.series for point in series.points]
    low, high = (0.0 if chart.is_joined else min(x for x, _ in points)), max(x for x, _ in points)
    top = max(y for _, y in points) or 1.0
    labels = [f"{top:.4g}", f"{top / 2:.4g}", "0"]
    margin = max(map(len, labels))
    width = max(10, min(columns, _MOST_WIDTH) - margin - 2)
    grid = _Grid(width, _HEIGHT)
    for index, series in enumerate(chart.series):
        places = [
            (
                (x - low) / ((high - low) or 1.0) * (2 * width - 1),
                (1 - y / top) * (4 * _HEIGHT - 1),
            )
            for x, y in series.points
        ]
        grid.draw(places, index, is_joined=chart.is_joined)
        if not terminal.has_colour:
            grid.mark(places if len(places) <= _MOST_MARKED else places[-1:], _LETTERS[index % 26])
    rows = grid.render(has_colour=terminal.has_colour)
    sides = {0: labels[0], _HEIGHT // 2: labels[1], _HEIGHT - 1: labels[2]}
    lines = [f"{chart.title} ({chart.y_title})"]
    lines += [f"{sides.get(index, ''):>{margin}} │{row}" for index, row in enumerate(rows)]
    scale = f"{low:.4g}{high:>{width - len(f'{low:.4g}')}.4g}"
    lines += [f"{'':{margin}} └{'─' * width}", f"{'':{margin}}  {scale}  "]
    lines.append(f"{'':{margin}}  {chart.x_title:>{width}}")
    for index, series in enumerate(chart.series):
        mark = _paint("●", index) if terminal.has_colour else _LETTERS[index % 26]
        lines.append(f"{'':{margin}}  {mark} {make_visible(series.name)}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Grid:
    """Cells of dots; what is drawn last colours a cell."""

    def __init__(self, width: int, height: int) -> None:
        self._bits = [[0] * width for _ in range(height)]
        self._owners = [[0] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], str] = {}

    def draw(self, places: Sequence[Point], owner: int, *, is_joined: bool) -> None:
        """Lines through places, or a whole cell at each, which a single dot would not show."""
        for place in places:
            self._set(place, owner, whole=not is_joined)
        for (x1, y1), (x2, y2) in pairwise(places) if is_joined else ():
            steps = max(1, round(max(abs(x2 - x1), abs(y2 - y1))))
            for i in range(steps + 1):
                self._set((x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps), owner)

    def mark(self, places: Sequence[Point], letter: str) -> None:
        """A letter instead of the dots at each place."""
        for x, y in places:
            self._letters[round(x) // 2, round(y) // 4] = letter

    def render(self, *, has_colour: bool) -> list[str]:
        """Rows of characters."""
        rows = []
        for y, (bits, owners) in enumerate(zip(self._bits, self._owners, strict=True)):
            cells = [
                (self._letters.get((x, y)) or (chr(0x2800 + b) if b else " "), o)
                for x, (b, o) in enumerate(zip(bits, owners, strict=True))
            ]
            painted = (_paint(c, o) if has_colour and c != " " else c for c, o in cells)
            rows.append("".join(painted))
        return rows

    def _set(self, place: Point, owner: int, *, whole: bool = False) -> None:
        x, y = round(place[0]), round(place[1])
        self._bits[y // 4][x // 2] |= _WHOLE if whole else _DOTS[x % 2][y % 4]
        self._owners[y // 4][x // 2] = owner


def _paint(text: str, index: int) -> str:
    return f"\x1b[{_COLOURS[index % len(_COLOURS)]}m{text}\x1b[0m"
