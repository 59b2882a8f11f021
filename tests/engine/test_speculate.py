"""Guesses at the next tokens: an answer is the same whatever they are."""

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.engine.generate import Generation
from g3n_cli.engine.lookup import N_ALIKE, Lookup
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import Sampler
from g3n_cli.engine.sampling import Greedy, Stochastic
from g3n_cli.errors import InputError, UsageError
from tests.engine.scripted import FakeEngine
from tests.oracle import find_case, open_case, random_prompt

FEW_LETTERS = st.text("ab", max_size=40)


def answer(engine, prompt, n_speculate, **options):
    engine.n_speculate = n_speculate
    generation = Generation(engine, prompt, Sampler(Greedy()), **options)
    return list(generation), generation


def test_what_followed_the_last_tokens_the_time_before_is_guessed():
    assert Lookup([1, 2, 3, 4, 5, 6, 1, 2, 3], 3).guess() == [4, 5, 6]
    assert Lookup([1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3], 1).guess() == [5]


@pytest.mark.parametrize("said", [[], [1], [1, 2, 3], [1, 2, 3, 9, 2, 3], [1, 2, 3, 4, 5]])
def test_nothing_is_guessed_of_what_is_new(said):
    assert Lookup(said, 3).guess() == []


def test_what_repeats_itself_is_guessed_to_go_on():
    assert Lookup([7] * (N_ALIKE + 1), 4).guess() == [7] * 4
    assert Lookup([1, 2, 1, 2, 1, 2], 5).guess() == [1, 2, 1, 2, 1]


def test_guesses_rest_after_two_wrong_ones_and_longer_each_time():
    lookup, rests = Lookup([5] * 8, 2), []
    for _ in range(7):
        lookup.judge(0)
        rests.append(0)
        while not lookup.guess():
            lookup.add(5)
            rests[-1] += 1
    assert rests == [0, 4, 8, 16, 32, 32, 32]
    lookup.judge(1)
    lookup.judge(0)
    assert lookup.guess()


@settings(deadline=None, max_examples=300)
@given(
    asked=FEW_LETTERS,
    text=FEW_LETTERS,
    n_speculate=st.integers(1, 6),
    room=st.integers(1, 30),
    max_tokens=st.one_of(st.none(), st.integers(1, 20)),
    stop=st.one_of(st.just(()), st.just(("bba",))),
)
def test_answers_do_not_depend_on_guesses(asked, text, n_speculate, room, max_tokens, stop):
    prompt = Prompt.of_ids([*b"?", *asked.encode()])
    options = {"max_tokens": max_tokens, "stop": stop}
    plain, guessing = (FakeEngine(text, n_ctx=len(prompt) + room) for _ in range(2))
    wanted, by_itself = answer(plain, prompt, 0, **options)
    found, ahead = answer(guessing, prompt, n_speculate, **options)
    assert found == wanted
    assert ahead.ids == by_itself.ids
    assert ahead.stats.stop_reason == by_itself.stats.stop_reason
    assert guessing.keys[: plain.n_past] == plain.keys[: guessing.n_past]
    assert (by_itself.stats.draft_tokens, by_itself.stats.draft_accepted) == (0, 0)
    assert 0 <= ahead.stats.draft_accepted <= ahead.stats.draft_tokens


def test_what_was_said_before_takes_fewer_steps():
    asked = "the quick brown fox jumps"
    engine = FakeEngine(f"{asked}.")
    steps = []
    engine.extend = lambda tokens, extend=engine.extend: steps.append(tokens) or extend(tokens)
    _, generation = answer(engine, Prompt.of_ids([*b"?", *asked.encode()]), 3)
    assert generation.text == f"{asked}."
    assert generation.stats.draft_tokens == 3 * len(steps)
    assert generation.stats.draft_accepted > len(asked) // 2
    assert engine.decoded == generation.ids  # what was guessed wrongly has been taken back


# Two ways through one engine differ by the order of sums.
SAME = 1e-2


@pytest.mark.parametrize("n_past", [5, 300])
@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_tokens_together_have_the_logits_of_one_by_one(kind, n_past):
    prompt = random_prompt(n_past + 4)
    with closing(open_case(find_case("small8", kind), kv="f32", n_ctx=512, n_batch=16)) as engine:
        engine.prefill(prompt.slice(0, n_past))
        single = [engine.decode(token) for token in prompt.ids[n_past:].tolist()]
        engine.trim(n_past)
        assert engine.n_past == n_past  # the rings still hold the window
        together = engine.extend(prompt.ids[n_past:].tolist())
    assert together.shape == (4, engine.info.n_vocab)
    assert np.abs(together - np.stack(single)).max() < SAME


@pytest.mark.parametrize("sampling", [Greedy(), Stochastic(seed=3, top_k=5)])
def test_a_model_answers_the_same_with_guesses(sampling):
    said = random_prompt(12).ids.tolist()
    prompt, answers = Prompt.of_ids(said * 4), []
    for n in (0, 3):
        case = open_case(find_case("small8", "f32"), kv="f32", n_ctx=256, speculate=n)
        with closing(case) as engine, closing(Sampler(sampling)) as sampler:
            generation = Generation(engine, prompt, sampler, 40)
            list(generation)
            answers.append((generation.ids, generation.stats.draft_tokens > 0))
    assert answers[0][0] == answers[1][0]
    assert not answers[0][1]


def test_there_is_no_room_beyond_the_context():
    with closing(open_case(find_case("small8", "f32"), n_ctx=32)) as engine:
        engine.prefill(random_prompt(30))
        with pytest.raises(InputError, match="full"):
            engine.extend([3, 4, 5])
        assert engine.n_past == 30


def test_less_than_no_guesses_is_refused():
    with pytest.raises(UsageError, match="--speculate"):
        open_case(find_case("small8", "f32"), speculate=-1)
