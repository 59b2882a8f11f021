import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.ui.markdown_view import MarkdownView
from tests.fakes import make_terminal
from tests.ui.screen import FakeScreen

ANSWER = """\
# Rivers

Three *long* ones, see [a map](http://maps.example):
the **Nile**,
`Amazon` and <b>more</b>.

1. Nile
1. Amazon, which is a river with a description that is too long for one line of the screen
   - in South America
1. Yangtze

- a

- b

```python
def f(x):
    return x  # a comment

f(1)
```

> quoted
> text

| river | km |
|-------|---:|
| Nile  | 6650 |
| Rhine | 1230 |

---
Done **but unfinished
"""

SHOWN = """\
Rivers

Three long ones, see a map (http://maps.example):
the Nile,
Amazon and <b>more</b>.

 1 Nile
 2 Amazon, which is a river with a description
   that is too long for one line of the screen
    • in South America
 3 Yangtze

 • a
 • b

```python
def f(x):
    return x  # a comment

f(1)
```

▌ quoted
▌ text

 river    km
 ───────────
 Nile   6650
 Rhine  1230

-------------------------------------------------

Done **but unfinished
"""


class Clock:
    """Time that passes with each look at it."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture(autouse=True)
def _window(monkeypatch):
    set_window(monkeypatch, 50, 12)


def set_window(monkeypatch, width, height):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))


def show(pieces, width=50, height=12, step=1.0):
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal, Clock(step))
    for piece in pieces:
        view.write(piece)
    view.finish()
    screen = FakeScreen(width, height)
    screen.write(terminal.stdout.getvalue())
    return screen.lines()


def cut(text, sizes):
    pieces, i = [], 0
    while i < len(text):
        for size in sizes:
            pieces.append(text[i : i + size])
            i += size
    return pieces


def test_an_answer_looks_as_it_should():
    assert show([ANSWER]) == SHOWN.split("\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 200])
@pytest.mark.parametrize("step", [1.0, 0.02])
def test_an_answer_in_pieces_ends_as_the_answer_at_once(size, step):
    assert show(cut(ANSWER, [size]), step=step) == SHOWN.split("\n")


BITS = st.sampled_from(
    [*ANSWER.splitlines(keepends=True), "\n", "word ", "*", "`", "- x\n", "```\n"]
)


@settings(deadline=None)  # pieces of one character draw hundreds of frames
@given(st.lists(BITS, max_size=30).map("".join), st.lists(st.integers(1, 30), min_size=1))
def test_any_answer_in_pieces_ends_as_the_answer_at_once(answer, sizes):
    assert show(cut(answer, sizes)) == show([answer])


def test_code_longer_than_the_screen_scrolls_while_it_grows():
    code = "".join(f"x = {i}\n" for i in range(60))
    answer = f"Look:\n\n```python\n{code}```\n\nDone.\n"
    lines = show(cut(answer, [5]))
    assert [line for line in lines if line.startswith("x")] == code.splitlines()
    assert lines[-4:] == ["```", "", "Done.", ""]
    growing = show(cut(answer[:400], [5]))
    assert growing[:4] == ["Look:", "", "```python", "x = 0"]


def test_the_first_piece_is_drawn_at_once():
    terminal = make_terminal(is_screen=True)
    MarkdownView(terminal, Clock(0.0)).write("Hel")
    assert "Hel" in terminal.stdout.getvalue()


def test_pieces_that_come_fast_are_drawn_together():
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal, Clock(0.001))
    for _ in range(200):
        view.write("word ")
    assert terminal.stdout.getvalue().count("\x1b[?2026h") <= 4


def test_only_what_changed_is_written_again():
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal, Clock(1.0))
    view.write("first line\nsecond")
    view.write(" line")
    assert terminal.stdout.getvalue().count("first line") == 1


def test_a_window_made_narrower_meanwhile_shows_no_line_twice(monkeypatch):
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal, Clock(1.0))
    view.write("one two three four five six seven eight nine ten eleven")
    set_window(monkeypatch, 20, 12)
    view.write(" twelve")
    view.finish()
    screen = FakeScreen(20, 12)  # where the first frame looks as after the change
    screen.write(terminal.stdout.getvalue())
    shown = " ".join(" ".join(screen.lines()).split())
    assert shown == "one two three four five six seven eight nine ten eleven twelve"


def test_control_characters_of_an_answer_do_not_reach_the_terminal():
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal, Clock(1.0))
    view.write("a\x1b[2Jb\x9bc ```\x1b]0;title\x07")
    view.finish()
    written = terminal.stdout.getvalue()
    assert "\x1b[2J" not in written
    assert "\x1b]" not in written
    assert "\x9b" not in written
    assert "␛[2J" in written


def test_links_do_not_hide_where_they_lead():
    terminal = make_terminal(is_screen=True)
    view = MarkdownView(terminal)
    view.write("[safe](http://evil.example)")
    view.finish()
    assert "http://evil.example" in terminal.stdout.getvalue()
    assert "\x1b]8;" not in terminal.stdout.getvalue()
