import os

import numpy as np
import pytest

from g3n_cli.ggml.llama import Model
from g3n_cli.ggml.llama_log import captured_stderr
from g3n_cli.ggml.llama_sampler import Candidates, GrammarSampler, SamplerChain
from tests.model_files import SMALL8


@pytest.fixture(scope="module")
def vocab():
    with Model(SMALL8, vocab_only=True) as model:
        yield model.vocab


def fill(*logits):
    candidates = Candidates(len(logits))
    candidates.fill(np.array(logits, np.float32))
    return candidates


def test_samplers_cut_and_sort_what_is_left():
    candidates = fill(1.0, 4.0, 2.0, 3.0)
    with SamplerChain() as chain:
        chain.add_top_k(2)
        chain.add_greedy()
        assert chain.select(candidates) == 1
    assert candidates.rows["id"].tolist() == [1, 3]


def test_filling_again_brings_all_tokens_back_in_order():
    candidates = fill(1.0, 4.0, 2.0, 3.0)
    with SamplerChain() as chain:
        chain.add_top_k(1)
        chain.add_greedy()
        chain.select(candidates)
        candidates.fill(np.array([9.0, 4.0, 2.0, 3.0], np.float32))
        assert candidates.rows["id"].tolist() == [0, 1, 2, 3]
        assert chain.select(candidates) == 0


def test_grammar_allows_what_continues_it(vocab):
    a, b = vocab.tokenize(b"a", parse_special=False), vocab.tokenize(b"b", parse_special=False)
    with GrammarSampler(vocab, 'root ::= "a" "b"') as grammar:
        assert grammar.allows(a[-1])
        assert not grammar.allows(b[-1])
        grammar.accept(a[-1])
        assert not grammar.allows(a[-1])
        assert grammar.allows(b[-1])


def test_closed_sampler_refuses_and_closes_again(vocab):
    for sampler in (SamplerChain(), GrammarSampler(vocab, 'root ::= "a"')):
        sampler.close()
        sampler.close()
        with pytest.raises(ValueError, match="already closed"):
            sampler.accept(5)


def test_what_c_code_writes_to_standard_error_is_collected(capfd):
    with captured_stderr() as lines:
        os.write(2, b"one\ntwo\n")
    assert lines == ["one", "two"]
    os.write(2, b"three")
    assert capfd.readouterr().err == "three"
