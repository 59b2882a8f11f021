import base64
import contextlib
import io
import os
import re
import struct
import termios
import threading
import time
from fcntl import ioctl

import numpy as np
import pytest
from PIL import Image

from g3n_cli.ui.graphics import PATIENCE_S, draw, draw_iterm, draw_kitty, draw_sixel, find_graphics
from g3n_cli.ui.preview import MOST_COLUMNS, MOST_ROWS, show_preview
from g3n_cli.ui.terminal import Terminal
from tests.fakes import make_terminal

WHO_ARE_YOU = b"\x1b[c"
ONE_LINE = re.compile(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\")


def make_image(width=60, height=40, *, noise=False):
    """Red above blue; with noise it cannot be packed small."""
    values = np.zeros((height, width, 3), np.uint8)
    values[: height // 2] = (255, 0, 0)
    values[height // 2 :] = (0, 0, 255)
    if noise:
        values = np.random.default_rng(0).integers(0, 256, values.shape, dtype=np.uint8)
    return Image.fromarray(values)


class FarEnd:
    """A terminal's other side: says ``answer`` when asked what it can.

    Args:
        answer: None to stay silent.
    """

    def __init__(self, answer, cells=(24, 80), pixels=(800, 480)):
        self.answer, self.seen = answer, b""
        self._master, self._slave = os.openpty()
        ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("4H", *cells, *pixels))

    def __enter__(self):
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        slave = [os.fdopen(os.dup(self._slave), mode, encoding="utf-8") for mode in ("r", "w", "w")]
        self.terminal = Terminal(*slave)
        return self

    def __exit__(self, *_):
        for stream in (self.terminal.stdin, self.terminal.stdout, self.terminal.stderr):
            stream.close()
        os.close(self._slave)
        self._thread.join()
        os.close(self._master)

    def type(self, text):
        os.write(self._master, text)

    @property
    def modes(self):
        return termios.tcgetattr(self._slave)

    def _listen(self):
        with contextlib.suppress(OSError):  # the other side has gone
            while read := os.read(self._master, 1 << 16):
                self.seen += read
                if read.endswith(WHO_ARE_YOU) and self.answer is not None:
                    os.write(self._master, self.answer)


@pytest.mark.parametrize(
    ("environ", "how"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"LC_TERMINAL": "iTerm2"}, "iterm"),
    ],
)
def test_what_the_environment_tells_is_not_asked(environ, how):
    with FarEnd(b"\x1b[?62;4c") as far:
        assert find_graphics(far.terminal, environ) == how
    assert far.seen == b""


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (b"\x1b[?62;4;22c", "sixel"),
        (b"\x1b[?63;1;2;4c", "sixel"),
        (b"\x1b[?62;22c", None),
        (b"\x1b[?1;2c", None),
        (b"\x1b[?4;2c", None),  # the first number is the terminal's generation
        (b"\x1b[?6c", None),
    ],
)
def test_a_terminal_is_asked_for_sixels(answer, how):
    with FarEnd(answer) as far:
        before = far.modes
        assert find_graphics(far.terminal, {"TERM": "xterm"}) == how
        assert far.modes == before
    assert far.seen == WHO_ARE_YOU


@pytest.mark.parametrize("variable", ["TMUX", "STY"])
def test_inside_tmux_and_screen_the_outer_terminal_does_not_count(variable):
    with FarEnd(b"\x1b[?1;2c") as far:
        assert find_graphics(far.terminal, {"KITTY_WINDOW_ID": "1", variable: "x"}) is None
    with FarEnd(b"\x1b[?1;2;4c") as far:
        environ = {"LC_TERMINAL": "iTerm2", "TERM": "tmux-256color"}
        assert find_graphics(far.terminal, environ) == "sixel"


def test_a_terminal_that_does_not_answer_is_not_waited_for_long():
    started = time.monotonic()
    with FarEnd(None) as far:
        before = far.modes
        assert find_graphics(far.terminal, {"TERM": "xterm"}) is None
        assert far.modes == before
    assert time.monotonic() - started < PATIENCE_S + 10


def test_what_somebody_has_typed_is_not_lost_to_the_question():
    with FarEnd(b"\x1b[?62;4c") as far:
        far.type(b"hello\n")
        assert find_graphics(far.terminal, {"TERM": "xterm"}) is None
        assert far.terminal.stdin.readline() == "hello\n"
        assert WHO_ARE_YOU not in far.seen


