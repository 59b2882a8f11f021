import json

import pytest

from g3n_cli.chat.inputs import BrokenInput, TextInput
from g3n_cli.chat.mapping import Answered, Failed
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.ui.map_view import MapProgress, format_result
from tests.fakes import make_terminal

STATS = GenerationStats(9, 4, 2, 0.1, None, None, "end")
ANSWERED = Answered(TextInput(3, "in"), "a\tb\\\n \x1b[31mc", STATS, 5)
FAILED = Failed(BrokenInput(4, "?", "why"), "why")


def test_json_lines_hold_all_and_nothing_that_changes_from_run_to_run():
    assert json.loads(format_result(ANSWERED, "k", "jsonl")) == {
        "index": 3,
        "input": "in",
        "text": "a\tb\\\n \x1b[31mc",
        "stop_reason": "end",
        "prompt_tokens": 9,
        "output_tokens": 2,
        "seed": 5,
        "key": "k",
    }
    failed = {"index": 4, "input": "?", "error": "why", "key": "k"}
    assert json.loads(format_result(FAILED, "k", "jsonl")) == failed


def test_a_hint_is_part_of_an_error():
    failed = Failed(BrokenInput(4, "?", "why"), "why", "do that")
    assert json.loads(format_result(failed, "k", "jsonl"))["hint"] == "do that"


@pytest.mark.parametrize(
    ("result", "output", "line"),
    [
        (ANSWERED, "text", "a b\\ ␛[31mc\n"),
        (FAILED, "text", "\n"),
        (ANSWERED, "tsv", "3\tend\ta\\tb\\\\\\n ␛[31mc\n"),
        (FAILED, "tsv", "4\terror\twhy\n"),
    ],
)
def test_one_line_for_each_input(result, output, line):
    assert format_result(result, "k", output) == line


def test_no_line_drives_a_terminal():
    for output in ("jsonl", "text", "tsv"):
        assert "\x1b" not in format_result(ANSWERED, "k", output)


def test_progress_tells_number_rate_and_time_left():
    now = iter([0.0, 0.0, 4.0, 100.0])
    terminal = make_terminal(is_screen=True)
    progress = MapProgress(terminal, 1200, 200, lambda: next(now))
    for n_done in (200, 210, 210):
        progress.show(n_done)
    progress.clear()
    _, *lines = terminal.stderr.getvalue().split("\r\x1b[2K")
    assert lines == [
        "200 of 1,200",
        "210 of 1,200 · 2.5/s · 6:36 left",
        "210 of 1,200 · 10.0 s each · 2:45:00 left",
        "",
    ]


def test_no_progress_where_lines_cannot_be_taken_back():
    terminal = make_terminal()
    MapProgress(terminal, 3).show(1)
    assert terminal.stderr.getvalue() == ""
