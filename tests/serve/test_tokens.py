"""Tokens of a text, and the text of tokens."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.registry.models import resolve
from g3n_cli.serve.refusal import RefusedError
from g3n_cli.serve.tokens import MOST_TEXT, detokenize, tokenize
from tests.fakes import make_engine
from tests.serve.front import HeldEngine, run


@pytest.fixture(scope="module")
def tokenizer():
    opened = LlamaTokenizer.open(resolve("g3n-mini").path)
    yield opened
    opened.close()


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("<start_of_turn>user\nhi<end_of_turn>")
@example("\U0001f3f4\u200d\u2620\ufe0f \0")
def test_the_text_of_a_texts_tokens_is_the_text(tokenizer, text):
    told = tokenize(tokenizer, {"content": text})
    assert detokenize(tokenizer, told) == {"content": text}


def test_a_beginning_is_added_if_that_is_wanted(tokenizer):
    plain = tokenize(tokenizer, {"content": "hi"})["tokens"]
    whole = tokenize(tokenizer, {"content": "hi", "add_special": True})["tokens"]
    assert whole == [tokenizer.bos_id, *plain]
    assert detokenize(tokenizer, {"tokens": whole}) == {"content": "<bos>hi"}


def test_markup_is_text_if_that_is_wanted(tokenizer):
    asked = {"content": "<end_of_turn>"}
    assert len(tokenize(tokenizer, asked)["tokens"]) == 1
    assert len(tokenize(tokenizer, {**asked, "parse_special": False})["tokens"]) > 1


def test_pieces_are_text_or_bytes(tokenizer):
    text = "<bos>harbor \U0001f6a2"
    ids = tokenize(tokenizer, {"content": text})["tokens"]
    told = tokenize(tokenizer, {"content": text, "with_pieces": True})["tokens"]
    assert [token["id"] for token in told] == ids
    assert told[0]["piece"] == "<bos>"
    pieces = [token["piece"] for token in told]
    assert any(isinstance(piece, list) for piece in pieces)  # of the ship's four bytes
    joined = b"".join(p.encode() if isinstance(p, str) else bytes(p) for p in pieces)
    assert joined.decode() == text


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (tokenize, {"content": 1}),
        (tokenize, {"content": "x" * (MOST_TEXT + 1)}),
        (tokenize, {"content": "x", "with_pieces": 1}),
        (detokenize, {"tokens": "1"}),
        (detokenize, {"tokens": [True]}),
        (detokenize, {"tokens": [1.5]}),
        (detokenize, {"tokens": [-1]}),
        (detokenize, {"tokens": [2**31]}),
        (detokenize, {"tokens": [2**70]}),
    ],
)
def test_nonsense_is_refused(ask, body, tokenizer):
    with pytest.raises(RefusedError) as caught:
        ask(tokenizer, body)
    assert caught.value.status == 400


def test_nobody_waits_for_an_answer_to_have_tokens():
    held = HeldEngine("Hi")
    with run(held.engine) as front, front.send_and_stay({"messages": [{"role": "user"}]}):
        status, told = front.post("/tokenize", {"content": "ab"})
        assert (status, front.post("/detokenize", told)) == (200, (200, {"content": "ab"}))
        held.may_go_on.set()


def test_nothing_has_no_tokens():
    with run(make_engine()) as front:
        assert front.post("/tokenize", {}) == (200, {"tokens": []})
        assert front.post("/detokenize", {}) == (200, {"content": ""})