def test_pipes_and_dumb_terminals_are_sent_nothing():
    environ = {"TERM": "xterm-kitty"}
    for terminal in (make_terminal(), make_terminal(is_screen=True, is_dumb=True)):
        assert find_graphics(terminal, environ) is None
        assert terminal.stderr.getvalue() == ""


def test_kitty_gets_the_picture_in_pieces_that_it_does_not_answer():
    image = make_image(200, 100, noise=True)
    pieces = ONE_LINE.findall(drawn := draw_kitty(image, 20, 5))
    assert "".join(f"\x1b_G{head};{text}\x1b\\" for head, text in pieces) == drawn
    keys = [dict(pair.split("=") for pair in head.split(",")) for head, _ in pieces]
    assert keys[0] == {"a": "T", "f": "100", "q": "2", "c": "20", "r": "5", "m": "1"}
    assert all(each == {"q": "2", "m": "1"} for each in keys[1:-1])
    assert keys[-1] == {"q": "2", "m": "0"}
    assert all(len(text) <= 4096 for _, text in pieces)
    assert len(pieces) > 2
    assert_same(read_png("".join(text for _, text in pieces)), image)


def test_iterm_gets_the_picture_in_cells():
    image = make_image()
    drawn = draw_iterm(image, 20, 5)
    head, text = drawn.removesuffix("\x07").split(":")
    assert head == "\x1b]1337;File=inline=1;width=20;height=5;preserveAspectRatio=0"
    assert_same(read_png(text), image)


@pytest.mark.parametrize("size", [(60, 40), (1, 1), (7, 13)])
@pytest.mark.parametrize("noise", [False, True])
def test_sixels_are_the_picture(size, noise):
    image = make_image(*size, noise=noise)
    few = image.quantize(128, dither=Image.Dither.NONE).convert("RGB")
    # Levels of colors are hundredths.
    np.testing.assert_allclose(read_sixel(draw_sixel(image)), np.asarray(few), atol=2)


@pytest.mark.parametrize("how", ["kitty", "iterm", "sixel"])
def test_a_preview_takes_the_place_that_blocks_would(how):
    values = np.asarray(make_image(768, 768))
    with FarEnd(None, cells=(24, 80), pixels=(800, 480)) as far:  # of 10 x 20 pixels each
        show_preview(values, far.terminal, how)
    assert far.seen.startswith(b"  \x1b")
    assert far.seen.endswith(b"\n")
    columns, rows = 2 * MOST_ROWS, MOST_ROWS
    assert columns <= MOST_COLUMNS
    size = find_size(far.seen.decode(), how)
    assert size == ((columns, rows) if how != "sixel" else (10 * columns, 20 * rows))


def test_a_terminal_that_hides_its_pixels_gets_a_small_picture():
    with FarEnd(None, pixels=(0, 0)) as far:
        assert find_size(draw(make_image(), "sixel", 30, 10, far.terminal), "sixel") == (240, 160)


def find_size(drawn, how):
    patterns = {
        "kitty": r"c=(\d+),r=(\d+)",
        "iterm": r"width=(\d+);height=(\d+)",
        "sixel": r'"1;1;(\d+);(\d+)',
    }
    return tuple(map(int, re.search(patterns[how], drawn).groups()))


def read_png(text):
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


def assert_same(found, image):
    np.testing.assert_array_equal(np.asarray(found), np.asarray(image))


def read_sixel(drawn):
    """[height, width, 3] of a picture; every pixel must have been drawn."""
    body = re.fullmatch(r"\x1bP0;1q(.*)\x1b\\", drawn, re.DOTALL)[1]
    width, height = find_size(drawn, "sixel")
    pixels = np.full((height + 6, width, 3), -1)
    colors, color, column, top = {}, None, 0, 0
    tokens = r'"[\d;]+|#\d+;2;\d+;\d+;\d+|#\d+|!\d+[?-~]|[?-~]|\$|-'
    for token in re.findall(tokens, body):
        if token.startswith("#"):
            number, *levels = map(int, re.findall(r"\d+", token))
            if levels:
                colors[number] = [round(level * 2.55) for level in levels[1:]]
            else:
                color = colors[number]
        elif token == "$":
            column = 0
        elif token == "-":
            column, top = 0, top + 6
        elif not token.startswith('"'):
            count = int(token[1:-1]) if token.startswith("!") else 1
            bits = ord(token[-1]) - 63
            for row in (row for row in range(6) if bits >> row & 1):
                assert column + count <= width
                pixels[top + row, column : column + count] = color
            column += count
    assert pixels[:height].min() >= 0
    assert pixels[height:].max() == -1
    return pixels[:height]
