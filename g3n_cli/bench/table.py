"""Results as rows of text, for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from g3n_cli.bench.case import find_varied
from g3n_cli.bench.memory import PARTS
from g3n_cli.bench.metrics import median
from g3n_cli.bench.result import FIGURES, CaseResult, Report, list_shown

NOTHING = "-"
_IN_HISTORY = ("ttft_s", "prefill_tps", "decode_tps", "peak_rss_bytes")
_LESS_SHOWN = ("itl p90", "itl p99", "itl p95", "RSS", "tokens")
_LESS_SHOWN_OF_MEMORY = ("libraries", "python", "other", "reclaimable", "peak loading")


@dataclass(frozen=True)
class Table:
    """Text in columns.

    Attributes:
        head: Of the columns.
        rows: As many cells each.
        n_text: Columns that are text, from the first on; the others are numbers.
        dispensable: Heads of columns that may be left out, the first of them first.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int
    dispensable: tuple[str, ...] = ()


def make_figures_table(results: Sequence[CaseResult]) -> Table:
    """A line for each case: what tells it from the others, and its figures."""
    heads, names = _name_cases(results)
    values = [result.figures for result in results]
    shown = list_shown(values)
    rows = []
    for figures, name in zip(values, names, strict=True):
        rows.append((*name, *(format_value(f.name, figures[f.name]) for f in shown)))
    head = (*heads, *(figure.title for figure in shown))
    return Table(head, tuple(rows), len(heads), _LESS_SHOWN)


def make_memory_table(results: Sequence[CaseResult]) -> Table:
    """A line for each case: what is resident after the last token, and what for.

    Cases of servers have none: what they take is not known.
    """
    results = [each for each in results if any(sample.ledger for sample in each.samples)]
    heads, names = _name_cases(results)
    parts = [part for part in PARTS if any(_median_part(each, part) for each in results)]
    rows = []
    for result, name in zip(results, names, strict=True):
        ledgers = [sample.ledger for sample in result.samples if sample.ledger]
        cells = [
            *(_median_part(result, part) for part in parts),
            median([ledger.rss_bytes for ledger in ledgers]),
            median([ledger.reclaimable_bytes for ledger in ledgers]),
            median([s.peak_load_rss_bytes for s in result.samples if s.peak_load_rss_bytes]),
            median([s.peak_run_rss_bytes for s in result.samples if s.peak_run_rss_bytes]),
        ]
        rows.append((*name, *(format_value("bytes", cell) for cell in cells)))
    titles = [part.replace("_", " ") for part in parts]
    head = (*heads, *titles, "RSS", "reclaimable", "peak loading", "peak running")
    return Table(head, tuple(rows), len(heads), _LESS_SHOWN_OF_MEMORY)


def make_history_table(reports: Sequence[tuple[int, Report]]) -> Table:
    """A line for each case of each run: its number, its moment, and the figures people look for."""
    rows = []
    for number, report in reports:
        moment = str(report.environment.get("time", NOTHING)).partition("+")[0].replace("T", " ")
        for result, name in zip(report.cases, name_cases(report.cases), strict=True):
            figures = result.figures
            cells = [format_value(figure, figures[figure]) for figure in _IN_HISTORY]
            rows.append((str(number), moment, result.model, name, *cells))
    titles = [figure.title for figure in FIGURES if figure.name in _IN_HISTORY]
    return Table(("run", "time", "model", "case", *titles), tuple(rows), 4, ("peak RSS", "time"))


def describe_machine(environment: dict[str, Any]) -> str:
    """One line; what an older or newer version has not recorded is left out."""
    parts = [
        str(environment.get("cpu", "")),
        f"{environment['cores']} cores" if "cores" in environment else "",
        f"{environment['memory_bytes'] / 1e9:.0f} GB" if "memory_bytes" in environment else "",
        f"g3n {environment['g3n']}" if "g3n" in environment else "",
        f"ggml {environment['ggml']}" if "ggml" in environment else "",
        str(environment.get("time", "")),
    ]
    return ", ".join(part for part in parts if part)


def name_cases(results: Sequence[CaseResult]) -> list[str]:
    """What to call each case in a line: ``pp512 kv=q8_0``."""
    heads, names = _name_cases(results)
    return [
        " ".join([label, *(f"{h}={cell}" for h, cell in zip(heads[1:], cells, strict=True))])
        for label, *cells in names
    ]


def format_value(name: str, value: float | None) -> str:
    """A figure for people; its name ends in its unit."""
    if value is None:
        return NOTHING
    if name.endswith("_s"):
        return f"{value:.2f} s" if value >= 1 else f"{_round(value * 1000)} ms"
    if "bytes" in name:
        return _format_bytes(value)
    if name.endswith("_j"):
        return f"{value:.1f} J"
    return _round(value)


def _format_bytes(value: float) -> str:
    """Decimal units, as files are sold."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{_round(value / limit)} {unit}"
    return f"{value:.0f} B"


def _round(value: float) -> str:
    """Three digits of a number."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def _name_cases(results: Sequence[CaseResult]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of what tells cases apart."""
    rows = [{"model": r.model, "device": r.device, **r.settings} for r in results]
    varied = find_varied(rows)
    heads = ["case", *(name.removeprefix("n_").replace("_", "-") for name in varied)]
    cells = [
        [result.label, *(_format_setting(row.get(name)) for name in varied)]
        for result, row in zip(results, rows, strict=True)
    ]
    return heads, cells


def _format_setting(value: object) -> str:
    """A setting; the CPU has no layers on a device, and a server no settings."""
    return NOTHING if value is None else str(value)


def _median_part(result: CaseResult, part: str) -> float:
    return median([s.ledger.parts[part] for s in result.samples if s.ledger]) or 0.0
