from dataclasses import replace

import pytest

from g3n_cli.bench.charts import Chart, Series
from g3n_cli.ui.plot import plot
from tests.fakes import make_terminal

RISING = Chart("Title", "tokens", "s", (Series("up", ((0, 0.0), (10, 5.0))),))
POINTS = Chart("P", "MB", "t/s", (Series("a\x1b", ((5, 1),)), Series("b", ((5, 2),))), False)


def test_a_rising_line_rises():
    lines = plot(RISING, make_terminal()).splitlines()
    assert lines[0] == "Title (s)"
    rows = [line.partition("│")[2] for line in lines[1:13]]
    starts = [len(row) - len(row.lstrip()) for row in rows]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == 0
    assert lines[1].startswith("  5 │")
    assert lines[12].startswith("  0 │")
    assert lines[14].split() == ["0", "10"]


def test_points_are_not_joined_and_names_do_not_command_the_terminal():
    text = plot(POINTS, make_terminal())
    rows = "".join(line.partition("│")[2] for line in text.splitlines()[1:13])
    assert sorted(rows.replace(" ", "")) == ["a", "b"]
    assert "\x1b" not in text
    assert "a␛" in text


def test_a_terminal_has_colours_and_its_own_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = plot(RISING, make_terminal(is_screen=True))
    assert "\x1b[34m●\x1b[0m up" in text
    assert len(text.splitlines()[13]) <= 40
    assert max(len(line) for line in plot(RISING, make_terminal()).splitlines()) > 40


@pytest.mark.parametrize("is_screen", [True, False])
def test_without_colours_letters_tell_series_apart(is_screen):
    terminal = replace(make_terminal(is_screen=is_screen), wants_colour=False)
    other = Series("down", ((0, 5.0), (10, 1.0)))
    text = plot(replace(RISING, series=(*RISING.series, other)), terminal)
    assert "\x1b" not in text
    rows = [line.partition("│")[2] for line in text.splitlines()[1:13]]
    assert (rows[0][0], rows[0][-1], rows[-1][0]) == ("b", "a", "a")
    assert text.splitlines()[-2:] == ["     a up", "     b down"]


def test_long_series_have_one_letter():
    text = plot(
        replace(RISING, series=(Series("up", tuple((n, n) for n in range(99))),)), make_terminal()
    )
    assert "".join(line.partition("│")[2] for line in text.splitlines()[1:13]).count("a") == 1


def test_nothing_but_zeros_can_be_drawn():
    flat = Chart("T", "x", "y", (Series("z", ((0, 0.0), (0, 0.0))),))
    assert plot(flat, make_terminal()).count("\n") > 12
