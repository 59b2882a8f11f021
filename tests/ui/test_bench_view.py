from g3n_cli.bench.table import Table
from g3n_cli.ui.bench_view import BenchView, render
from tests.fakes import make_terminal

TABLE = Table(
    head=("case", "TTFT", "itl p50", "itl p90", "RSS"),
    rows=(("pp8 @ d64", "500 ms", "1.00 ms", "2.00 ms", "9.00 MB"), ("tg4", "-", "-", "-", "-")),
    n_text=1,
    dispensable=("itl p90", "RSS"),
)


def test_a_pipe_gets_every_column_without_colour():
    lines = render(make_terminal(), [TABLE, TABLE]).splitlines()
    assert lines[0].split("  ")[0] == "case"
    assert lines[2] == "pp8 @ d64  500 ms  1.00 ms  2.00 ms  9.00 MB"
    assert lines[3].split() == ["tg4", "-", "-", "-", "-"]
    assert "\x1b" not in "".join(lines)
    assert lines[4] == ""
    assert lines[5:] == lines[:4]


def test_a_narrow_screen_does_without_the_less_important(monkeypatch):
    monkeypatch.setenv("COLUMNS", "36")
    text = render(make_terminal(is_screen=True), [TABLE])
    head = text.splitlines()[0]
    assert "RSS" in head
    assert "p90" not in head
    assert "no room for: itl p90 (-o md" in " ".join(text.split())
    monkeypatch.setenv("COLUMNS", "30")
    text = render(make_terminal(is_screen=True), [TABLE])
    assert "RSS" not in text.splitlines()[0]
    assert "itl p90, RSS" in text
    monkeypatch.setenv("COLUMNS", "80")
    assert "no room" not in render(make_terminal(is_screen=True), [TABLE])


def test_cells_cannot_command_the_terminal():
    table = Table(("case",), (("\x1b[2Jx [bold]y",),), 1)
    assert "␛[2Jx [bold]y" in render(make_terminal(), [table])


def test_progress_is_drawn_on_stderr_of_a_terminal_and_taken_back(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    terminal = make_terminal(is_screen=True)
    with BenchView(terminal) as view:
        view.update(None, 0.0, "0 of 2: pp8, loading")
        view.update(TABLE, 0.5, "1 of 2: tg4, measuring")
    shown = terminal.stderr.getvalue()
    assert "━" * 12 + "─" * 12 + " 1 of 2: tg4, measuring" in shown
    assert "pp8 @ d64" in shown
    assert shown.count("\x1b[2K") > 3
    assert terminal.stdout.getvalue() == ""


def test_progress_stays_on_a_screen_that_is_lower_than_the_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "10")
    terminal = make_terminal(is_screen=True)
    table = Table(("case", "TTFT"), tuple((f"pp{n}", "1 s") for n in range(100, 130)), 1)
    with BenchView(terminal) as view:
        view.update(table, 0.5, "30 of 60")
    shown = terminal.stderr.getvalue()
    assert "30 of 60" in shown
    assert "pp129" in shown
    assert "pp123" not in shown


def test_nothing_is_drawn_where_lines_cannot_be_taken_back():
    for terminal in (make_terminal(), make_terminal(is_screen=True, is_dumb=True)):
        with BenchView(terminal) as view:
            view.update(TABLE, 0.5, "busy")
            assert not view.is_live
        assert terminal.stderr.getvalue() == ""
