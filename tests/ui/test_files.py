from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.errors import G3nError, InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.ui.clipboard import paste
from g3n_cli.ui.files import Files, find_paths, unquote
from g3n_cli.ui.preview import MOST_COLUMNS, MOST_ROWS, show_preview
from g3n_cli.ui.recorder import record
from g3n_cli.ui.text import make_visible
from tests.fake_encoder import FakeProjector
from tests.fakes import Screen, make_engine, make_terminal
from tests.media_files import encode, make_picture


def make_files(terminal, **options):
    engine = make_engine()
    engine.info = replace(engine.info, n_embd=8)
    store = MediaStore(engine.info, FakeProjector().open)
    session = Session(engine, AnswerOptions(seed=1, temp=0), media=store)
    return Files(session, terminal, MediaOptions(image_size=16), **options)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "my photo.png"
    path.write_bytes(encode(make_picture(), "PNG"))
    return path


@pytest.mark.parametrize(
    "typed", ["{}", "'{}'", '"{}"', "{escaped}", "file://{url}", " '{}' ", "{}\n"]
)
def test_a_dropped_path_is_recognized(picture, typed):
    name = str(picture)
    forms = {"escaped": name.replace(" ", "\\ "), "url": name.replace(" ", "%20")}
    (found,) = find_paths(typed.format(name, **forms))
    assert (found.name, found.is_all_of_it) == (name, True)


@pytest.mark.parametrize("typed", ["what is '{}'?", '"{}" what is it?', "see {escaped} please"])
def test_a_path_in_a_message_is_recognized(picture, typed):
    name = str(picture)
    (found,) = find_paths(typed.format(name, escaped=name.replace(" ", "\\ ")))
    assert (found.name, found.is_all_of_it) == (name, False)


@pytest.mark.parametrize("typed", ["what is in {}?", "see ({}), please", "read {}.", "{}: what?"])
def test_punctuation_of_a_sentence_does_not_hide_a_path(tmp_path, typed):
    path = tmp_path / "a.txt"
    path.touch()
    (found,) = find_paths(typed.format(path))
    assert (found.name, found.is_all_of_it) == (str(path), False)


@pytest.mark.parametrize("typed", ["look ('{}')", 'look ["{}"], please', "look ({escaped}) now"])
def test_a_path_with_a_space_is_recognized_in_brackets(picture, typed):
    name = str(picture)
    (found,) = find_paths(typed.format(name, escaped=name.replace(" ", "\\ ")))
    assert (found.name, found.is_all_of_it) == (name, False)


def test_several_paths_alone_are_no_message(picture, tmp_path):
    text = f"'{picture}' {tmp_path}"
    assert [(p.name, p.is_all_of_it) for p in find_paths(text)] == [
        (str(picture), True),
        (str(tmp_path), True),
    ]


def test_if_one_of_several_is_refused_none_is_added(picture, tmp_path):
    files = make_files(make_terminal())
    with pytest.raises(InputError, match="missing"):
        files.add(str(picture), str(tmp_path / "missing"))
    assert files.waiting == []
    files.add(str(picture), str(picture))
    assert len(files.waiting) == 2


@pytest.mark.parametrize(
    "text", ["either/or", "README.md", "it's 'fine'", "/no/such/file", "a\0/b", "what / is", "/"]
)
def test_other_words_are_no_paths(text, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert [path for path in find_paths(text) if not path.is_all_of_it] == []


def test_the_folder_of_the_person_is_meant_by_a_tilde(monkeypatch, picture):
    monkeypatch.setenv("HOME", str(picture.parent))
    assert unquote("~/my\\ photo.png") == str(picture)


def test_a_file_is_told_with_its_cost_and_waits(picture):
    terminal = make_terminal()
    files = make_files(terminal)
    files.add(str(picture))
    assert terminal.stderr.getvalue() == "  my photo.png: picture, 40 x 30, 260 tokens\n"
    assert [attachment.name for attachment in files.waiting] == [str(picture)]
    files.clear()
    assert files.waiting == []


def test_a_file_that_was_described_is_read_once_and_told_once(picture):
    terminal = make_terminal()
    files = make_files(terminal)
    assert "260 tokens" in files.describe(str(picture))
    picture.unlink()
    files.add(str(picture))
    assert terminal.stderr.getvalue() == ""


def test_a_file_that_is_refused_adds_nothing(picture):
    picture.write_bytes(b"")
    files = make_files(make_terminal())
    with pytest.raises(InputError):
        files.add(str(picture))
    assert files.waiting == []


def test_a_preview_is_drawn_where_a_terminal_can(picture, monkeypatch):
    for name in ("KITTY_WINDOW_ID", "TERM", "TERM_PROGRAM", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)
    for is_screen, has_preview in ((True, True), (True, False), (False, True)):
        terminal = make_terminal(is_screen=is_screen)
        make_files(terminal, has_preview=has_preview).add(str(picture))
        assert ("▀" in terminal.stderr.getvalue()) == (is_screen and has_preview)


def test_a_preview_is_small_and_has_the_colors_of_the_picture(monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    terminal = make_terminal(is_screen=True)
    values = np.zeros((768, 768, 3), np.uint8)
    values[:384] = (255, 0, 0)
    show_preview(values, terminal, None)
    lines = terminal.stderr.getvalue().splitlines()
    assert len(lines) == MOST_ROWS
    assert all(line.count("▀") <= MOST_COLUMNS for line in lines)
    assert "38;2;255;0;0;48;2;255;0;0" in lines[0]
    assert "38;2;0;0;0;48;2;0;0;0" in lines[-1]


def test_a_name_cannot_drive_the_terminal(tmp_path):
    path = tmp_path / "a\x1b[2Jb.txt"
    path.write_text("x")
    terminal = make_terminal(is_screen=True)
    make_files(terminal).add(str(path))
    assert make_visible("\x1b[2J") in terminal.stderr.getvalue()


def write_program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is searched for programs before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_paste_takes_a_picture_before_text(programs, monkeypatch):
    monkeypatch.setenv("WAYLAND_DISPLAY", "x")
    listing = "text/plain\nimage/png"
    script = f'if [ "$1" = --list-types ]; then echo "{listing}"; else echo "got $3"; fi'
    write_program(programs, "wl-paste", script)
    assert paste() == b"got image/png\n"


@pytest.mark.parametrize(("display", "program"), [("x", "xsel"), ("", "pbpaste")])
def test_paste_takes_text_from_tools_that_know_no_types(programs, monkeypatch, display, program):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("PATH", str(programs))
    write_program(programs, program, "echo text")
    assert paste() == b"text\n"


def test_an_empty_clipboard_and_none_at_all_are_told(programs, monkeypatch):
    monkeypatch.setenv("WAYLAND_DISPLAY", "x")
    write_program(programs, "wl-paste", "exit 1")
    with pytest.raises(G3nError, match="empty"):
        paste()
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(G3nError, match="no clipboard"):
        paste()


def test_without_a_program_that_records_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(G3nError, match="no program that records") as caught:
        record(make_terminal(is_screen=True))
    assert "arecord" in caught.value.hint


def test_a_recording_ends_with_enter(programs):
    write_program(programs, "arecord", "head -c 32000 /dev/zero; exec sleep 60")
    terminal = make_terminal(is_screen=True)
    assert record(replace(terminal, stdin=Screen("\n")))[:4] == b"RIFF"


def test_a_program_that_fails_is_told(programs):
    write_program(programs, "arecord", "echo 'no soundcard' >&2; exit 1")
    with pytest.raises(G3nError, match="recorded nothing: no soundcard"):
        record(make_terminal(is_screen=True))
