from g3n_cli.ui.progress import ERASE_LINE, ProgressBar, show_waiting
from tests.fakes import make_terminal


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_bar_appears_after_a_second_and_goes():
    terminal, clock = make_terminal(is_screen=True), Clock()
    bar = ProgressBar(terminal, clock=clock)
    bar(0, 2000)
    clock.now = 0.9
    bar(200, 2000)
    bar.clear()
    assert terminal.stderr.getvalue() == ""
    clock.now = 2.0
    bar(1000, 2000)
    assert "1,000 of 2,000 tokens, 2 s left" in terminal.stderr.getvalue()
    bar.clear()
    assert terminal.stderr.getvalue().endswith(ERASE_LINE)


def test_reused_tokens_do_not_count_for_the_time_left():
    terminal, clock = make_terminal(is_screen=True), Clock()
    bar = ProgressBar(terminal, clock=clock)
    bar(1000, 2000)
    clock.now = 10.0
    bar(1500, 2000)
    assert "10 s left" in terminal.stderr.getvalue()


def test_bar_fits_a_narrow_window(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal, clock = make_terminal(is_screen=True), Clock()
    bar = ProgressBar(terminal, clock=clock)
    clock.now = 5.0
    bar(1500, 2000)
    assert len(terminal.stderr.getvalue().removeprefix(ERASE_LINE)) == 29


def test_nothing_is_drawn_in_a_pipe():
    terminal, clock = make_terminal(), Clock()
    bar = ProgressBar(terminal, clock=clock)
    clock.now = 5.0
    bar(10, 2000)
    bar.clear()
    with show_waiting(terminal, "loading"):
        pass
    assert terminal.stderr.getvalue() == ""


def test_waiting_is_shown_as_long_as_it_lasts():
    terminal = make_terminal(is_screen=True)
    with show_waiting(terminal, "loading x ..."):
        assert terminal.stderr.getvalue() == "loading x ..."
    assert terminal.stderr.getvalue().endswith(ERASE_LINE)


def test_waiting_for_a_server_is_shown_until_it_speaks(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = make_terminal(is_screen=True)
    with ProgressBar(terminal) as bar:
        bar.wait("waiting for a server with a long name ...")
        assert terminal.stderr.getvalue() == ERASE_LINE + "waiting for a serve"
    assert terminal.stderr.getvalue().endswith(ERASE_LINE)
