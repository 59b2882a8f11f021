"""A prompt with a picture and a sound, from files to logits, as transformers computes it."""

from pathlib import Path

import numpy as np
import pytest

from g3n_cli.chat.conversation import Question
from g3n_cli.chat.open import open_session
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.config import EngineSettings
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.prompt import NO_TOKEN
from g3n_cli.media.attach import read_all
from g3n_cli.media.options import MediaOptions
from g3n_cli.registry.models import ModelSpec

DATA = Path(__file__).parent / "data"
TINY = DATA / "multimodal"
PICTURE = DATA / "vision" / "picture-256.png"
SOUND = DATA / "oracle" / "audio" / "wav" / "sweep_1s.wav"
QUESTION = "what is it that they said?"
N_TEXT = 512
"""Ids from here on stand for media in the reference."""


@pytest.fixture(scope="module")
def reference():
    with np.load(TINY / "prompt.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def asked(reference):
    """The prompt of a conversation about both files, all its logits, and the answer."""
    options = MediaOptions(image_size=256)
    question = Question(
        QUESTION, tuple(read_all(str(PICTURE), options) + read_all(str(SOUND), options))
    )
    greedy = AnswerOptions(seed=1, temp=0, max_tokens=len(reference["answer"]))
    settings = EngineSettings(n_ctx=512, n_batch=64, n_threads=2, kv="f32")
    spec = ModelSpec("tiny", TINY / "model.gguf")
    with open_session(spec, settings, greedy, Projector(TINY / "mmproj.gguf", 2)) as session:
        prompts = []
        prefill = session.engine.prefill

        def watch(prompt, *args):
            prompts.append(prompt)
            return prefill(prompt, *args)

        session.engine.prefill = watch
        list(session.reply(question))
        yield prompts[0], session.engine.compute_all_logits(prompts[0]), session.turns[-1].ids


def test_ids_are_those_of_transformers_processor(asked, reference):
    prompt, ids = asked[0], reference["ids"]
    assert np.where(ids < N_TEXT, ids, NO_TOKEN).tolist() == prompt.ids.tolist()


def test_media_take_the_first_row_of_per_layer_embeddings(asked, reference):
    prompt, ids = asked[0], reference["ids"]
    assert np.where(ids < N_TEXT, ids, 0).tolist() == prompt.ple_ids.tolist()


def test_rows_are_those_that_transformers_puts_in_the_placeholders_places(asked, reference):
    rows, wanted = asked[0].rows, reference["rows"]
    assert rows.shape == wanted.shape
    np.testing.assert_allclose(np.mean(rows * wanted, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows, wanted, atol=1e-4)


def test_logits_agree_at_text_and_at_media(asked, reference):
    logits = asked[1][reference["positions"]]
    assert np.abs(logits - reference["logits"]).max() <= 1e-2


def test_the_answer_is_the_greedy_continuation(asked, reference):
    assert list(asked[2]) == reference["answer"].tolist()
