"""Charts as SVG and PNG, drawn by the same code on two kinds of paper."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import Literal, Protocol

from g3n_cli.bench.charts import Chart, Point, find_ticks, format_tick

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _BOTTOM = 70, 24, 56
_LINE = 18
_FONT = 12
_INK, _FAINT = "#333333", "#dddddd"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind people too. **Source**: Okabe and Ito 2008, without the yellow."""

_SHARPNESS = 2
Anchor = Literal["start", "middle", "end"]


class Paper(Protocol):
    """Something to draw on; x to the right, y down."""

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        """A line through points."""
        ...

    def dot(self, centre: Point, colour: str) -> None:
        """A filled circle."""
        ...

    def text(self, at: Point, text: str, anchor: Anchor, *, is_bold: bool = False) -> None:
        """Text on a baseline."""
        ...


class _Svg:
    """Paper whose drawing is text."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )

    def dot(self, centre: Point, colour: str) -> None:
        x, y = centre
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def text(self, at: Point, text: str, anchor: Anchor, *, is_bold: bool = False) -> None:
        weight = ' font-weight="bold"' if is_bold else ""
        x, y = at
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )


class _Png:
    """Paper of pixels."""

    def __init__(self, height: int) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (WIDTH * _SHARPNESS, height * _SHARPNESS), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(_FONT * _SHARPNESS)

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        places = [(x * _SHARPNESS, y * _SHARPNESS) for x, y in points]
        self._draw.line(places, colour, round(width * _SHARPNESS), joint="curve")

    def dot(self, centre: Point, colour: str) -> None:
        x, y = (value * _SHARPNESS for value in centre)
        radius = 3.5 * _SHARPNESS
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def text(self, at: Point, text: str, anchor: Anchor, *, is_bold: bool = False) -> None:
        place = (at[0] * _SHARPNESS, at[1] * _SHARPNESS)
        where = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        width = 0.5 if is_bold else 0.0
        self._draw.text(place, text, _INK, self._font, where, stroke_width=width, stroke_fill=_INK)


def draw_svg(charts: Sequence[Chart]) -> str:
    """An SVG document with the charts below each other."""
    paper = _Svg()
    height = _draw_all(charts, paper)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="sans-serif" font-size="{_FONT}" fill="{_INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(paper.parts) + "\n</svg>\n"
    )


def draw_png(charts: Sequence[Chart]) -> bytes:
    """The same as a picture."""
    paper = _Png(sum(map(_count_height, charts)))
    _draw_all(charts, paper)
    out = io.BytesIO()
    paper.image.save(out, "PNG")
    return out.getvalue()


def _draw_all(charts: Sequence[Chart], paper: Paper) -> int:
    top = 0
    for chart in charts:
        _draw(chart, paper, top)
        top += _count_height(chart)
    return top


def _count_height(chart: Chart) -> int:
    """Legends take what they need."""
    return HEIGHT + _LINE * len(chart.series)


def _draw(chart: Chart, paper: Paper, top: int) -> None:
    paper.text((_LEFT, top + 28), chart.title, "start", is_bold=True)
    for index, series in enumerate(chart.series):
        line = top + 50 + index * _LINE
        paper.dot((_LEFT + 4, line - 4), _COLOURS[index % len(_COLOURS)])
        paper.text((_LEFT + 16, line), series.name, "start")
    ceiling = top + 70 + _LINE * len(chart.series)
    floor = top + _count_height(chart) - _BOTTOM
    points = [point for series in chart.series for point in series.points]
    x_ticks = find_ticks(*_find_range([x for x, _ in points], chart.is_joined), 8)
    y_ticks = find_ticks(0.0, max(y for _, y in points), 5)

    def locate(point: Point) -> Point:
        x = (point[0] - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        y = (point[1] - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return _LEFT + x * (WIDTH - _LEFT - _RIGHT), floor - y * (floor - ceiling)

    for tick in y_ticks:
        _, y = locate((x_ticks[0], tick))
        paper.line([(_LEFT, y), (WIDTH - _RIGHT, y)], _FAINT, 1)
        paper.text((_LEFT - 8, y + 4), format_tick(tick), "end")
    for tick in x_ticks:
        x, _ = locate((tick, y_ticks[0]))
        paper.line([(x, floor), (x, floor + 4)], _INK, 1)
        paper.text((x, floor + 18), format_tick(tick), "middle")
    paper.line([(_LEFT, floor), (WIDTH - _RIGHT, floor)], _INK, 1)
    paper.text((WIDTH - _RIGHT, floor + 38), chart.x_title, "end")
    paper.text((_LEFT - 8, ceiling - 12), chart.y_title, "middle")
    for index, series in enumerate(chart.series):
        places, colour = [locate(point) for point in series.points], _COLOURS[index % len(_COLOURS)]
        if chart.is_joined:
            paper.line(places, colour, 2)
        if len(places) <= 20:
            for place in places:
                paper.dot(place, colour)


def _find_range(values: Sequence[float], starts_at_zero: bool) -> tuple[float, float]:  # noqa: FBT001
    return (0.0 if starts_at_zero else min(values)), max(values)
