import codecs
import dataclasses

import numpy as np
import pytest

from g3n_cli.engine.sampler import Sampler, make_sampler
from g3n_cli.engine.sampling import Greedy, Stochastic
from g3n_cli.errors import G3nError, UsageError
from tests.engine.scripted import FakeEngine

N = 200


@pytest.fixture
def logits():
    return np.random.default_rng(7).normal(0, 2, N).astype(np.float32)


@pytest.fixture
def new_sampler():
    made = []

    def make(*args, **options):
        made.append(Sampler(*args, **options))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def keep(logits, *, top_k=0, top_p=1.0, min_p=0.0):
    """Ids that llama.cpp's filters leave, by their definitions."""
    order = np.argsort(-logits)
    if top_k:
        order = order[:top_k]
    p = softmax(logits[order])
    if top_p < 1:
        order = order[: int(np.argmax(np.cumsum(p) >= top_p)) + 1]
    p = softmax(logits[order])
    return set(order[p >= min_p * p.max()].tolist())


def draw(sampler, logits, n=3000):
    return np.bincount([sampler.sample(logits) for _ in range(n)], minlength=len(logits)) / n


def test_greedy_takes_the_likeliest(new_sampler, logits):
    assert new_sampler(Greedy()).sample(logits) == logits.argmax()


def test_logits_are_left_as_they_were(new_sampler, logits):
    before = logits.copy()
    new_sampler(Stochastic(seed=1, repeat_penalty=1.5)).sample(logits)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize(
    "filters",
    [
        {"top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.2},
        {"top_k": 20, "top_p": 0.8},
        {"top_k": 20, "top_p": 0.9, "min_p": 0.1},
    ],
)
def test_filters_leave_exactly_the_tokens_of_their_definition(new_sampler, logits, filters):
    settings = {"top_k": 0, "top_p": 1.0, "min_p": 0.0} | filters
    # So hot that every token left is drawn: temperature comes last.
    share = draw(new_sampler(Stochastic(seed=3, temperature=50.0, **settings)), logits)
    assert set(np.flatnonzero(share).tolist()) == keep(logits, **filters)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(new_sampler, logits, temperature):
    sampling = Stochastic(seed=11, temperature=temperature, top_k=10, top_p=1.0)
    share = draw(new_sampler(sampling), logits)
    kept = sorted(keep(logits, top_k=10))
    expected = np.zeros(N)
    expected[kept] = softmax(logits[kept] / temperature)
    assert np.abs(share - expected).max() < 0.04


def test_same_seed_draws_the_same_tokens(new_sampler, logits):
    def take(seed):
        sampler = new_sampler(Stochastic(seed=seed, temperature=3.0))
        return [sampler.sample(logits) for _ in range(20)]

    assert take(5) == take(5)
    assert take(5) != take(6)


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**40])
def test_any_seed_is_repeatable(new_sampler, logits, seed):
    first, second = (new_sampler(Stochastic(seed=seed, temperature=3.0)) for _ in range(2))
    assert [first.sample(logits) for _ in range(9)] == [second.sample(logits) for _ in range(9)]


def test_tokens_beyond_the_limit_are_never_sampled(new_sampler, logits):
    logits[100:] = 50.0
    for sampling in (Greedy(), Greedy(repeat_penalty=1.1), Stochastic(seed=1)):
        sampler = new_sampler(sampling, n_sampled=100)
        assert all(sampler.sample(logits) < 100 for _ in range(50))


def test_penalty_divides_positive_and_multiplies_negative_logits(new_sampler):
    logits = np.array([1.0, 3.0, 2.9, -5.0], np.float32)
    sampler = new_sampler(Greedy(repeat_penalty=2.0))
    taken = []
    for _ in range(3):
        taken.append(sampler.sample(logits))
        sampler.accept(taken[-1])
    assert taken == [1, 2, 1]  # 3.0; then 2.9 before 1.5; then 1.5 before 1.45 and 1.0


def test_penalty_forgets_what_is_more_than_64_tokens_ago(new_sampler):
    logits = np.array([1.0, 1.5, -9.0], np.float32)
    sampler = new_sampler(Greedy(repeat_penalty=2.0))
    sampler.accept(1)
    for _ in range(63):
        sampler.accept(2)
    assert sampler.sample(logits) == 0
    sampler.accept(2)
    assert sampler.sample(logits) == 1


def test_penalty_counts_the_end_of_the_prompt(new_sampler):
    logits = np.array([1.0, 1.5], np.float32)
    sampler = new_sampler(Greedy(repeat_penalty=2.0))
    sampler.accept_prompt([1])
    assert sampler.sample(logits) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [Greedy(), Stochastic(seed=1)])
def test_logits_that_are_not_numbers_are_an_error(new_sampler, logits, sampling, bad):
    logits[17] = bad
    with pytest.raises(G3nError, match="not numbers"):
        new_sampler(sampling).sample(logits)


def test_logits_without_any_possible_token_are_an_error(new_sampler):
    with pytest.raises(G3nError, match="not numbers"):
        new_sampler(Greedy()).sample(np.full(9, -np.inf, np.float32))


