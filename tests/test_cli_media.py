"""Pictures, sound and video in a chat with a model of random weights and its encoders."""

import io
import json
import re

import av
import numpy as np
import pytest

from tests.media_files import encode, encode_video, encode_wav, make_picture, make_tone
from tests.program import assert_fails
from tests.test_cli_files import BAD

N_PICTURE = 256
N_SOUND = 188
AROUND = 3
"""Marks of a medium's beginning and end, and the blank line behind it. The one before it is one
token with the line break of the turn's markup."""

FLAGS = ("--json", "-n", "2", "--temp", "0", "--image-size", "256", "--no-save")


@pytest.fixture
def ask(g3n, media_model):
    """Asks about files; figures of the answer, and the lines that told of the files."""

    def run(*arguments, stdin=b""):
        done = g3n.chat("-m", media_model, *FLAGS, *arguments, "What is this?", stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout), done.stderr.decode().splitlines()

    return run


@pytest.fixture
def n_alone(ask):
    """Tokens of the prompt without files."""
    return ask()[0]["prompt_tokens"]


def assert_stages(answer):
    """Each stage has its time, and the first token waits for those after the reading."""
    assert min(answer[stage] for stage in ("load_s", "read_s", "encode_s", "prefill_s")) > 0
    assert answer["ttft_s"] >= answer["encode_s"] + answer["prefill_s"]
    assert answer["peak_rss_bytes"] > 0


def encode_ogg(samples):
    """Opus, at 48 kHz like most of it."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="ogg") as container:
        audio = container.add_stream("libopus", rate=48_000, layout="mono")
        for start in range(0, len(samples), 1024):
            block = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return stream.getvalue()


def test_a_photo_takes_256_soft_tokens(ask, n_alone, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encode(make_picture(640, 480), "JPEG"))
    answer, told = ask("-f", tmp_path / "photo.jpg")
    assert told == ["  photo.jpg: picture, 640 x 480, 260 tokens"]
    assert answer["prompt_tokens"] - n_alone == N_PICTURE + AROUND
    assert_stages(answer)


@pytest.mark.parametrize("kind", ["wav", "ogg"])
def test_sound_from_a_pipe_takes_188_positions(ask, n_alone, kind):
    sound = make_tone(3)
    content = encode_wav(sound) if kind == "wav" else encode_ogg(make_tone(3, 48_000))
    answer, told = ask("-f", "-", stdin=content)
    assert told == ["  standard input: sound, 3.0 s, 192 tokens"]
    assert answer["prompt_tokens"] - n_alone == N_SOUND + AROUND
    assert_stages(answer)


def test_sound_without_padding_takes_what_it_needs(ask, n_alone, tmp_path):
    (tmp_path / "a.wav").write_bytes(encode_wav(make_tone(4)))
    answer, _ = ask("--audio-pad", "none", "-f", tmp_path / "a.wav")
    assert answer["prompt_tokens"] - n_alone == 25 + AROUND


def test_a_talk_is_frames_and_sound(ask, n_alone, tmp_path):
    path = encode_video(tmp_path / "talk.mp4", [30, 200] * 15, sound=make_tone(3))
    answer, _ = ask("-f", path)
    marks = ["[0:00]", "[0:00 - 0:03]", "[0:01]", "[0:02]"]  # a token for each character
    around = sum(len(mark) + 1 + AROUND for mark in marks)
    assert answer["prompt_tokens"] - n_alone == 3 * N_PICTURE + N_SOUND + around
    assert_stages(answer)
    alone, _ = ask("--no-sound", "-f", path)
    assert answer["prompt_tokens"] - alone["prompt_tokens"] == N_SOUND + 1 + AROUND + len(marks[1])


def test_stages_are_told_to_people_too(g3n, media_model, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encode(make_picture(), "JPEG"))
    flags = ("-m", media_model, "-n", "1", "--image-size", "256", "--stats")
    done = g3n.chat(*flags, "-f", tmp_path / "photo.jpg", "What is this?")
    line = done.stderr.decode().splitlines()[-1]
    stages = re.findall(r"(files read|encoded|prefill) \d+\.\d\d s", line)
    assert stages == ["files read", "encoded", "prefill"]


def test_encoders_of_another_model_are_refused(g3n, media_model, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(make_picture(), "PNG"))
    mmproj = media_model.with_name("mmproj-tiny.gguf")
    done = g3n.chat("--mmproj", mmproj, "-f", tmp_path / "a.png", "hi")
    described, *error = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(error)) == (4, b"", 1)
    assert described.startswith("  a.png: picture")
    assert error[0].startswith("error: the projector belongs to another model")


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_a_model_that_sees_and_hears(g3n, media_model, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD[name](tmp_path))
    assert_fails(g3n.chat("-m", media_model, "-f", path, "hi"), 4, name)
