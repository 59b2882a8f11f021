"""Transcriptions and tokens of ``g3n serve`` as a process, asked by clients that people use."""

import json

import openai
import pytest

from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8
from tests.program import ROOT, Program
from tests.serve.process import ASK, Served

TINY = ROOT / "tests" / "data" / "multimodal"
FLAGS = ("-m", str(TINY / "model.gguf"), "--mmproj", str(TINY / "mmproj.gguf"), "--ctx", "512")
MODEL = "whisper-1"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    served = Served(Program(tmp_path_factory.mktemp("serve")), *FLAGS)
    yield served
    assert served.end() == (130, b"")
    assert "Traceback" not in served.log


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file of two pieces."""
    file = tmp_path_factory.mktemp("sound") / "tone.wav"
    file.write_bytes(encode_wav(make_tone(40)))
    return file


def test_it_hears_what_g3n_transcribe_hears(client, server, sound):
    done = server.g3n.run("transcribe", *FLAGS, "--threads", "1", "-o", "json", str(sound))
    cues = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cues) == 2
    told = client.audio.transcriptions.create(
        model=MODEL, file=sound, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    heard = [(segment.start, segment.end, segment.text) for segment in told.segments]
    assert heard == [(cue["start_s"], cue["end_s"], cue["text"]) for cue in cues]
    assert told.duration == cues[-1]["end_s"]
    short = client.audio.transcriptions.create(model=MODEL, file=sound)
    assert short.text == told.text == " ".join(cue["text"] for cue in cues)


@pytest.mark.parametrize(
    ("kind", "start"), [("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT\n\n1\n00:00:00.000 --> ")]
)
def test_subtitles_are_written(kind, start, client, sound):
    told = client.audio.transcriptions.create(model=MODEL, file=sound, response_format=kind)
    assert told.startswith(start)
    assert told.count(" --> ") == 2


def test_a_conversation_goes_on_after_a_transcription(client, server, sound):
    messages = [{"role": "user", "content": "Which of what they say is so? " * 5}]

    def ask():
        asked = {"messages": messages, "max_tokens": 5, "temperature": 0}
        told = client.chat.completions.create(model=MODEL, **asked)
        messages.append({"role": "assistant", "content": told.choices[0].message.content})
        messages.append({"role": "user", "content": "And then?"})
        return told.usage

    n_first = ask().total_tokens
    client.audio.transcriptions.create(model=MODEL, file=sound)
    assert json.loads(server.ask("/props")[1])["cache"]["n_conversations"] == 1
    assert ask().prompt_tokens_details.cached_tokens >= n_first - 5


def test_a_model_without_an_audio_encoder_says_so(g3n, sound):
    served = Served(g3n)
    try:
        with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
            with pytest.raises(openai.BadRequestError, match="no audio encoder") as caught:
                client.audio.transcriptions.create(model=MODEL, file=sound)
            assert caught.value.param == "model"
        assert served.ask("/v1/chat/completions", ASK)[0] == 200
    finally:
        served.end()


@pytest.mark.parametrize("flags", [(), ("-m", str(SMALL8))])
def test_a_prompt_has_as_many_tokens_as_it_is_told(flags, g3n):
    text = "<bos>What does harbor mean? \U0001f6a2 na\u00efve"
    served = Served(g3n, *flags)
    try:
        ids = json.loads(served.ask("/tokenize", {"content": text})[1])["tokens"]
        told = json.loads(served.ask("/v1/completions", {"prompt": text, "max_tokens": 1})[1])
        assert told["usage"]["prompt_tokens"] == len(ids)
        assert json.loads(served.ask("/detokenize", {"tokens": ids})[1]) == {"content": text}
    finally:
        served.end()
