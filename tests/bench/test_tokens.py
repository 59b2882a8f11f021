import re

import pytest

from g3n_cli.bench.tokens import CONTENTS, Source, load_text
from g3n_cli.errors import InputError
from tests.engine.scripted import BOS, N_VOCAB
from tests.fakes import MarkupTokenizer

TOKENIZER = MarkupTokenizer()


def make(source, n, seed):
    return source.make_ids(TOKENIZER, N_VOCAB, n, seed)


@pytest.mark.parametrize("content", CONTENTS)
def test_repetitions_differ_and_repeat_exactly(content):
    source = Source(content, load_text())
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


def test_the_bundled_text_is_long_and_varied():
    words = re.findall(r"[a-z']+", load_text().lower())
    assert len(set(words)) >= 5000


def test_no_sentence_comes_twice_before_the_text_is_used_up():
    source = Source("text", load_text())
    n = len(load_text()) * 9 // 10
    made = bytes(make(source, n, 0)).decode()
    sentences = re.split(r"(?<=[.!?]) |\n", made)[:-1]
    assert len(sentences) == len(set(sentences))


@pytest.mark.parametrize("n", [50, 5000, 300_000])
def test_text_for_servers_has_the_length_and_whole_words(n):
    source = Source("text", load_text())
    made = source.make_text(n, 0)
    assert len(made) == pytest.approx(n, abs=40)
    assert not made.endswith(" ")
    assert set(made.split()) <= set(load_text().split())
    assert made != source.make_text(n, 1)


def test_a_part_of_the_text_is_a_text_of_its_own():
    source = Source("text", load_text())
    part = source.cut(2000, 0)
    assert len(part.text) == pytest.approx(2000, abs=40)
    assert part == source.cut(2000, 0) != source.cut(2000, 1)
    assert source.cut(10**6, 0) is source
    assert Source("random").cut(1, 0) == Source("random")


@pytest.mark.parametrize("n", [-5, 0, 1])
def test_text_for_servers_is_never_empty(n):
    assert len(Source("text", "Spaceless.").make_text(n, 0)) == 1
