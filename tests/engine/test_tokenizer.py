import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.errors import ModelError
from tests.model_files import SMALL8


def decode(tokenizer, ids):
    return b"".join(tokenizer.piece(token) for token in ids)


def test_turn_markup_becomes_its_tokens(small8_tokenizer):
    ids = small8_tokenizer.encode("<start_of_turn>a<end_of_turn>\n")
    assert [ids[0], *ids[-2:]] == [105, 106, 107]


def test_markup_is_plain_text_where_special_tokens_are_not_parsed(small8_tokenizer):
    text = "<start_of_turn><eos>"
    ids = small8_tokenizer.encode(text, parse_special=False)
    assert not {1, 105} & set(ids)
    assert decode(small8_tokenizer, ids) == text.encode()


def test_bos_is_added_only_when_asked_for(small8_tokenizer):
    plain = small8_tokenizer.encode("text")
    assert small8_tokenizer.bos_id == 2
    assert small8_tokenizer.encode("text", add_bos=True) == [2, *plain]
    assert small8_tokenizer.encode("", add_bos=True) == [2]


def test_bos_is_not_added_for_a_model_trained_without(smollm2_tokenizer):
    assert smollm2_tokenizer.encode("text", add_bos=True) == smollm2_tokenizer.encode("text")


def test_empty_text_has_no_tokens(small8_tokenizer):
    assert small8_tokenizer.encode("") == []


def test_both_of_gemmas_end_tokens_end_a_turn(small8_tokenizer):
    assert {1, 106} <= small8_tokenizer.end_ids


def test_both_end_a_turn_whichever_the_file_names(tmp_path):
    key = b"tokenizer.ggml.eos_token_id"
    data = bytearray(SMALL8.read_bytes())
    value = data.index(key) + len(key) + 4  # behind the type
    assert data[value] == 1
    data[value] = 106
    path = tmp_path / "end-of-turn-only.gguf"
    path.write_bytes(data)
    tokenizer = LlamaTokenizer.open(path)
    assert tokenizer.end_ids == {1, 106}
    tokenizer.close()


def test_end_of_a_struck_out_text_is_text_to_gemma(small8_tokenizer, tmp_path):
    pieces = map(small8_tokenizer.piece, range(small8_tokenizer.n_vocab))
    token, piece = next((i, p) for i, p in enumerate(pieces) if len(p) == 4 and p.isalpha())
    length = struct.pack("<Q", 4)
    path = tmp_path / "html.gguf"
    path.write_bytes(SMALL8.read_bytes().replace(length + piece, length + b"</s>", 1))
    tokenizer = LlamaTokenizer.open(path)
    assert tokenizer.vocab.is_end(token)  # so says llama.cpp
    assert token not in tokenizer.end_ids
    assert tokenizer.piece(token) == b"</s>"
    tokenizer.close()


@pytest.mark.parametrize("fixture", ["small8_tokenizer", "smollm2_tokenizer"])
def test_end_ids_are_those_llama_cpp_knows(fixture, request):
    tokenizer = request.getfixturevalue(fixture)
    known = {i for i in range(tokenizer.n_vocab) if tokenizer.vocab.is_end(i)}
    assert known
    assert tokenizer.end_ids == known


def test_control_tokens_have_a_piece_only_on_request(small8_tokenizer):
    assert small8_tokenizer.piece(106) == b""
    assert small8_tokenizer.piece(106, special=True) == b"<end_of_turn>"


def test_control_token_is_found_by_its_text(small8_tokenizer):
    assert small8_tokenizer.find_control("<start_of_turn>") == 105
    assert small8_tokenizer.find_control("<nothing>") is None
    assert small8_tokenizer.find_control("a") is None


@pytest.mark.parametrize("token", [-1, 512])
def test_token_outside_the_vocabulary_is_refused(small8_tokenizer, token):
    with pytest.raises(IndexError):
        small8_tokenizer.piece(token)


@given(st.text())
def test_text_survives_the_round_trip(small8_tokenizer, text):
    ids = small8_tokenizer.encode(text, parse_special=False)
    assert decode(small8_tokenizer, ids) == text.encode()


def test_nul_characters_are_text(small8_tokenizer):
    assert decode(small8_tokenizer, small8_tokenizer.encode("a\0b")) == b"a\0b"


def test_lone_surrogates_become_replacement_characters(small8_tokenizer):
    assert decode(small8_tokenizer, small8_tokenizer.encode("a\ud83d")) == "a\ufffd".encode()


def test_surrogate_pairs_become_their_character(small8_tokenizer):
    assert decode(small8_tokenizer, small8_tokenizer.encode("\ud83d\ude00")) == "😀".encode()


@pytest.mark.parametrize("unit", ["a", " ", "\n", "é", "word "])
def test_very_long_text_is_encoded(small8_tokenizer, smollm2_tokenizer, unit):
    text = unit * (100_000 // len(unit))
    for tokenizer in (small8_tokenizer, smollm2_tokenizer):
        assert decode(tokenizer, tokenizer.encode(text)) == text.encode()


def test_chat_template_comes_from_the_file(small8_tokenizer):
    assert "start_of_turn" in small8_tokenizer.chat_template


def test_closed_tokenizer_refuses_and_closes_again():
    tokenizer = LlamaTokenizer.open(SMALL8)
    tokenizer.close()
    tokenizer.close()
    with pytest.raises(ValueError, match="already closed"):
        tokenizer.encode("text")


def test_file_that_is_no_model_is_refused_with_llama_cpps_reason(tmp_path, capfd):
    path = tmp_path / "no.gguf"
    path.write_bytes(b"hello, world")
    with pytest.raises(ModelError, match=r"cannot load no\.gguf: .*failed to load model"):
        LlamaTokenizer.open(path)
    assert capfd.readouterr() == ("", "")
