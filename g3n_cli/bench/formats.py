"""Results as files that other programs read."""

from __future__ import annotations

import csv
import io
import json
import re
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

_MARKUP = re.compile(r"[\\`*<>\[\]|~]")
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

_KEYS = ("label", "model", "device", "n_prompt", "n_gen", "n_depth", "n_ctx", "medium")
_SETTINGS = (*SETTINGS.values(), "mmproj", "image_size")
"""Columns of every run, also of one without them: rows of several runs fit one table."""

_SQL_TYPES = {
    **dict.fromkeys(("n_prompt", "n_gen", "n_depth", "n_ctx", "repetitions"), "INTEGER"),
    **dict.fromkeys(("n_batch", "n_threads", "gpu_layers", "image_size"), "INTEGER"),
    **dict.fromkeys(("repack", "keep_resident"), "INTEGER"),
    **{figure.name: "REAL" for figure in FIGURES},
}
"""Of columns that are no text, whatever the first run has in them. What is yes or no is 1 or 0."""


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
    notes = [f"{each.label}: {each.sentence}" for each in report.comparisons]
    names = name_cases(report.cases)
    notes += [
        f"{name}: {line}"
        for name, case in zip(names, report.cases, strict=True)
        for line in case.warnings
    ]
    if notes:
        blocks.append("\n".join(f"- {_escape_markdown(note)}" for note in notes))
    return "\n\n".join(blocks) + "\n"


def format_table(table: Table) -> str:
    """A table in Markdown."""
    rules = ["---"] * table.n_text + ["--:"] * (len(table.head) - table.n_text)
    head, *rows = ([_escape_markdown(cell) for cell in line] for line in (table.head, *table.rows))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rules, *rows))


def _escape_markdown(text: str) -> str:
    """Text that stays one line and means nothing: ``512*4`` twice would be emphasis."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


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
    columns = ",\n".join(f"  {name} {_SQL_TYPES.get(name, 'TEXT')}" for name in heads)
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
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


_WRITERS: dict[FileFormat, Callable[[Report], str]] = {
    "md": format_markdown,
    "json": _format_json,
    "jsonl": _format_jsonl,
    "csv": _format_csv,
    "sql": _format_sql,
    "html": format_html,
}
