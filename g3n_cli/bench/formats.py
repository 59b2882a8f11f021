"""Results as files that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any, get_args

from g3n_cli.bench.choices import FileFormat
from g3n_cli.bench.html import format_html
from g3n_cli.bench.result import FIGURES, SCHEMA, Report
from g3n_cli.bench.sweep_text import SETTINGS
from g3n_cli.bench.table import (
    Table,
    describe_machine,
    make_figures_table,
    make_memory_table,
    name_cases,
)

FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

_KEYS = ("label", "model", "device", "n_prompt", "n_gen", "n_depth", "n_ctx", "medium")
_SETTINGS = (*SETTINGS.values(), "mmproj", "image_size")
"""Columns of every run, also of one without them: rows of several runs fit one table."""


def format_report(report: Report, kind: FileFormat) -> str:
    """The report, ending in a newline; what it holds is in docs/bench.md."""
    return _WRITERS[kind](report)


def format_markdown(report: Report) -> str:
    """Tables, outcomes and warnings."""
    blocks = [describe_machine(report.environment)]
    if report.cases:
        blocks.append(format_table(make_figures_table(report.cases)))
    if (memory := make_memory_table(report.cases)).rows:
        blocks += ["Memory after the last token:", format_table(memory)]
    notes = [f"- {each.label}: {each.sentence}" for each in report.comparisons]
    names = name_cases(report.cases)
    notes += [
        f"- {name}: {line}"
        for name, case in zip(names, report.cases, strict=True)
        for line in case.warnings
    ]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])]) + "\n"


def format_table(table: Table) -> str:
    """A table in Markdown."""
    rules = ["---"] * table.n_text + ["--:"] * (len(table.head) - table.n_text)
    lines = [table.head, rules, *table.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in x) + " |" for x in lines
    )


def _format_json(report: Report) -> str:
    return json.dumps(report.to_json(), indent=1) + "\n"


def _format_jsonl(report: Report) -> str:
    shared = {"schema": SCHEMA, "environment": report.environment}
    return "".join(json.dumps({**shared, **case.to_json()}) + "\n" for case in report.cases)


def _make_rows(report: Report) -> list[dict[str, Any]]:
    """Flat rows: no samples, settings beside the rest."""
    rows = []
    for case in report.cases:
        values = case.to_json()
        rows.append(
            {
                "time": report.environment.get("time"),
                "cpu": report.environment.get("cpu"),
                "g3n": report.environment.get("g3n"),
                **{key: values[key] for key in _KEYS},
                **dict.fromkeys(_SETTINGS),
                **case.settings,
                "repetitions": len(case.samples),
                **case.figures,
                "warnings": "; ".join(case.warnings),
            }
        )
    return rows


def _format_csv(report: Report) -> str:
    rows, out = _make_rows(report), io.StringIO()
    heads = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, heads, lineterminator="\n")
    if heads:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _format_sql(report: Report) -> str:
    rows = _make_rows(report)
    heads = list(dict.fromkeys(name for row in rows for name in row))
    numbers = {name for row in rows for name, value in row.items() if _is_number(value)}
    numbers |= {figure.name for figure in FIGURES}
    columns = ",\n".join(f"  {name} {'REAL' if name in numbers else 'TEXT'}" for name in heads)
    table = f"CREATE TABLE IF NOT EXISTS g3n_bench (\n{columns}\n);\n" if heads else ""
    names = ", ".join(heads)
    return table + "".join(
        f"INSERT INTO g3n_bench ({names}) VALUES ({', '.join(map(_quote, values))});\n"
        for row in rows
        if (values := [row.get(name) for name in heads])
    )


def _quote(value: object) -> str:
    if value is None:
        return "NULL"
    if _is_number(value):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WRITERS: dict[FileFormat, Callable[[Report], str]] = {
    "md": format_markdown,
    "json": _format_json,
    "jsonl": _format_jsonl,
    "csv": _format_csv,
    "sql": _format_sql,
    "html": format_html,
}