@pytest.mark.parametrize("sampling", [Greedy(), Greedy(repeat_penalty=1.2), Stochastic(seed=4)])
def test_grammar_forces_the_answer_and_then_its_end(new_sampler, small8_tokenizer, sampling):
    tokenizer = small8_tokenizer
    rng = np.random.default_rng(1)
    sampler = new_sampler(sampling, tokenizer.vocab, 'root ::= "yes é" | "no" [0-9]+ "!"')
    said = b""
    for _ in range(500):
        token = sampler.sample(rng.normal(0, 3, tokenizer.n_vocab).astype(np.float32))
        if token in tokenizer.end_ids:
            break
        sampler.accept(token)
        said += tokenizer.piece(token)
    text = said.decode()
    assert text == "yes é" or (text[:2] + text[-1] == "no!" and text[2:-1].isdigit())


def test_end_token_is_refused_while_the_grammar_is_incomplete(new_sampler, small8_tokenizer):
    tokenizer = small8_tokenizer
    sampler = new_sampler(Greedy(), tokenizer.vocab, 'root ::= "a"')
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    logits[sorted(tokenizer.end_ids)] = 10.0
    token = sampler.sample(logits)
    assert tokenizer.piece(token) == b"a"
    sampler.accept(token)
    assert sampler.sample(logits) in tokenizer.end_ids


def test_token_the_grammar_refuses_cannot_be_accepted(new_sampler, small8_tokenizer):
    sampler = new_sampler(Greedy(), small8_tokenizer.vocab, 'root ::= "a"')
    with pytest.raises(ValueError, match="not what the grammar allows"):
        sampler.accept(106)


def test_prompt_is_no_part_of_the_grammar(new_sampler, small8_tokenizer):
    sampler = new_sampler(Greedy(repeat_penalty=1.1), small8_tokenizer.vocab, 'root ::= "a"')
    sampler.accept_prompt(small8_tokenizer.encode("<start_of_turn>user"))
    token = sampler.sample(np.zeros(small8_tokenizer.n_vocab, np.float32))
    assert small8_tokenizer.piece(token) == b"a"


@pytest.mark.parametrize("sampling", [Greedy(), Stochastic(seed=4)])
@pytest.mark.parametrize("begun", [b"", b"\xe0", b"\xc3"])
def test_a_grammar_lets_no_byte_through_that_is_no_utf8(
    new_sampler, small8_tokenizer, begun, sampling
):
    tokenizer = small8_tokenizer
    bytes_of = {tokenizer.piece(token): token for token in range(tokenizer.n_vocab)}
    sampler = new_sampler(sampling, tokenizer.vocab, "root ::= [^x]*")
    for byte in begun:
        sampler.accept(bytes_of[bytes([byte])])
    for bad in (0xF8, 0xFF, 0xC0, 0x82):
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        logits[bytes_of[bytes([bad])]] = 20.0
        said = begun + tokenizer.piece(sampler.sample(logits))
        assert codecs.getincrementaldecoder("utf-8")("replace").decode(said).find("\ufffd") < 0


def test_a_complete_grammar_ends_with_the_ends_of_this_model_only(new_sampler, small8_tokenizer):
    tokenizer = small8_tokenizer
    ends = sorted(tokenizer.end_ids)
    sampler = new_sampler(Greedy(), tokenizer.vocab, 'root ::= ""', end_ids=frozenset(ends[:1]))
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    logits[ends[1:]] = 10.0
    assert sampler.sample(logits) == ends[0]


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= (", r"expecting '\)' at its end"),
        ("no rules here", "expecting ::="),
        ('start ::= "a"', "does not contain a 'root'"),
        ("root ::= other", "Undefined rule identifier 'other'"),
        ('root ::= root "a"', "left recursion"),
        ("", "empty"),
        ("\n", "empty"),
        ('root ::= "a\0"', "binary"),
    ],
)
def test_bad_grammar_is_refused_with_its_reason(small8_tokenizer, capfd, grammar, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        Sampler(Greedy(), small8_tokenizer.vocab, grammar)
    assert "\n" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_media_ids_of_gemma3n_are_never_sampled():
    logits = np.zeros(262_400, np.float32)
    logits[262_144:] = 9.0
    logits[77] = 1.0
    engine = FakeEngine()
    assert make_sampler(engine, Greedy()).sample(logits) == 262_144
    engine.info = dataclasses.replace(engine.info, architecture="gemma3n")
    assert make_sampler(engine, Greedy()).sample(logits) == 77


def test_engine_without_a_vocabulary_of_llama_cpp_refuses_a_grammar():
    with pytest.raises(UsageError, match="scripted cannot follow a grammar"):
        make_sampler(FakeEngine(), Greedy(), 'root ::= "a"')


def test_engines_own_vocabulary_serves_the_grammar(small8_tokenizer):
    engine = FakeEngine()
    engine.tokenizer = small8_tokenizer
    sampler = make_sampler(engine, Greedy(), 'root ::= "a"')
    token = sampler.sample(np.zeros(small8_tokenizer.n_vocab, np.float32))
    assert small8_tokenizer.piece(token) == b"a"
    sampler.close()
