"""``g3n bench compare``, ``history``, ``show``, ``rm``, ``plot``: results that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from g3n_cli.bench.choices import Format, TableFormat
from g3n_cli.errors import G3nError, InputError, UsageError

FilesArgument: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Results of g3n bench -o json, or numbers from g3n bench history.",
        show_default=False,
    ),
]
FormatOption: TypeAlias = Annotated[
    TableFormat, typer.Option("--format", "-o", help="How to write it.")
]


def compare(
    *,
    files: FilesArgument,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            show_default=False,
            help="Exit with 1 if a ratio meets it, such as 'decode_tps < 0.95'; may be given "
            "several times.",
        ),
    ] = None,
    format: FormatOption = "table",
) -> None:
    """Divide figures of results by those of the first one.

    Cases that only one of them has are named on stderr.
    """
    from g3n_cli.bench.compare import (
        Condition,
        compare_reports,
        find_met,
        find_missing,
        make_ratio_table,
    )
    from g3n_cli.bench.files import History, name_sources, read_report
    from g3n_cli.bench.formats import format_table
    from g3n_cli.ui.bench_view import render
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.ui.text import escape_json

    conditions = [Condition.parse(text) for text in fail_if or ()]
    if len(files) < 2:
        raise UsageError("there is nothing to compare with", "name two results")
    paths = [History.of_person().find(text) for text in files]
    names = name_sources(paths, has_ending=True)
    reports = [(name, read_report(path)) for name, path in zip(names, paths, strict=True)]
    rows = compare_reports(reports)
    found = [line for condition in conditions for line in find_met(rows, condition)]
    terminal, table = Terminal.of_process(), make_ratio_table(rows)
    match format:
        case "table":
            terminal.write(render(terminal, [table]))
        case "md":
            terminal.write(format_table(table) + "\n")
        case "json":
            values = [{"case": row.case, "file": row.source, "ratios": row.ratios} for row in rows]
            terminal.write(escape_json(json.dumps(values, indent=1)) + "\n")
    for line in find_missing(reports):
        terminal.note(f"warning: {line}")
    for line in found[:-1]:
        terminal.note(f"error: {line}")
    if found:
        raise G3nError(found[-1])


def history(
    *,
    number: Annotated[
        int, typer.Option("--number", "-n", metavar="N", min=1, help="Most runs that are listed.")
    ] = 20,
) -> None:
    """List the runs of this person, the newest first."""
    from g3n_cli.bench.files import History, read_report
    from g3n_cli.bench.table import make_history_table
    from g3n_cli.ui.bench_view import render
    from g3n_cli.ui.terminal import Terminal

    terminal, reports = Terminal.of_process(), []
    files = History.of_person().list_files()
    for index, path in enumerate(files[:number], 1):
        try:
            reports.append((index, read_report(path)))
        except InputError as error:
            terminal.note(f"warning: {error.message}")
    if not files:
        terminal.note("no run is in the history yet")
    if not reports:
        return
    terminal.write(render(terminal, [make_history_table(reports)]))


def show(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Result of g3n bench -o json, or a number from g3n bench history."
        ),
    ],
    *,
    format: Annotated[Format, typer.Option("--format", "-o", help="How to write it.")] = "table",
) -> None:
    """Print a result."""
    from g3n_cli.bench.advice import summarize_warnings
    from g3n_cli.bench.files import History, read_report
    from g3n_cli.bench.table import describe_machine
    from g3n_cli.commands.bench_output import print_report
    from g3n_cli.ui.terminal import Terminal

    terminal, report = Terminal.of_process(), read_report(History.of_person().find(file))
    if format == "table":  # the other forms say it themselves
        terminal.note(describe_machine(report.environment))
    print_report(terminal, report, format)
    for line in summarize_warnings(report.cases):
        terminal.note(line)


def rm(
    runs: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[NUMBER]...", show_default=False, help="Numbers from g3n bench history."
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of them.")] = False,
) -> None:
    """Remove runs from the history; those behind them are numbered anew."""
    from g3n_cli.bench.files import History

    if bool(runs) == everything:
        raise UsageError("which runs?", "give numbers of g3n bench history, or --all")
    history = History.of_person()
    chosen = history.list_files() if everything else {history.find_run(run) for run in runs or ()}
    for path in chosen:
        path.unlink()


def plot(
    *,
    files: FilesArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default="the terminal",
            help="A picture to write, .svg or .png.",
        ),
    ] = None,
) -> None:
    """Draw results: speed, first tokens, memory.

    Decoding speed over depth, first token over prompt length, memory over time, speed by memory.
    """
    from g3n_cli.bench.charts import make_charts
    from g3n_cli.bench.draw import draw_png, draw_svg
    from g3n_cli.bench.files import History, check_file, name_sources, read_report, write_file
    from g3n_cli.ui import plot as terminal_plot
    from g3n_cli.ui.terminal import Terminal

    if output:
        if output.suffix.lower() not in (".svg", ".png"):
            raise UsageError(f"--output {output} is neither .svg nor .png")
        check_file(output)
    paths = [History.of_person().find(text) for text in files]
    names = name_sources(paths, has_ending=False)
    charts = make_charts([(n, read_report(path)) for n, path in zip(names, paths, strict=True)])
    if not charts:
        raise InputError("there is nothing to draw", "curves want two depths or prompt lengths")
    if output is None:
        terminal = Terminal.of_process()
        terminal.write("\n".join(terminal_plot.plot(chart, terminal) for chart in charts))
    elif output.suffix.lower() == ".svg":
        write_file(output, draw_svg(charts).encode())
    else:
        write_file(output, draw_png(charts))
