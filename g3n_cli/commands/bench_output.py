"""Where results of ``g3n bench`` go, and an end in which they get there."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from g3n_cli.bench.case import Case
from g3n_cli.bench.choices import FileFormat, Format
from g3n_cli.bench.formats import FILE_FORMATS, format_report
from g3n_cli.bench.result import Report
from g3n_cli.bench.table import make_figures_table, make_memory_table
from g3n_cli.errors import Terminated, UsageError
from g3n_cli.ui.bench_view import render
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import escape_json, make_visible


def choose_file_format(
    output: Path | None, wanted: Format | None, *, is_plotted: bool
) -> FileFormat:
    """In which format the output file is written.

    Args:
        output: The file, if there is one.
        wanted: What ``-o`` says; a table is for the screen, and the file goes by its name then.
        is_plotted: Charts are drawn below the table.

    Raises:
        UsageError: nothing tells, or two things are told.
    """
    if output is None:
        if is_plotted and wanted not in (None, "table"):
            hint = "add --output FILE, then a table is printed"
            raise UsageError(f"--plot draws below a table, -o {wanted} prints none", hint)
        return "json"
    by_name = output.suffix.removeprefix(".").lower()
    known = by_name if wanted in (None, "table") else wanted
    if by_name in FILE_FORMATS and known != by_name:
        raise UsageError(f"-o {wanted} and --output {output} contradict each other")
    for kind in FILE_FORMATS:
        if kind == known:
            return kind
    raise UsageError(
        f"--output {output} has no format", f"end it in .{', .'.join(FILE_FORMATS)}, or give -o"
    )


def refuse_inputs(output: Path | None, cases: Sequence[Case], text: Path | None) -> None:
    """Refuse to write over what is read.

    Args:
        output: The file to write, if there is one.
        cases: They read models, encoders and media.
        text: Of the prompts, if it is a person's own.

    Raises:
        UsageError: the output is one of these files.
    """
    if output is None or not output.exists():
        return
    media = [Path(case.medium.path) for case in cases if case.medium and case.medium.path]
    files = [path for case in cases if not case.is_remote for path in case.files]
    for path in (*files, *media, *([text] if text else [])):
        if path.exists() and output.samefile(path):
            raise UsageError(f"--output {output} is what is measured", "choose another name")


def print_report(terminal: Terminal, report: Report, kind: Format) -> None:
    """Write a result on standard output, as tables or in a file's format."""
    if kind != "table":
        escape = escape_json if kind in ("json", "jsonl") else make_visible
        terminal.write(escape(format_report(report, kind)))
        return
    tables = [make_figures_table(report.cases), make_memory_table(report.cases)]
    terminal.write(render(terminal, [each for each in tables if each.rows]))
    for each in report.comparisons:
        terminal.write(f"{each.label}: {each.sentence}\n")


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end what runs, and no second one what that writes then.

    Raises:
        KeyboardInterrupt, Terminated: the first signal.
    """
    is_ending = False

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal is_ending
        is_ending = True
        for each in before:
            signal.signal(each, lambda *_: None)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: handler for each in signals if callable(handler := signal.getsignal(each))}
    for each in before:
        signal.signal(each, end)
    try:
        yield
    finally:
        if not is_ending:  # else the process is about to end, and in peace
            for each, handler in before.items():
                signal.signal(each, handler)
