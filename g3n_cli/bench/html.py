"""Results as one page that needs nothing else: tables, drawings, the environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape

from g3n_cli.bench.advice import summarize_warnings
from g3n_cli.bench.charts import make_charts
from g3n_cli.bench.draw import draw_svg
from g3n_cli.bench.result import Report
from g3n_cli.bench.table import (
    Table,
    describe_machine,
    make_figures_table,
    make_memory_table,
)

_STYLE = """
:root { color-scheme: light dark; --line: #ddd; --shade: #f5f5f5; }
body { font: 15px/1.5 sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); }
th, td { text-align: right; white-space: nowrap; }
th.text, td.text { text-align: left; }
pre { overflow-x: auto; background: var(--shade); padding: 1rem; }
.charts { overflow-x: auto; }
svg { width: 100%; min-width: 34rem; max-width: 760px; height: auto; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --shade: #222; }
  svg { filter: invert(.93) hue-rotate(180deg); }
}
"""


def format_html(report: Report) -> str:
    """The page; it asks for nothing over the network."""
    body = "\n".join(_write_body(report))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>g3n bench</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _write_body(report: Report) -> Iterator[str]:
    yield f"<h1>g3n bench</h1>\n<p>{escape(describe_machine(report.environment))}</p>"
    if report.cases:
        yield _write_table(make_figures_table(report.cases))
    yield from _write_list(f"{each.label}: {each.sentence}" for each in report.comparisons)
    yield from _write_list(summarize_warnings(report.cases))
    if (memory := make_memory_table(report.cases)).rows:
        yield "<h2>Memory after the last token</h2>"
        yield _write_table(memory)
    if charts := make_charts([("", report)]):
        yield f'<div class="charts">\n{draw_svg(charts)}</div>'
    yield f"<h2>Environment</h2>\n<pre>{escape(json.dumps(report.environment, indent=1))}</pre>"


def _write_list(lines: Iterator[str]) -> Iterator[str]:
    if items := "\n".join(f"<li>{escape(line)}</li>" for line in lines):
        yield f"<ul>\n{items}\n</ul>"


def _write_table(table: Table) -> str:
    def write_row(tag: str, cells: tuple[str, ...]) -> str:
        written = (
            f'<{tag} class="text">{escape(cell)}</{tag}>'
            if index < table.n_text
            else f"<{tag}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(written)}</tr>"

    lines = [write_row("th", table.head), *(write_row("td", row) for row in table.rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
