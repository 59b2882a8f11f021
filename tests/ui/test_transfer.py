from g3n_cli.ui.transfer import TransferBar, format_left
from tests.fakes import make_terminal


def draw(*marks, total=1_000_000_000):
    """What stands there after amounts have come at these seconds."""
    terminal, now = make_terminal(is_screen=True), [0.0]
    bar = TransferBar(terminal, "fetching", lambda: now[0])
    for seconds, done in marks:
        now[0] = seconds
        bar(done, total)
    return terminal.stderr.getvalue().rpartition("\x1b[2K")[2]


def test_speed_and_time_left_are_those_of_the_last_seconds():
    line = draw((0, 0), (5, 400_000_000), (20, 410_000_000), (25, 460_000_000))
    assert line.endswith("46 % of 1.00 GB, 10.0 MB/s, 54 s left")


def test_a_file_of_unknown_length_shows_what_came():
    assert draw((0, 0), (2, 50_000_000), total=0) == "fetching 50 MB, 25.0 MB/s"


def test_what_began_anew_is_measured_anew():
    line = draw((0, 0), (5, 500_000_000), (6, 0), (8, 100_000_000))
    assert "50.0 MB/s" in line


def test_a_pipe_is_left_alone():
    terminal = make_terminal()
    bar = TransferBar(terminal, "fetching")
    bar(1, 2)
    bar.clear()
    assert terminal.stderr.getvalue() == ""


def test_times_are_short():
    assert [format_left(s) for s in (0.4, 99, 187, 3720)] == ["0 s", "99 s", "3:07 min", "1:02 h"]
