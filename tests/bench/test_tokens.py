import pytest

from g3n_cli.bench.quality import load_sample
from g3n_cli.bench.tokens import CONTENTS, Source
from g3n_cli.errors import InputError
from tests.engine.scripted import BOS, N_VOCAB
from tests.fakes import MarkupTokenizer

TOKENIZER = MarkupTokenizer()


def make(source, n, seed):
    return source.make_ids(TOKENIZER, N_VOCAB, n, seed)


@pytest.mark.parametrize("content", CONTENTS)
def test_repetitions_differ_and_repeat_exactly(content):
    source = Source(content, load_sample())
    found = [make(source, 5000, seed) for seed in (0, 1, 1_000_000)]
    assert [len(ids) for ids in found] == [5000] * 3
    assert found[0] == make(source, 5000, 0)
    assert len({tuple(ids[:40]) for ids in found}) == 3


def test_text_is_made_of_its_sentences():
    text = bytes(make(Source("text", "One. Two!\nThree?"), 100, 3)).decode()
    lines = text.splitlines()
    assert all(sorted(line.split()) == ["One.", "Three?", "Two!"] for line in lines[:-1])
    assert len(set(lines[:-1])) > 1


def test_no_token_is_markup():
    assert max(make(Source("random"), 3000, 0)) < BOS
    assert max(make(Source("text", "<bos> is <end_of_turn>"), 30, 0)) < BOS


def test_an_empty_text_is_refused():
    with pytest.raises(InputError, match="empty"):
        Source("text", " \n")
