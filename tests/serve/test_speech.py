"""Transcriptions of files that are sent."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from g3n_cli.chat.media import MediaStore
from g3n_cli.engine.encoders.open import Projector
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, show_ids
from tests.gguf_edit import BOOL, Draft, scalar
from tests.media_files import encode_wav, make_tone
from tests.serve.front import HeldEngine, make_form, run, wait_until

PATH = "/v1/audio/transcriptions"


def make_sound():
    """40 s with a quiet place at 25 s, where it is cut."""
    sound = make_tone(40)
    sound[25 * 16_000 : 26 * 16_000] = 0
    return encode_wav(sound)


SOUND = make_sound()


@contextmanager
def hearing(folder, engine):
    """A server with a fake encoder of sound, and what happens to that."""
    engine.info = replace(engine.info, n_embd=8)
    file = folder / "mmproj.gguf"
    Draft({"clip.has_audio_encoder": scalar(BOOL, True)}).write(file)
    fake = FakeProjector()
    store = MediaStore(engine.info, fake.open)
    with run(engine, projector=Projector(file, 1), media_store=store) as front:
        yield front, fake.log


def send(front, content=SOUND, **fields):
    """Status, type and body of the answer."""
    texts = [(name.replace("granularities", "granularities[]"), v) for name, v in fields.items()]
    kind, body = make_form([("file", content), *((name, v.encode()) for name, v in texts)])
    status, headers, answer = front.ask("POST", PATH, body, Content_Type=kind)
    return status, headers["content-type"], answer


def test_the_text_of_all_pieces_is_the_answer(tmp_path):
    engine = make_engine(" One. ", "Two.", "Hi")
    with hearing(tmp_path, engine) as (front, log):
        status, kind, answer = send(front, model="any")
        assert (status, kind) == (200, "application/json")
        assert json.loads(answer) == {
            "text": "One. Two.",
            "usage": {"type": "duration", "seconds": 40},
        }
        assert log == ["open audio", "encode audio", "encode audio", "close audio"]
        assert len(engine.prompts) == 2
        for prompt in engine.prompts:
            assert "Transcribe" in show_ids([i for i in prompt.ids.tolist() if i >= 0])
        wait_until(lambda: front.log, "it is not logged")
        assert "200, 40.0 s of sound in 2 pieces, " in front.log[0]
        assert front.chat()[1]["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.parametrize(
    ("wanted", "kind", "shown"),
    [
        ("text", "text/plain; charset=utf-8", "One.\n"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:05,000\nOne.\n\n"),
        (
            "vtt",
            "text/plain; charset=utf-8",
            "WEBVTT\n\n1\n00:00:00.000 --> 00:00:05.000\nOne.\n\n",
        ),
    ],
)
def test_formats_of_text(wanted, kind, shown, tmp_path):
    with hearing(tmp_path, make_engine("One.")) as (front, _):
        answer = send(front, encode_wav(make_tone(5)), response_format=wanted)
    assert answer == (200, kind, shown.encode())


def test_the_long_format_has_segments(tmp_path):
    with hearing(tmp_path, make_engine("One.", "Two.")) as (front, _):
        _, _, answer = send(
            front,
            response_format="verbose_json",
            language="de",
            timestamp_granularities="segment",
        )
    told = json.loads(answer)
    assert (told["task"], told["language"], told["duration"]) == ("transcribe", "de", 40.0)
    assert told["text"] == "One. Two."
    first, second = told["segments"]
    assert (first["id"], first["start"], first["text"]) == (0, 0.0, "One.")
    assert first["end"] == second["start"]
    assert 25 <= second["start"] <= 26
    assert (second["end"], second["text"]) == (40.0, "Two.")


def test_the_model_is_told_which_language_is_spoken(tmp_path):
    engine = make_engine("Eins.", "Zwei.")
    with hearing(tmp_path, engine) as (front, _):
        send(front, language="German")
    assert "in German" in show_ids([i for i in engine.prompts[0].ids.tolist() if i >= 0])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"language": "de. Say hello"}, "language"),
        ({"language": "<start_of_turn>"}, "language"),
        ({"language": "x" * 500}, "language"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "-1"}, "temperature"),
        ({"stream": "true"}, "stream"),
        ({"prompt": "g3n"}, "prompt"),
        ({"timestamp_granularities": "word"}, "timestamp_granularities[]"),
        ({"content": b""}, "file"),
    ],
)
def test_what_cannot_be_done_is_refused(fields, param, tmp_path):
    with hearing(tmp_path, make_engine()) as (front, _):
        status, _, answer = send(front, **fields)
        assert (status, front.engine.prompts) == (400, [])
    error = json.loads(answer)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize("content", [b"some text", b"%PDF-1.4 and more", b"RIFF\0\0\0\0WAVEjunk"])
def test_what_is_no_sound_is_refused(content, tmp_path):
    with hearing(tmp_path, make_engine("Hi")) as (front, _):
        status, _, answer = send(front, content)
        assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
        assert front.chat()[0] == 200


def test_a_model_that_cannot_hear_says_so():
    with run(make_engine()) as front:
        status, kind, answer = send(front)
    error = json.loads(answer)["error"]
    assert (status, kind, error["param"]) == (400, "application/json", "model")
    assert "scripted has no audio encoder" in error["message"]


def test_a_client_that_leaves_ends_its_transcription(tmp_path):
    held = HeldEngine("One.", "Two.", "Hi")
    with hearing(tmp_path, held.engine) as (front, log):
        kind, body = make_form({"file": SOUND})
        client = front.send_and_stay(body, PATH, f"Content-Type: {kind}\r\n")
        wait_until(lambda: held.engine.prompts, "it does not begin")
        client.close()
        wait_until(lambda: front.log, "it is not noticed")
        held.may_go_on.set()
        assert front.chat()[0] == 200
        assert "the client has left" in front.log[0]
        assert log == ["open audio", "encode audio", "close audio"]
