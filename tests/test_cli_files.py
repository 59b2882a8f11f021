"""Files on the command line, as a shell hands them over."""

import json
import os

import numpy as np
import pytest

from g3n_cli.registry.projector import find_projector
from tests import fake_server
from tests.gguf_edit import BOOL, Draft, scalar
from tests.media_files import (
    encode,
    encode_float_wav,
    encode_video,
    encode_wav,
    lock_pdf,
    make_huge_png,
    make_pdf,
    make_picture,
    make_tone,
    set_wav_length,
)
from tests.program import assert_fails


def test_a_document_is_part_of_the_prompt(g3n, tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("some words")
    alone = g3n.chat("--json", "-n", "1", "Sum up")
    done = g3n.chat("--json", "-n", "1", "-f", path, "Sum up")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["prompt_tokens"] > json.loads(alone.stdout)["prompt_tokens"]
    assert answer["read_s"] > 0
    assert answer["encode_s"] is None
    assert done.stderr.decode().startswith("  note.txt: text, 1 line, ")


def test_several_files_keep_their_order_and_one_may_be_standard_input(g3n, tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    flags = ("-f", tmp_path / "b.txt", "-f", "-", "-f", tmp_path / "a.txt")
    done = g3n.chat("-n", "1", *flags, "Compare", stdin="piped")
    told = [line.split(":")[0].strip() for line in done.stderr.decode().splitlines()]
    assert told == ["b.txt", "standard input", "a.txt"]


def test_standard_input_as_a_file_wants_a_question(g3n):
    assert_fails(g3n.chat("-f", "-", stdin="piped"), 2, "no prompt")
    assert_fails(g3n.chat("-f", "-", "-f", "-", "hi", stdin="x"), 2, "once only")
    assert_fails(g3n.chat("-f", "-", "hi"), 4, "standard input is empty")


def test_a_file_that_does_not_fit_is_refused_with_the_numbers(g3n, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("word " * 3000)
    done = g3n.chat("--ctx", "300", "-f", path, "hi")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 4
    assert "context holds 300" in lines[-2]
    assert str(path) in lines[-2]


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_model_without_an_encoder_says_how_to_get_it(g3n, tmp_path, kind):
    path = tmp_path / "medium"
    is_image = kind == "image"
    path.write_bytes(encode(make_picture(), "PNG") if is_image else encode_wav(make_tone(0.2)))
    done = g3n.chat("-f", path, "hi")
    assert_fails(done, 4, f"this model has no {kind} encoder")
    assert "--mmproj" in done.stderr.decode()


def write_projector(path, **has):
    keys = {f"clip.has_{part}_encoder": scalar(BOOL, value) for part, value in has.items()}
    Draft(keys).write(path)
    return path


def test_a_projector_without_the_wanted_encoder_is_named(g3n, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(make_picture(), "PNG"))
    projector = write_projector(tmp_path / "mmproj.gguf", audio=True)
    done = g3n.chat("--mmproj", projector, "-f", path, "hi")
    assert_fails(done, 4, "mmproj.gguf has no image encoder")
    projector = write_projector(tmp_path / "mmproj.gguf", vision=True)
    done = g3n.chat("--mmproj", projector, "-f", path, "hi")
    assert done.returncode == 3
    assert "mmproj.gguf holds no named architecture" in done.stderr.decode().splitlines()[-1]
    assert_fails(g3n.chat("--mmproj", tmp_path / "none", "-f", path, "hi"), 4, "no projector file")


def test_a_projector_beside_the_model_is_found(tmp_path):
    model = tmp_path / "gemma-3n-E2B-it-Q4_0.gguf"
    model.touch()
    assert find_projector(model, None) is None
    for name in ("mmproj-gemma-3n-E4B.gguf", "mmproj-gemma-3n-E2B.gguf"):
        (tmp_path / name).touch()
    assert find_projector(model, None).name == "mmproj-gemma-3n-E2B.gguf"
    known = tmp_path / "known.gguf"
    assert find_projector(model, None, known).name == "mmproj-gemma-3n-E2B.gguf"
    known.touch()
    assert find_projector(model, None, known) == known


BAD = {
    "cut.png": lambda _: encode(make_picture(), "PNG")[:900],
    "cut.jpg": lambda _: encode(make_picture(), "JPEG")[:500],
    "cut.wav": lambda _: encode_wav(make_tone(1))[:5000],
    "cut.mp4": lambda folder: encode_video(folder / "v.mp4", range(90)).read_bytes()[:1500],
    "empty": lambda _: b"",
    "text.png": lambda _: b"only words",
    "bomb.png": lambda _: make_huge_png(),
    "long.wav": lambda _: set_wav_length(encode_wav(make_tone(1)), 4_000_000_000),
    "nan.wav": lambda _: encode_float_wav(np.full(9000, np.nan)),
    "nothing.mp4": lambda folder: encode_video(folder / "v.mp4", []).read_bytes(),
    "none.mkv": lambda folder: encode_video(folder / "v.mkv", [], sound=make_tone(1)).read_bytes(),
    "locked.pdf": lambda _: lock_pdf(make_pdf("Hello there")),
    "binary": lambda _: bytes(range(256)) * 9,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line_and_exit_code_4(g3n, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD[name](tmp_path))
    assert_fails(g3n.chat("-f", path, "hi"), 4, name)


def test_a_pipe_that_nobody_writes_to_is_exit_code_4(g3n, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert_fails(g3n.chat("-f", tmp_path / "pipe", "hi"), 4, "nobody writes to")


def test_a_folder_with_a_loop_is_read_once_and_one_of_nothing_else_is_refused(g3n, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "loop").symlink_to(folder)
    assert_fails(g3n.chat("-f", folder, "hi"), 4, "no files that could be read")
    (folder / "a.txt").write_text("words")
    done = g3n.chat("-n", "1", "-f", folder, "hi")
    assert done.returncode == 0, done.stderr.decode()
    assert [line.split(":")[0].strip() for line in done.stderr.decode().splitlines()] == ["a.txt"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--fps", "0"), "--fps"),
        (("--frames", "0"), "--frames"),
        (("--start", "-1"), "--start"),
        (("--start", "5", "--end", "5"), "--end"),
        (("--image-size", "700"), "--image-size"),
        (("--audio-pad", "9"), "--audio-pad"),
    ],
)
def test_flags_that_make_no_sense_are_refused(g3n, flags, words):
    assert_fails(g3n.chat(*flags, "hi"), 2, words)


def test_pictures_and_documents_go_to_a_server(g3n, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(make_picture(), "PNG"))
    (tmp_path / "a.txt").write_text("words")
    flags = ("-f", tmp_path / "a.txt", "-f", tmp_path / "a.png")
    with fake_server.serve(fake_server.say("ok")) as server:
        done = g3n.run("chat", "--device", server.url, *flags, "What?")
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr
    ((text, picture, question),) = [server.requests[0]["messages"][0]["content"]]
    assert "words" in text["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert question == {"type": "text", "text": "What?"}


def test_sound_does_not_go_to_a_server(g3n, tmp_path):
    (tmp_path / "a.wav").write_bytes(encode_wav(make_tone(0.2)))
    with fake_server.serve() as server:
        done = g3n.run("chat", "--device", server.url, "-f", tmp_path / "a.wav", "What?")
    assert done.returncode == 4
    assert "sound is not sent to servers" in done.stderr.decode()


def test_transcribe_refuses_before_a_model_is_loaded(g3n, tmp_path):
    (tmp_path / "a.wav").write_bytes(encode_wav(make_tone(0.2)))
    silent = encode_video(tmp_path / "v.mp4", [0] * 5)
    assert_fails(g3n.run("transcribe", silent), 4, "no sound")
    assert_fails(g3n.run("transcribe", tmp_path / "a.wav"), 4, "no audio encoder")
    (tmp_path / "a.txt").write_text("words")
    assert_fails(g3n.run("transcribe", tmp_path / "a.txt"), 4, "a document")
    assert_fails(g3n.run("transcribe", "-o", "srt", silent, silent), 2, "one file")


@pytest.mark.parametrize(
    ("flags", "part"),
    [(("-", "-"), "once"), (("--start", "1:x"), "no time"), (("--translate", ""), "a language")],
)
def test_transcribe_refuses_flags_that_make_no_sense(g3n, tmp_path, flags, part):
    (tmp_path / "a.wav").write_bytes(encode_wav(make_tone(0.2)))
    assert_fails(g3n.run("transcribe", tmp_path / "a.wav", *flags), 2, part)


def test_recording_without_a_program_says_what_to_install(g3n):
    done = g3n.chat("--record", "hi", PATH="/nowhere")
    assert_fails(done, 1, "no program that records")
    assert "arecord" in done.stderr.decode()
