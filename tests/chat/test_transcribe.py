from dataclasses import replace

import numpy as np
import pytest

from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.chat.transcribe import Segment, make_instruction, transcribe
from g3n_cli.commands.transcribe import write_all
from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.source import Source
from g3n_cli.ui.subtitles import format_segment
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, make_terminal, show_ids
from tests.media_files import encode_wav, make_tone


def make_session(*answers, **options):
    engine = make_engine(*answers, **options)
    engine.info = replace(engine.info, n_embd=8)
    projector = FakeProjector()
    store = MediaStore(engine.info, projector.open, keeps_open=True)
    return Session(engine, AnswerOptions(seed=0, temp=0), media=store), projector


def make_sound(seconds=40, quiet_s=25):
    sound = make_tone(seconds)
    sound[quiet_s * 16_000 : (quiet_s + 1) * 16_000] = 0
    return Source.of_bytes(encode_wav(sound), "talk.wav")


def test_each_piece_is_asked_for_by_itself_and_comes_when_it_is_done():
    session, projector = make_session(" One. ", "Two.")
    seen = []
    segments = transcribe(
        session, make_sound(), MediaOptions(), "Write.", lambda *span: seen.append(span)
    )
    first = next(segments)
    assert first.text == "One."
    assert len(seen) == 1
    second = next(segments)
    assert (second.start_s, second.end_s, second.text) == (first.end_s, 40.0, "Two.")
    assert 25 <= first.end_s <= 26
    prompts = session.engine.prompts
    assert all("Write." in show_ids([i for i in p.ids if i >= 0]) for p in prompts)
    assert [np.count_nonzero(p.ids < 0) for p in prompts] == [189, 189]
    assert projector.log == ["open audio", "encode audio", "encode audio"]


def test_translation_names_the_language():
    assert "French" in make_instruction("French")
    assert "ranslat" not in make_instruction(None)


@pytest.mark.parametrize(
    ("kind", "has_times", "shown"),
    [
        ("txt", False, "a\n\nb --> c\n"),
        ("txt", True, "[1:01:05 - 1:01:33] a\n\nb --> c\n"),
        ("srt", False, "2\n01:01:05,500 --> 01:01:33,250\na\nb -> c\n\n"),
        ("vtt", False, "2\n01:01:05.500 --> 01:01:33.250\na\nb -> c\n\n"),
        (
            "json",
            False,
            '{"file": "f", "start_s": 3665.5, "end_s": 3693.25, "text": "a\\n\\nb --> c"}\n',
        ),
    ],
)
def test_formats(kind, has_times, shown):
    segment = Segment(3665.5, 3693.25, "a\n\nb --> c")
    assert format_segment(segment, kind, 2, "f", has_times=has_times) == shown


def test_all_files_are_written_in_order():
    session, _ = make_session("one", "two", "three")
    terminal = make_terminal()
    sources = [make_sound(), make_sound(5, 2)]
    write_all(session, sources, MediaOptions(), terminal, None, "txt", has_times=True)
    lines = terminal.stdout.getvalue().splitlines()
    assert [lines[0], *lines[3:5]] == ["talk.wav:", "", "talk.wav:"]
    said = [*lines[1:3], *lines[5:]]
    assert [line.rpartition(" ")[2] for line in said] == ["one", "two", "three"]
    assert said[2].startswith("[0:00 - 0:05]")
    assert terminal.stderr.getvalue() == ""


def test_a_single_file_has_no_title():
    session, _ = make_session("one")
    terminal = make_terminal()
    write_all(session, [make_sound(5, 2)], MediaOptions(), terminal, None, "txt", has_times=False)
    assert terminal.stdout.getvalue() == "one\n"


def test_a_piece_that_the_context_cuts_off_is_told():
    session, _ = make_session("one two three four five six seven eight", n_ctx=262)
    terminal = make_terminal()
    write_all(session, [make_sound(5, 2)], MediaOptions(), terminal, None, "txt", has_times=False)
    assert "one two three four five six seven eight".startswith(terminal.stdout.getvalue().strip())
    assert terminal.stderr.getvalue().startswith("warning: talk.wav 0:00 - 0:05 is cut off")


def test_what_is_done_stays_when_a_file_is_refused():
    session, _ = make_session("one")
    terminal = make_terminal()
    sources = [make_sound(5, 2), Source.of_bytes(b"RIFF\0\0\0\0WAVEnothing", "bad.wav")]
    with pytest.raises(InputError, match=r"bad\.wav"):
        write_all(session, sources, MediaOptions(), terminal, None, "vtt", has_times=False)
    assert terminal.stdout.getvalue().startswith("WEBVTT\n\n1\n00:00:00.000 --> ")
