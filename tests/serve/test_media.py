"""Sound and pictures in messages."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from g3n_cli.chat.media import MediaStore
from g3n_cli.engine.encoders.open import Projector
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, show_ids
from tests.gguf_edit import BOOL, Draft, scalar
from tests.media_files import encode_wav, make_tone
from tests.serve.front import run


def hear(content, tmp_path, part=None, n_ctx=4096):
    """What a server with an encoder of sound makes of a message: status, answer, its prompt."""
    engine = make_engine("I hear.", n_ctx=n_ctx)
    engine.info = replace(engine.info, n_embd=8)
    file = tmp_path / "mmproj.gguf"
    Draft({"clip.has_audio_encoder": scalar(BOOL, True)}).write(file)
    store = MediaStore(engine.info, FakeProjector().open)
    data = base64.b64encode(content).decode()
    part = part or {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}]
    with run(engine, projector=Projector(file, 1), media_store=store) as front:
        status, answer = front.post("/v1/chat/completions", {"messages": messages})
    return status, answer, engine.prompts


def test_sound_is_heard_before_the_text_that_follows_it(tmp_path):
    status, _, prompts = hear(encode_wav(make_tone(0.5)), tmp_path)
    assert status == 200
    (prompt,) = prompts
    assert prompt.rows.shape == (189, 8)
    assert show_ids([i for i in prompt.ids.tolist() if i >= 0]).count("<start_of_audio>") == 1


def test_sound_that_the_context_has_no_room_for_is_refused(tmp_path):
    long = encode_wav(np.zeros(600 * 8000), 8000)
    status, answer, prompts = hear(long, tmp_path, n_ctx=400)
    assert (status, answer["error"]["code"], prompts) == (400, "context_length_exceeded", [])
    n_tokens = int(
        re.search(r"prompt has ([\d,]+) tokens", answer["error"]["message"])[1].replace(",", "")
    )
    assert 400 < n_tokens < 1500  # all of it would be 3,800: what is too much is not decoded


@pytest.mark.parametrize("content", [b"some text", b"%PDF-1.4 and more", b"RIFF\0\0\0\0WAVEjunk"])
def test_what_is_no_sound_is_refused(content, tmp_path):
    status, answer, prompts = hear(content, tmp_path)
    assert (status, answer["error"]["type"], prompts) == (400, "invalid_request_error", [])


def test_what_the_model_has_no_encoder_for_is_refused(tmp_path):
    part = {"type": "image_url", "image_url": {"url": "data:;base64,aGVsbG8="}}
    status, answer, _ = hear(b"", tmp_path, part)
    assert status == 400
    assert "image encoder" in answer["error"]["message"]
