"""What can be drawn of results: curves over depth, prompt length and time, speed by memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from g3n_cli.bench.result import CaseResult, Report
from g3n_cli.bench.table import name_cases

Point = tuple[float, float]
_MOST_TRACES = 7
"""More lines that lie upon each other nobody can read."""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        name: For the legend.
        points: By rising x.
    """

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """One picture.

    Attributes:
        title: What it shows.
        x_title: With its unit.
        y_title: With its unit.
        series: At least one.
        is_joined: Points of a series are joined by lines.
    """

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    is_joined: bool = True


@dataclass(frozen=True)
class _Named:
    """A case and what to call all that it shares with others of a curve."""

    result: CaseResult
    rest: str
    full: str


def make_charts(reports: Sequence[tuple[str, Report]]) -> list[Chart]:
    """All that the results allow; a curve wants two points.

    Args:
        reports: What to call each, and the report.
    """
    cases = list(_name_all(reports))
    has_depths = any(case.result.n_depth for case in cases)
    charts = [
        _draw_curve(
            cases,
            ("Decoding over depth", "tokens in the context", "tokens/s"),
            lambda r: (r.n_depth + r.n_prompt, r.figures["decode_tps"]),
            lambda _r: "",
        ),
        _draw_curve(
            cases,
            ("First token over prompt length", "tokens of the prompt", "s"),
            lambda r: (r.n_prompt, r.figures["ttft_s"]),
            lambda r: f"at depth {r.n_depth:,}" if has_depths else "",
        ),
        _draw_memory_over_time(cases),
        _draw_speed_by_memory(cases),
    ]
    return [chart for chart in charts if chart is not None]


def _name_all(reports: Sequence[tuple[str, Report]]) -> Iterator[_Named]:
    has_many = len(reports) > 1
    for source, report in reports:
        for result, name in zip(report.cases, name_cases(report.cases), strict=True):
            words = [source] if has_many else []
            rest = " ".join([*words, name.removeprefix(result.label).strip()]).strip()
            yield _Named(result, rest, " ".join([*words, name]))


def _draw_curve(
    cases: Iterable[_Named],
    titles: tuple[str, str, str],
    locate: Callable[[CaseResult], tuple[float, float | None]],
    describe: Callable[[CaseResult], str],
) -> Chart | None:
    curves: dict[str, dict[float, float]] = defaultdict(dict)
    for case in cases:
        x, y = locate(case.result)
        if y is not None:
            name = " ".join(filter(None, (case.rest, case.result.medium, describe(case.result))))
            curves[name or case.result.model][x] = y
    series = tuple(
        Series(name, tuple(sorted(points.items())))
        for name, points in curves.items()
        if len(points) > 1
    )
    return Chart(*titles, series) if series else None


def _draw_memory_over_time(cases: Iterable[_Named]) -> Chart | None:
    series = tuple(
        Series(case.full, tuple((at, rss / 1e6) for at, rss in trace))
        for case in cases
        if case.result.samples and len(trace := case.result.samples[-1].rss_trace) > 1
    )[:_MOST_TRACES]
    return Chart("Memory over time", "s since the start", "MB resident", series) if series else None


def _draw_speed_by_memory(cases: Iterable[_Named]) -> Chart | None:
    series = []
    for case in cases:
        figures = case.result.figures
        peak, speed = figures["peak_rss_bytes"], figures["decode_tps"]
        if peak is not None and speed is not None:
            series.append(Series(case.full, ((peak / 1e6, speed),)))
    if len(series) < 2:
        return None
    titles = ("Decoding speed by memory", "MB at the peak", "tokens/s")
    return Chart(*titles, tuple(series), is_joined=False)


def find_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from ``low`` or below to ``high`` or above: at most ``most`` steps apart."""
    span = (high - low) or abs(high) or 1.0
    rough = span / most
    power = 1.0
    while power * 10 <= rough:
        power *= 10
    while power > rough:
        power /= 10
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * (1 - 1e-9))
    first, last = int(low // step), -int(-high // step)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def format_tick(value: float) -> str:
    """As short as it can be."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
